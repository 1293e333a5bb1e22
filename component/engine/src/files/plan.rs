//! What a model's weights become in memory: from the header, and from the smallest matrix of each
//! type, which is loaded as the whole model would be. So a type that cannot be read is refused here
//! with the words of whoever loads it, and a file of gigabytes takes milliseconds.

use std::collections::BTreeMap;

use sterna_kernels::{DenseType, GroupCodes, GroupShape, TernaryLayout};

use super::leftovers::wanted;
use super::names::TensorId;
use super::open::OpenModel;
use super::source::{self, WeightSource, linear_shape, norm_len};
use super::tensor_error;
use crate::error::LoadError;
use crate::matrix::{Matrix, Table};
use crate::weights::{Layer, Weights};

/// The form of a matrix or table in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Trits with one scale.
    Ternary(TernaryLayout),
    /// Codes with a scale for each group of so many weights.
    Grouped(GroupCodes, usize),
    /// Numbers.
    Dense(DenseType),
}

impl Form {
    /// Bytes of a matrix `[rows, cols]`; 0 where such a one cannot be.
    #[must_use]
    pub fn bytes(self, [rows, cols]: [usize; 2]) -> u64 {
        let bytes = match self {
            Form::Ternary(layout) => Some(layout.bytes(rows, cols)),
            Form::Grouped(codes, group) => GroupShape::new(rows, cols, group, codes)
                .ok()
                .map(|shape| shape.packed_bytes()),
            Form::Dense(ty) => ty.row_bytes(cols).map(|bytes| bytes.saturating_mul(rows)),
        };
        bytes.unwrap_or(0) as u64
    }

    fn of_matrix(matrix: &Matrix) -> Form {
        match matrix {
            Matrix::Ternary(linear) => Form::Ternary(linear.layout()),
            Matrix::Grouped(grouped) => {
                Form::Grouped(grouped.shape().codes(), grouped.shape().group())
            }
        }
    }

    fn of_table(table: &Table) -> Form {
        match table {
            Table::Dense(dense) => Form::Dense(dense.ty()),
            Table::Grouped(grouped) => {
                Form::Grouped(grouped.shape().codes(), grouped.shape().group())
            }
        }
    }
}

/// A matrix or table as it is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// `[rows, cols]`
    pub shape: [usize; 2],
    /// Its form.
    pub form: Form,
    /// True if it stays where the file has it.
    pub mapped: bool,
}

impl Planned {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.form.bytes(self.shape)
    }
}

/// The weights of a model as they are in memory, norms left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The layers' matrices.
    pub matrices: Vec<Planned>,
    /// The embedding, and the head where that is another table.
    pub tables: Vec<Planned>,
}

impl Plan {
    /// Of a model that is loaded.
    #[must_use]
    pub fn of(weights: &Weights) -> Plan {
        let matrices = weights.layers.iter().flat_map(Layer::matrices);
        let tables = [Some(&weights.embedding), weights.head.as_ref()];
        Plan {
            matrices: matrices.map(of_matrix).collect(),
            tables: tables.into_iter().flatten().map(of_table).collect(),
        }
    }

    /// Matrices and tables.
    pub fn all(&self) -> impl Iterator<Item = &Planned> {
        self.matrices.iter().chain(&self.tables)
    }

    /// Bytes that are mapped from files, and bytes in memory of the process's own.
    #[must_use]
    pub fn bytes(&self) -> [u64; 2] {
        let sum = |mapped| {
            let some = self.all().filter(|planned| planned.mapped == mapped);
            some.map(Planned::bytes).sum()
        };
        [sum(true), sum(false)]
    }

    /// What every token reads: the matrices, and the head, which is the last table.
    pub fn streamed(&self) -> impl Iterator<Item = &Planned> {
        self.matrices.iter().chain(self.tables.last())
    }
}

fn of_matrix(matrix: &Matrix) -> Planned {
    Planned {
        shape: matrix.shape(),
        form: Form::of_matrix(matrix),
        mapped: !matrix.bytes().is_owned(),
    }
}

fn of_table(table: &Table) -> Planned {
    Planned {
        shape: table.shape(),
        form: Form::of_table(table),
        mapped: !table.bytes().is_owned(),
    }
}

/// Rows of one type and of widths that lie alike in blocks become the same.
type Kind = (String, usize);
/// Widths that differ by multiples of it lie alike in every type's blocks.
const WIDEST_BLOCK: usize = 256;

/// The plan of an open model.
///
/// # Errors
/// That of loading it, as far as its header and one matrix of each type tell: damage among the
/// weights is found when they are read.
pub(crate) fn plan(open: &OpenModel) -> Result<Plan, LoadError> {
    let (source, config) = (open.source.as_ref(), &open.config);
    let mut linears = Vec::new();
    let mut smallest: BTreeMap<Kind, (TensorId, [usize; 2])> = BTreeMap::new();
    for id in wanted(config, open.tied) {
        match id {
            TensorId::OutputNorm => drop(source.norm(id, config.hidden_size)?),
            TensorId::Block(_, part) => {
                if let Some(len) = norm_len(config, part) {
                    source.norm(id, len)?;
                } else if let Some((rows, cols)) = linear_shape(config, part) {
                    let kind = kind_of(source, id, [rows, cols])?;
                    let first = smallest.entry(kind.clone()).or_insert((id, [rows, cols]));
                    if first.1.iter().product::<usize>() > rows * cols {
                        *first = (id, [rows, cols]);
                    }
                    linears.push((id, [rows, cols], kind));
                }
            }
            TensorId::Embedding | TensorId::Head => {}
        }
    }
    let mut forms: BTreeMap<Kind, Planned> = BTreeMap::new();
    for (kind, (id, [rows, cols])) in smallest {
        forms.insert(kind, of_matrix(&source.linear(id, rows, cols)?));
    }
    let mut plan = Plan::default();
    for (id, shape, kind) in &linears {
        let like = forms
            .get(kind)
            .ok_or_else(|| tensor_error(&id.gguf(), "is of a kind that was not looked at"))?;
        plan.matrices.push(Planned {
            shape: *shape,
            ..*like
        });
    }
    let per_layer = (linears.len() / config.n_layers).max(1);
    for (index, layer) in plan.matrices.chunks(per_layer).enumerate() {
        let grouped = |planned: &Planned| matches!(planned.form, Form::Grouped(..));
        let grouped: Vec<bool> = layer.iter().map(grouped).collect();
        source::check_kinds(index, &grouped)?;
    }
    let tables = [
        Some(TensorId::Embedding),
        (!open.tied).then_some(TensorId::Head),
    ];
    for id in tables.into_iter().flatten() {
        let shape = [config.vocab_size, config.hidden_size];
        plan.tables.push(table(source, id, shape, &forms)?);
    }
    Ok(plan)
}

/// Its kind, if it is there in its shape.
fn kind_of(
    source: &dyn WeightSource,
    id: TensorId,
    [rows, cols]: [usize; 2],
) -> Result<Kind, LoadError> {
    let stored = source.stored(id);
    let fits = stored.as_ref().is_some_and(|stored| {
        let packed = [rows.div_ceil(4), cols];
        stored.shape == [rows, cols] || stored.ty == "U8" && stored.shape == packed
    });
    match stored {
        Some(stored) if fits => Ok((stored.ty, cols % WIDEST_BLOCK)),
        // Whoever reads it says what is wrong with it.
        _ => match source.linear(id, rows, cols) {
            Err(error) => Err(error),
            Ok(_) => Ok((String::new(), cols % WIDEST_BLOCK)),
        },
    }
}

/// An embedding or head, by its type alone where that says enough: it is the largest tensor.
fn table(
    source: &dyn WeightSource,
    id: TensorId,
    shape: [usize; 2],
    linears: &BTreeMap<Kind, Planned>,
) -> Result<Planned, LoadError> {
    let read = || {
        source
            .table(id, shape[0], shape[1])
            .map(|table| of_table(&table))
    };
    let Some(stored) = source.stored(id).filter(|stored| stored.shape == shape) else {
        return read();
    };
    let kind = (stored.ty.clone(), shape[1] % WIDEST_BLOCK);
    let is_grouped = |like: &&Planned| matches!(like.form, Form::Grouped(..));
    // Numbers are taken as they are, but in models whose tables lie on a grid too (Bonsai).
    let numbers = matches!(stored.ty.as_str(), "F32" | "F16" | "BF16" | "Q4_0");
    let as_matrices = !numbers || source.may_have_grouped_tables();
    // Of a model whose matrices of that type are groups, or lie on a grid of them, the table is and
    // does too.
    let like = linears.get(&kind).filter(|_| as_matrices);
    if let Some(like) = like.filter(is_grouped) {
        return Ok(Planned { shape, ..*like });
    }
    let grouped = as_matrices && linears.values().any(|like| is_grouped(&like));
    let dense = |form, mapped| {
        Ok(Planned {
            shape,
            form: Form::Dense(form),
            mapped,
        })
    };
    match (stored.ty.as_str(), grouped) {
        ("F32", false) => dense(DenseType::F32, true),
        ("F16", false) => dense(DenseType::F16, true),
        ("BF16", false) => dense(DenseType::Bf16, true),
        ("Q8_0", _) => dense(DenseType::Q8_0, true),
        ("Q6_K", _) => dense(DenseType::Q6K, true),
        ("Q4_1" | "Q5_0" | "Q5_1" | "Q4_K" | "Q5_K", _) | ("Q4_0", false) => {
            dense(DenseType::Q8_0, false)
        }
        _ => read(),
    }
}
