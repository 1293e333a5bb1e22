//! Weights from a GGUF file. I2_S linears, embeddings and heads stay where the file has them.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use sterna_kernels::{DenseType, GroupShape, TernaryLayout};

use super::fingerprint::SAMPLE_BYTES;
use super::float_linear::FloatRule;
use super::floats::{FloatType, Floats};
use super::ggml_type::{self, TAIL_BYTES, id as ty};
use super::gguf::{Gguf, TensorInfo};
use super::group_blocks::{self, BlockRows};
use super::group_grid::{Q4_0_BLOCK, Q4Rows};
use super::names::TensorId;
use super::own_layout::{self, OwnLayout};
use super::row_blocks::RowBlocks;
use super::source::{WeightSource, finite};
use super::stored_tensor::StoredTensor;
use super::table_blocks::TableBlocks;
use super::ternary::{self, I2sForm};
use super::{group_grid, group_tiles, leftovers, one_scale, tensor_error};
use crate::config::ModelConfig;
use crate::error::LoadError;
use crate::group_scaled::{GroupedWeights, Packers};
use crate::matrix::{Matrix, Table};
use crate::placement::Bytes;
use crate::weights::{DenseWeights, Linear};

const ROPE_FREQS: &str = "rope_freqs.weight";

/// Upstream's `bitnet` files may carry a factor for the output of each linear.
fn factor_of(id: TensorId) -> String {
    id.gguf_base() + ".scale"
}

/// How trits5 tensors are to be read. Files that exist know the layout by this key.
pub(crate) const TRITS5: OwnLayout = OwnLayout {
    name: "trits5",
    version_key: "sterna.layout.t5.version",
    version: 1,
    remedy: "convert the file it was made of anew (`sterna convert --layout trits5`)",
};

/// Reads tensors by llama.cpp's names.
pub(crate) struct GgufWeights {
    pub(crate) gguf: Gguf,
    pub(crate) i2s_form: I2sForm,
    /// True if linears have a scale for each group, whatever type holds them.
    pub(crate) grouped: bool,
    /// True if embedding and head may too.
    pub(crate) grouped_tables: bool,
    /// True if floats on no grid are master weights, to be quantised.
    pub(crate) masters: bool,
    pub(crate) packers: Packers,
    /// The group of Q2_0 tensors, once it was asked for: all of them tell it together.
    pub(crate) q2_0_group: OnceLock<Result<usize, String>>,
}

impl WeightSource for GgufWeights {
    fn has(&self, id: TensorId) -> bool {
        self.gguf.tensor(&id.gguf()).is_some()
    }

    fn stored(&self, id: TensorId) -> Option<StoredTensor> {
        self.gguf.tensor(&id.gguf()).map(TensorInfo::stored)
    }

    fn sample(&self, add: &mut dyn FnMut(&[u8])) {
        add(format!("gguf {:?} {}", self.i2s_form, self.masters).as_bytes());
        for (tensor, room) in self.gguf.tensors().iter().zip(self.gguf.rooms()) {
            add(format!("{} {:?} {}", tensor.name, tensor.ne, tensor.ty).as_bytes());
            if let Some(data) = self.gguf.data(tensor, room.min(SAMPLE_BYTES)) {
                add(&data);
            }
        }
    }

    fn norm(&self, id: TensorId, len: usize) -> Result<Vec<f32>, LoadError> {
        finite(&id.gguf(), self.vector(&id.gguf(), len)?)
    }

    fn linear(&self, id: TensorId, rows: usize, cols: usize) -> Result<Matrix, LoadError> {
        let name = id.gguf();
        let tensor = self.find(&name, &[rows, cols])?;
        if self.has_groups(tensor) {
            self.refuse_factor(id)?;
            return self.grouped_linear(tensor, rows, cols);
        }
        let mut layout = TernaryLayout::I2S;
        let (packed, mut scale) = match tensor.ty {
            ty::I2_S => self.i2_s(tensor, rows, cols)?,
            ty::STERNA_TRITS5 => {
                layout = TernaryLayout::Trits5;
                self.trits5(tensor, rows, cols)?
            }
            _ => self.with_one_scale(tensor, rows, cols)?,
        };
        if let Some(factor) = self.factor(id)? {
            scale *= factor;
        }
        Linear::with_layout(layout, rows, cols, packed, scale)
            .map(Matrix::Ternary)
            .map_err(|reason| tensor_error(&name, reason))
    }

    fn layout(&self, id: TensorId) -> TernaryLayout {
        match self.gguf.tensor(&id.gguf()) {
            Some(tensor) if tensor.ty == ty::STERNA_TRITS5 => TernaryLayout::Trits5,
            _ => TernaryLayout::I2S,
        }
    }

    fn may_have_grouped_tables(&self) -> bool {
        self.grouped_tables
    }

    fn may_have_groups(&self) -> bool {
        self.grouped
            || (self.gguf.tensors().iter())
                .any(|tensor| self.has_groups(tensor) || group_blocks::is_typed(tensor.ty))
    }

    fn table(&self, id: TensorId, rows: usize, cols: usize) -> Result<Table, LoadError> {
        let name = id.gguf();
        let tensor = self.find(&name, &[rows, cols])?;
        let fault = |reason| tensor_error(&name, reason);
        if let Some(grouped) = self.in_blocks(tensor, rows, cols)? {
            return Ok(Table::Grouped(grouped));
        }
        // Of a model whose every matrix is on a grid the table is too, most likely.
        if self.grouped_tables
            && let Some(grouped) = self.on_grid(tensor, rows, cols)?
        {
            return Ok(Table::Grouped(grouped));
        }
        if let Some(format) = TableBlocks::of(tensor.ty) {
            let bytes = self.in_table_blocks(tensor, format, rows, cols)?;
            let team = self.packers.team().map_err(fault)?;
            let bytes = format.to_q8_0(&bytes, cols, team).map_err(fault)?;
            return DenseWeights::new(DenseType::Q8_0, rows, cols, bytes.into())
                .map(Table::Dense)
                .map_err(fault);
        }
        let dense = match tensor.ty {
            ty::F32 => DenseType::F32,
            ty::F16 => DenseType::F16,
            ty::BF16 => DenseType::Bf16,
            ty::Q8_0 => DenseType::Q8_0,
            ty::Q6_K => DenseType::Q6K,
            other => return Err(tensor_error(&name, ggml_type::refuse_dense(other))),
        };
        let row_bytes = dense.row_bytes(cols).ok_or_else(|| {
            tensor_error(
                &name,
                format!(
                    "rows of {cols} do not divide into whole blocks of {}",
                    dense.name()
                ),
            )
        })?;
        let bytes = self.data(tensor, rows.checked_mul(row_bytes))?;
        DenseWeights::new(dense, rows, cols, bytes)
            .map(Table::Dense)
            .map_err(fault)
    }
}

impl GgufWeights {
    /// The tensor `name`, if its shape is `[out, in]` (or `[n]`) as expected.
    fn find(&self, name: &str, expected: &[usize]) -> Result<&TensorInfo, LoadError> {
        let tensor = self
            .gguf
            .tensor(name)
            .ok_or_else(|| tensor_error(name, "is absent"))?;
        // Trailing sizes of 1 mean nothing in ggml.
        let mut found = tensor.ne.clone();
        while found.len() > expected.len() && found.last() == Some(&1) {
            found.pop();
        }
        found.reverse();
        if found.iter().copied().eq(expected.iter().map(|&n| n as u64)) {
            return Ok(tensor);
        }
        Err(tensor_error(
            name,
            format!(
                "has shape {found:?} (type {}), the configuration makes it {expected:?}",
                ggml_type::name(tensor.ty)
            ),
        ))
    }

    fn data(&self, tensor: &TensorInfo, n_bytes: Option<usize>) -> Result<Bytes, LoadError> {
        n_bytes
            .and_then(|n| self.gguf.data(tensor, n))
            .ok_or_else(|| {
                tensor_error(
                    &tensor.name,
                    "reaches past the end of the file: the file is truncated, download it anew",
                )
            })
    }

    fn floats(&self, tensor: &TensorInfo, ty: FloatType, len: usize) -> Result<Floats, LoadError> {
        Ok(Floats {
            ty,
            bytes: self.data(tensor, len.checked_mul(ty.bytes()))?,
        })
    }

    /// A vector of floats.
    pub(crate) fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, LoadError> {
        let tensor = self.find(name, &[len])?;
        let float = float_type(tensor.ty)
            .ok_or_else(|| tensor_error(name, ggml_type::refuse_float(tensor.ty)))?;
        Ok(self.floats(tensor, float, len)?.to_vec())
    }

    /// Refuse tensors that nobody reads.
    pub(crate) fn refuse_leftovers(
        &self,
        config: &ModelConfig,
        tied: bool,
    ) -> Result<(), LoadError> {
        if !leftovers::wanted(config, tied).all(|id| self.has(id)) {
            // Whoever loads it says which is absent.
            return Ok(());
        }
        let mut read: BTreeSet<String> = [ROPE_FREQS.to_owned()].into();
        for id in leftovers::wanted(config, tied) {
            read.insert(id.gguf());
            if id.is_linear() {
                read.insert(factor_of(id));
            }
        }
        let names = self
            .gguf
            .tensors()
            .iter()
            .map(|tensor| tensor.name.as_str());
        leftovers::refuse(names, &read, config, |name| self.is_zero_bias(name))
    }

    /// A bias that adds nothing, which converters write for classes that have one.
    fn is_zero_bias(&self, name: &str) -> bool {
        let len = self
            .gguf
            .tensor(name)
            .and_then(|tensor| usize::try_from(tensor.elements()).ok());
        let values = len
            .filter(|_| name.ends_with(".bias"))
            .and_then(|len| self.vector(name, len).ok());
        values.is_some_and(|values| values.iter().all(|&x| x == 0.0))
    }

    /// Factors on the rotary frequencies (Llama 3.1's long context) must all be 1.
    pub(crate) fn check_rope_freqs(&self, len: usize) -> Result<(), LoadError> {
        if self.gguf.tensor(ROPE_FREQS).is_some()
            && self
                .vector(ROPE_FREQS, len)?
                .iter()
                .any(|&factor| factor != 1.0)
        {
            return Err(tensor_error(
                ROPE_FREQS,
                "scaled rotary frequencies are not supported",
            ));
        }
        Ok(())
    }

    /// The factor of a linear's output, if there is one.
    fn factor(&self, id: TensorId) -> Result<Option<f32>, LoadError> {
        let factor = factor_of(id);
        if self.gguf.tensor(&factor).is_none() {
            return Ok(None);
        }
        Ok(self.vector(&factor, 1)?.first().copied())
    }

    /// A scale for each group is an f16, which has no room for a factor.
    fn refuse_factor(&self, id: TensorId) -> Result<(), LoadError> {
        match self.factor(id)? {
            None | Some(1.0) => Ok(()),
            Some(factor) => Err(tensor_error(
                &factor_of(id),
                format!(
                    "is {factor}, the factor of a matrix with a scale for each group, which is not \
                     supported: use a file of this model without it"
                ),
            )),
        }
    }

    fn grouped_linear(
        &self,
        tensor: &TensorInfo,
        rows: usize,
        cols: usize,
    ) -> Result<Matrix, LoadError> {
        if let Some(grouped) = self.in_blocks(tensor, rows, cols)? {
            return Ok(Matrix::Grouped(grouped));
        }
        let fault = |reason| tensor_error(&tensor.name, reason);
        if let Some(float) = float_type(tensor.ty) {
            return self.float_linear(tensor, float, [rows, cols]);
        }
        let Some(format) = q4_0(tensor.ty) else {
            return Err(fault(ggml_type::refuse_grouped(tensor.ty)));
        };
        let bytes = self.in_table_blocks(tensor, format, rows, cols)?;
        let packed = group_grid::of_q4_0(&bytes, [rows, cols], &self.packers);
        packed
            .map(Matrix::Grouped)
            .map_err(|reason| fault(format!("{reason}: {OFF_GRID}")))
    }

    fn float_linear(
        &self,
        tensor: &TensorInfo,
        float: FloatType,
        [rows, cols]: [usize; 2],
    ) -> Result<Matrix, LoadError> {
        let weights = self.floats(tensor, float, rows * cols)?;
        let rule = FloatRule {
            grouped: self.grouped,
            masters: self.masters,
        };
        let matrix = rule.linear(&weights, [rows, cols], &self.packers);
        matrix.map_err(|reason| tensor_error(&tensor.name, reason))
    }

    /// A linear with one scale, of a type that is not the kernels' own: its I2_S rows.
    fn with_one_scale(
        &self,
        tensor: &TensorInfo,
        rows: usize,
        cols: usize,
    ) -> Result<(Bytes, f32), LoadError> {
        let fault = |reason| tensor_error(&tensor.name, reason);
        if let Some(float) = float_type(tensor.ty) {
            let matrix = self.float_linear(tensor, float, [rows, cols])?;
            let linear = matrix.ternary();
            let parts = linear.map(|linear| (linear.packed().clone(), linear.scale()));
            return parts.ok_or_else(|| fault("has a scale for each group".into()));
        }
        let (shape, team) = ([rows, cols], self.packers.team().map_err(fault)?);
        let packed = if let Some(format) = RowBlocks::of(tensor.ty) {
            let row_bytes = format
                .row_bytes(cols)
                .ok_or_else(|| no_blocks(tensor, cols))?;
            let bytes = self.data(tensor, row_bytes.checked_mul(rows))?;
            one_scale::pack(shape, team, |row, codes| {
                format.read(&bytes[row * row_bytes..][..row_bytes], codes)
            })
        } else if let Some(format) = q4_0(tensor.ty) {
            let bytes = self.in_table_blocks(tensor, format, rows, cols)?;
            let (bytes, group) = (&bytes[..], Q4_0_BLOCK);
            one_scale::pack_groups(&Q4Rows { bytes, cols, group }, shape, group, team)
        } else if let Some(format) = self.block_format(tensor).map_err(fault)? {
            let row_bytes = format
                .row_bytes(cols)
                .ok_or_else(|| no_blocks(tensor, cols))?;
            let bytes = self.data(tensor, row_bytes.checked_mul(rows))?;
            let bytes = &bytes[..];
            let rows = BlockRows {
                format,
                cols,
                bytes,
            };
            one_scale::pack_groups(&rows, shape, format.group, team)
        } else {
            return Err(fault(ggml_type::refuse_linear(tensor.ty)));
        };
        let remedy = ggml_type::several_scales_remedy(tensor.ty);
        packed
            .map(|(packed, scale)| (packed.into(), scale))
            .map_err(|reason| fault(format!("{reason}: {remedy}")))
    }

    /// True if a linear of this type has a scale for each group.
    fn has_groups(&self, tensor: &TensorInfo) -> bool {
        group_tiles::kind(tensor.ty).is_some()
            || self.grouped && !ggml_type::HAVE_ONE_SCALE.contains(&tensor.ty)
    }

    /// A matrix in a type that is made of groups; `None` for other types.
    fn in_blocks(
        &self,
        tensor: &TensorInfo,
        rows: usize,
        cols: usize,
    ) -> Result<Option<GroupedWeights>, LoadError> {
        let fault = |reason: String| tensor_error(&tensor.name, reason);
        if let Some((codes, group)) = group_tiles::kind(tensor.ty) {
            let shape = GroupShape::new(rows, cols, group, codes);
            let shape = shape.map_err(|error| fault(error.to_string()))?;
            let tiles = group_tiles::read(&self.gguf, tensor, shape);
            let tiles = tiles.and_then(|tiles| GroupedWeights::new(shape, tiles));
            return tiles.map(Some).map_err(fault);
        }
        let Some(format) = self.block_format(tensor).map_err(fault)? else {
            return Ok(None);
        };
        let shape = GroupShape::new(rows, cols, format.group, format.codes);
        let shape = shape.map_err(|error| fault(error.to_string()))?;
        let n_bytes = format.row_bytes(cols).and_then(|n| n.checked_mul(rows));
        let bytes = self.data(tensor, n_bytes)?;
        let rows = BlockRows {
            format,
            cols,
            bytes: &bytes,
        };
        let packed = GroupedWeights::pack(shape, &rows, &self.packers);
        packed.map(Some).map_err(fault)
    }

    /// The blocks of a matrix in `format`.
    fn in_table_blocks(
        &self,
        tensor: &TensorInfo,
        format: TableBlocks,
        rows: usize,
        cols: usize,
    ) -> Result<Bytes, LoadError> {
        let row_bytes = format.row_bytes(cols);
        let row_bytes = row_bytes.map_err(|reason| tensor_error(&tensor.name, reason))?;
        self.data(tensor, row_bytes.checked_mul(rows))
    }

    /// A matrix of another type, if it lies on a grid.
    fn on_grid(
        &self,
        tensor: &TensorInfo,
        rows: usize,
        cols: usize,
    ) -> Result<Option<GroupedWeights>, LoadError> {
        let packers = &self.packers;
        if let Some(float) = float_type(tensor.ty) {
            let weights = self.floats(tensor, float, rows * cols)?;
            return Ok(group_grid::of_floats(&weights, [rows, cols], packers).ok());
        }
        if let Some(format) = q4_0(tensor.ty) {
            let bytes = self.in_table_blocks(tensor, format, rows, cols)?;
            return Ok(group_grid::of_q4_0(&bytes, [rows, cols], packers).ok());
        }
        Ok(None)
    }

    fn i2_s(
        &self,
        tensor: &TensorInfo,
        rows: usize,
        cols: usize,
    ) -> Result<(Bytes, f32), LoadError> {
        let (n, block) = (rows * cols, self.i2s_form.block());
        if !n.is_multiple_of(block) {
            return Err(tensor_error(
                &tensor.name,
                format!(
                    "{n} weights are no whole number of I2_S blocks ({block}); store it as F32 or F16"
                ),
            ));
        }
        let data_bytes = n / 4;
        let all = self.data(tensor, data_bytes.checked_add(TAIL_BYTES))?;
        let (data, tail) = all.split_at(data_bytes);
        let scale = first_scale(tail);
        let in_place = self.i2s_form == I2sForm::Interleave128 && cols.is_multiple_of(block);
        let packed = match all.slice(0..data_bytes) {
            Some(packed) if in_place => packed,
            _ => ternary::from_i2s(data, rows, cols, self.i2s_form).into(),
        };
        Ok((packed, scale))
    }

    fn trits5(
        &self,
        tensor: &TensorInfo,
        rows: usize,
        cols: usize,
    ) -> Result<(Bytes, f32), LoadError> {
        let data_bytes = TernaryLayout::Trits5.bytes(rows, cols);
        let n_bytes = data_bytes.saturating_add(TAIL_BYTES);
        let all = own_layout::read(TRITS5, &self.gguf, tensor, n_bytes)
            .map_err(|reason| tensor_error(&tensor.name, reason))?;
        let scale = first_scale(&all[data_bytes..]);
        let packed = all.slice(0..data_bytes).unwrap_or(all);
        Ok((packed, scale))
    }
}

const OFF_GRID: &str = "these are not the weights of a 1-bit or ternary model in groups of 128 or 64. Use \
                        its Q1_0, Q2_0, TQ1_0 or TQ2_0 file";

/// Why a type does not hold rows of this width.
fn no_blocks(tensor: &TensorInfo, cols: usize) -> LoadError {
    let name = ggml_type::name(tensor.ty);
    tensor_error(
        &tensor.name,
        format!("rows of {cols} weights are no whole blocks of {name}: the file is damaged"),
    )
}

fn first_scale(tail: &[u8]) -> f32 {
    tail.first_chunk::<4>()
        .map_or(f32::NAN, |bytes| f32::from_le_bytes(*bytes))
}

/// Q4_0's blocks: those in which ternary weights are found.
fn q4_0(id: u32) -> Option<TableBlocks> {
    (id == ty::Q4_0).then(|| TableBlocks::of(id))?
}

pub(super) fn float_type(id: u32) -> Option<FloatType> {
    match id {
        ty::F32 => Some(FloatType::F32),
        ty::F16 => Some(FloatType::F16),
        ty::BF16 => Some(FloatType::Bf16),
        _ => None,
    }
}
