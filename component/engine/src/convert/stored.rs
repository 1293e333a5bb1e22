//! Tensors as they are stored: in the source's form where the kernels take it, else in another one.

use std::io::{Result, Write};

use sterna_kernels::{DenseType, GroupCodes, TernaryLayout};

use super::blocks::Blocks;
use super::loss::Loss;
use super::sample::{Expected, Sample};
use super::{ConvertError, ConvertOptions};
use crate::files::gguf_write::GgufWriter;
use crate::files::{
    BlockType, LINEAR_SCALES, TableType, ggml_id, group_tiles, tensor_error, to_i2s,
};
use crate::group_scaled::{GroupedWeights, Packers, codes_name};
use crate::matrix::{Matrix, Table};
use crate::weights::Linear;

/// Weights of one I2_S block.
const I2_S_BLOCK: usize = 128;

/// A tensor, and the form in which it is written.
pub(super) enum Stored {
    Norm(Vec<f32>),
    /// trits5; or I2_S, or floats on the grid where the weights do not fill its blocks: reading
    /// them back gives the same trits and scale.
    Linear(Linear),
    /// Tiles.
    Grouped(GroupedWeights),
    /// Blocks that other programs read too.
    Blocks(Blocks),
    /// Numbers of a storage type.
    Dense(Table, TableType),
}

/// The storage type of an embedding or head of type `ty` where none is asked for.
pub(crate) fn kept_type(ty: DenseType) -> DenseType {
    match ty {
        DenseType::F32 | DenseType::F16 | DenseType::Bf16 => DenseType::F16,
        quantised => quantised,
    }
}

impl Stored {
    /// A linear in the layout that is asked for, or in its own. `name` is for errors.
    pub(super) fn linear(
        matrix: Matrix,
        options: &ConvertOptions,
        name: &str,
    ) -> std::result::Result<Self, ConvertError> {
        let refused = |what: &str| {
            Err(ConvertError::Unsupported(format!(
                "tensor `{name}` has {what}"
            )))
        };
        if let Some(ty) = options.blocks {
            return Blocks::new(matrix, ty, options.requantize, name).map(Stored::Blocks);
        }
        match (matrix, options.layout, options.groups) {
            (Matrix::Ternary(_), _, Some(_)) => {
                refused("one scale: of the layouts i2_s and trits5 are for such matrices")
            }
            (Matrix::Grouped(_), Some(_), _) => refused(
                "a scale for each group of weights: of the layouts two-bits and trits8 are for such matrices",
            ),
            (Matrix::Ternary(linear), layout, None) => {
                let linear = linear.to_layout(layout.unwrap_or(linear.layout()));
                Ok(Stored::Linear(
                    linear.map_err(|reason| tensor_error(name, reason))?,
                ))
            }
            (Matrix::Grouped(grouped), None, groups) => Stored::grouped(&grouped, groups, name),
        }
    }

    fn grouped(
        grouped: &GroupedWeights,
        groups: Option<GroupCodes>,
        name: &str,
    ) -> std::result::Result<Self, ConvertError> {
        let codes = groups.unwrap_or(grouped.shape().codes());
        let grouped = grouped.to_codes(codes);
        Ok(Stored::Grouped(
            grouped.map_err(|reason| tensor_error(name, reason))?,
        ))
    }

    /// In layout trits8, where it is ternary groups that fit it: the bytes that this saves.
    ///
    /// # Errors
    /// A sentence where the system refuses a thread.
    pub(super) fn pack_as_trits8(&mut self) -> std::result::Result<u64, String> {
        let Stored::Grouped(grouped) = self else {
            return Ok(0);
        };
        let packers = Packers::default();
        let Some(trits8) = grouped.to_trits8(false, packers.team()?) else {
            return Ok(0);
        };
        let saved = grouped.bytes().len().saturating_sub(trits8.bytes().len());
        *grouped = trits8;
        Ok(saved as u64)
    }

    /// An embedding or head of the storage type that is asked for, or of its own.
    pub(super) fn table(
        table: Table,
        options: &ConvertOptions,
        name: &str,
    ) -> std::result::Result<Self, ConvertError> {
        let ty = match (&table, options.head) {
            (_, Some(ty)) => ty,
            (Table::Grouped(grouped), None) => match options.blocks {
                None => return Stored::grouped(grouped, options.groups, name),
                Some(ty) if has_place(grouped, ty) => {
                    let matrix = Matrix::Grouped(grouped.clone());
                    return Blocks::new(matrix, ty, false, name).map(Stored::Blocks);
                }
                // As published files have it beside a type with larger groups.
                Some(_) => DenseType::Q8_0.into(),
            },
            (Table::Dense(dense), None) => kept_type(dense.ty()).into(),
        };
        let [_, cols] = table.shape();
        if ty.row_bytes(cols).is_none() {
            return Err(ConvertError::Unsupported(format!(
                "`{name}` of type {} needs rows of whole blocks, and the hidden size is {cols}; choose f16 or f32",
                ty.name(),
            )));
        }
        Ok(Stored::Dense(table, ty))
    }

    /// Its type's id, and its bytes without padding.
    pub(super) fn ty_and_bytes(&self) -> (u32, usize) {
        match self {
            Stored::Norm(norm) => (ggml_id::F32, 4 * norm.len()),
            Stored::Linear(linear) => {
                let scales = LINEAR_SCALES * size_of::<f32>();
                let n = linear.rows() * linear.cols();
                match linear.layout() {
                    TernaryLayout::Trits5 => {
                        (ggml_id::STERNA_TRITS5, linear.packed().len() + scales)
                    }
                    TernaryLayout::I2S if n.is_multiple_of(I2_S_BLOCK) => {
                        (ggml_id::I2_S, n / 4 + scales)
                    }
                    TernaryLayout::I2S => (ggml_id::F32, 4 * n),
                }
            }
            Stored::Grouped(grouped) => {
                let shape = grouped.shape();
                (
                    group_tiles::id(shape.codes(), shape.group()),
                    grouped.bytes().len(),
                )
            }
            Stored::Blocks(blocks) => blocks.ty_and_bytes(),
            Stored::Dense(table, ty) => {
                let [rows, cols] = table.shape();
                let row_bytes = ty.row_bytes(cols).unwrap_or_default();
                (ty.id(), rows * row_bytes)
            }
        }
    }

    /// The type it had and the one it is written in, for reports.
    pub(super) fn types(&self) -> (String, String) {
        let same = |name: &str| (name.to_owned(), name.to_owned());
        match self {
            Stored::Norm(_) => same("f32"),
            Stored::Linear(linear) => same(linear.layout().name()),
            Stored::Grouped(grouped) => same(codes_name(grouped.shape().codes())),
            Stored::Blocks(blocks) => blocks.types(),
            Stored::Dense(table, ty) => (table.type_name().into(), ty.name().into()),
        }
    }

    /// The sample of its rows as they are to be read back.
    pub(super) fn sample(&self) -> Expected {
        match self {
            Stored::Norm(norm) => Sample::of_vector(norm).into(),
            Stored::Linear(linear) => Sample::of_linear(linear).into(),
            Stored::Grouped(grouped) => Sample::of_grouped(grouped).into(),
            Stored::Blocks(blocks) => blocks.sample().into(),
            // Copied, not rounded again.
            Stored::Dense(table, ty) if is_of(table, *ty) => Sample::of_table(table).into(),
            Stored::Dense(table, ty) => {
                let [rows, cols] = table.shape();
                let (view, mut row) = (table.view(), vec![0f32; cols]);
                let mut encoded = vec![0u8; ty.row_bytes(cols).unwrap_or_default()];
                let stored = Sample::of_rows(rows, cols, |index, out| {
                    view.row(index, &mut row);
                    ty.encode_row(&row, &mut encoded);
                    ty.loaded_row(&encoded, out);
                });
                // Trits in Q4_0 are found to be trits where the whole model is made of such.
                let is_ternary = matches!(table, Table::Grouped(_)) && *ty == TableType::Q4_0;
                Expected::from(stored).or(is_ternary.then(|| Sample::of_table(table)))
            }
        }
    }

    /// Write its data.
    pub(super) fn write(&self, writer: &mut GgufWriter<impl Write>) -> Result<Loss> {
        match self {
            Stored::Norm(norm) => {
                let bytes: Vec<u8> = norm.iter().flat_map(|x| x.to_le_bytes()).collect();
                writer.append(&bytes)?;
            }
            Stored::Linear(linear) => write_linear(writer, linear)?,
            Stored::Grouped(grouped) => writer.append(grouped.bytes())?,
            Stored::Blocks(blocks) => return blocks.write(writer),
            Stored::Dense(table, ty) => return write_dense(writer, table, *ty),
        }
        Ok(Loss::default())
    }
}

/// True if a table's groups and widths are those of a block type, or can be divided into them.
fn has_place(grouped: &GroupedWeights, ty: BlockType) -> bool {
    let shape = grouped.shape();
    let is_binary = shape.codes() == GroupCodes::Binary;
    ty.row_bytes(shape.cols()).is_some()
        && shape.group() >= ty.group()
        && (is_binary || !ty.is_binary())
}

fn write_linear(writer: &mut GgufWriter<impl Write>, linear: &Linear) -> Result<()> {
    let (rows, cols, packed) = (linear.rows(), linear.cols(), linear.packed());
    let trits5 = linear.layout() == TernaryLayout::Trits5;
    if trits5 || (rows * cols).is_multiple_of(I2_S_BLOCK) {
        if trits5 || cols.is_multiple_of(I2_S_BLOCK) {
            writer.append(packed)?;
        } else {
            writer.append(&to_i2s(packed, rows, cols))?;
        }
        return writer.append(&linear.scale().to_le_bytes().repeat(LINEAR_SCALES));
    }
    let mut trits = vec![0i8; cols];
    for row in packed.chunks_exact(packed.len() / rows) {
        sterna_kernels::pack::unpack_row(row, cols, &mut trits);
        let floats: Vec<u8> = trits
            .iter()
            .flat_map(|&trit| (f32::from(trit) * linear.scale()).to_le_bytes())
            .collect();
        writer.append(&floats)?;
    }
    Ok(())
}

/// True if its numbers are of that type already.
fn is_of(table: &Table, ty: TableType) -> bool {
    table.dense().is_some_and(|dense| ty == dense.ty().into())
}

/// Rows as `ty`. Bytes are copied where they are of that type already.
fn write_dense(writer: &mut GgufWriter<impl Write>, table: &Table, ty: TableType) -> Result<Loss> {
    let mut loss = Loss::default();
    if is_of(table, ty) {
        writer.append(table.bytes())?;
        return Ok(loss);
    }
    let [rows, cols] = table.shape();
    let view = table.view();
    let mut row = vec![0f32; cols];
    let mut encoded = vec![0u8; ty.row_bytes(cols).unwrap_or_default()];
    let mut read = vec![0f32; cols];
    for index in 0..rows {
        view.row(index, &mut row);
        ty.encode_row(&row, &mut encoded);
        writer.append(&encoded)?;
        ty.decode_row(&encoded, &mut read);
        for (from, to) in row.iter().zip(&read) {
            loss.add(*from, *to, 1);
        }
    }
    Ok(loss)
}
