//! Weights from a Hugging Face directory: packed U8 linears with either scale convention, or bf16
//! (f16, f32) weights, on a grid or as master weights that are quantised here.

use std::collections::BTreeSet;

use safetensors::Dtype;
use sterna_kernels::DenseType;

use super::fingerprint::SAMPLE_BYTES;
use super::float_linear::FloatRule;
use super::floats::{FloatType, Floats};
use super::names::{Part, TensorId};
use super::safetensors::{Tensor, TensorFiles};
use super::source::{WeightSource, finite};
use super::stored_tensor::StoredTensor;
use super::{group_grid, leftovers, tensor_error, ternary};
use crate::config::{ModelConfig, ScaleRule};
use crate::error::LoadError;
use crate::group_scaled::Packers;
use crate::matrix::{Matrix, Table};
use crate::weights::{DenseWeights, Linear};

/// Reads tensors by the published names.
pub(crate) struct HfWeights {
    pub(crate) files: TensorFiles,
    pub(crate) scale_rule: ScaleRule,
    /// True if linears are floats on a grid with a scale for each group.
    pub(crate) grouped: bool,
    /// True if the embedding and the head may be too.
    pub(crate) grouped_tables: bool,
    /// True if floats on no grid are master weights, to be quantised.
    pub(crate) masters: bool,
    /// True if every norm but those of linears' own inputs is stored less 1: Gemma's, whose blocks
    /// have norms behind their sub-layers too.
    pub(crate) norms_plus_one: bool,
    pub(crate) packers: Packers,
}

fn is_input_norm(id: TensorId) -> bool {
    matches!(id, TensorId::Block(_, part) if part.normed_linear().is_some())
}

impl WeightSource for HfWeights {
    fn has(&self, id: TensorId) -> bool {
        self.files.get(&self.name(id)).is_some()
    }

    fn stored(&self, id: TensorId) -> Option<StoredTensor> {
        let name = id.hf_base() + ".weight";
        let tensor = self.files.get(&name)?;
        Some(StoredTensor {
            ty: format!("{:?}", tensor.dtype),
            shape: tensor.shape.clone(),
            name,
        })
    }

    fn sample(&self, add: &mut dyn FnMut(&[u8])) {
        add(format!("hf {}", self.masters).as_bytes());
        let mut names: Vec<&str> = self.files.names().collect();
        names.sort_unstable();
        for name in names {
            if let Some(tensor) = self.files.get(name) {
                add(format!("{name} {:?} {:?}", tensor.shape, tensor.dtype).as_bytes());
                add(&tensor.bytes[..tensor.bytes.len().min(SAMPLE_BYTES)]);
            }
        }
    }

    fn norm(&self, id: TensorId, len: usize) -> Result<Vec<f32>, LoadError> {
        let name = self.name(id);
        let tensor = self.get(&name)?;
        check_shape(&name, tensor, &[len])?;
        let mut weights = floats(&name, tensor)?.to_vec();
        if self.norms_plus_one && !is_input_norm(id) {
            weights.iter_mut().for_each(|weight| *weight += 1.0);
        }
        finite(&name, weights)
    }

    fn linear(&self, id: TensorId, rows: usize, cols: usize) -> Result<Matrix, LoadError> {
        let name = self.name(id);
        let tensor = self.get(&name)?;
        if tensor.dtype == Dtype::U8 {
            if self.grouped {
                return Err(tensor_error(
                    &name,
                    "is packed, but config.json has no `quantization_config`, which says what its \
                     scale means: download config.json anew",
                ));
            }
            check_shape(&name, tensor, &[rows.div_ceil(4), cols])?;
            let scale = self.scale(&format!("{name}_scale"))?;
            let packed = ternary::from_hf_packed(&tensor.bytes, rows, cols);
            return Linear::new(rows, cols, packed.into(), scale)
                .map(Matrix::Ternary)
                .map_err(|reason| tensor_error(&name, reason));
        }
        check_shape(&name, tensor, &[rows, cols])?;
        let rule = FloatRule {
            grouped: self.grouped,
            masters: self.masters,
        };
        let matrix = rule.linear(&floats(&name, tensor)?, [rows, cols], &self.packers);
        matrix.map_err(|reason| tensor_error(&name, reason))
    }

    fn may_have_grouped_tables(&self) -> bool {
        self.grouped_tables
    }

    fn may_have_groups(&self) -> bool {
        self.grouped
    }

    fn table(&self, id: TensorId, rows: usize, cols: usize) -> Result<Table, LoadError> {
        let name = self.name(id);
        let tensor = self.get(&name)?;
        // Of a model whose every matrix is on a grid the table is too, most likely.
        check_shape(&name, tensor, &[rows, cols])?;
        let weights = floats(&name, tensor)?;
        if self.grouped_tables
            && let Ok(grouped) = group_grid::of_floats(&weights, [rows, cols], &self.packers)
        {
            return Ok(Table::Grouped(grouped));
        }
        let ty = match weights.ty {
            FloatType::F32 => DenseType::F32,
            FloatType::F16 => DenseType::F16,
            FloatType::Bf16 => DenseType::Bf16,
        };
        DenseWeights::new(ty, rows, cols, weights.bytes)
            .map(Table::Dense)
            .map_err(|reason| tensor_error(&name, reason))
    }
}

impl HfWeights {
    /// By the present name, or by another where only that is there: an older one, or one without
    /// `model.`, as of a model that was saved without its head.
    fn name(&self, id: TensorId) -> String {
        let base = match id.hf_post_norms_base() {
            Some(base) if self.norms_plus_one => base,
            _ => id.hf_base(),
        };
        let names = [Some(base), id.hf_old_base()].into_iter().flatten();
        let mut names = names.flat_map(|base| {
            let name = base + ".weight";
            let stripped = name.strip_prefix("model.").map(str::to_owned);
            [Some(name), stripped]
        });
        let first = names.next().flatten().unwrap_or_default();
        let is_there = |name: &String| self.files.get(name).is_some();
        if is_there(&first) {
            return first;
        }
        names.flatten().find(is_there).unwrap_or(first)
    }

    /// True if the linears have norms of their own inputs.
    pub(crate) fn has_input_norms(&self) -> bool {
        self.has(TensorId::Block(0, Part::QIn))
    }

    /// A head beside tied weights must be the embedding: transformers would not read it.
    pub(crate) fn check_tied(&self) -> Result<(), LoadError> {
        let [head, embedding] = [TensorId::Head, TensorId::Embedding].map(|id| self.name(id));
        match (self.files.get(&head), self.files.get(&embedding)) {
            (Some(a), Some(b)) if a.dtype != b.dtype || *a.bytes != *b.bytes => Err(tensor_error(
                &head,
                format!(
                    "is another one than `{embedding}`, but config.json says \
                     `tie_word_embeddings: true`: one of them is wrong"
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Refuse tensors that nobody reads.
    pub(crate) fn refuse_leftovers(
        &self,
        config: &ModelConfig,
        tied: bool,
    ) -> Result<(), LoadError> {
        let absent = |id| !self.has(id);
        if leftovers::wanted(config, tied).any(absent) {
            // Whoever loads it says which is absent.
            return Ok(());
        }
        let mut read = BTreeSet::new();
        if tied {
            // The embedding again, as `check_tied` found.
            read.insert(self.name(TensorId::Head));
        }
        for id in leftovers::wanted(config, tied) {
            let name = self.name(id);
            let tensor = self.files.get(&name);
            let packed = tensor.is_some_and(|tensor| floats(&name, tensor).is_err());
            if id.is_linear() && packed {
                read.insert(format!("{name}_scale"));
            }
            read.insert(name);
        }
        leftovers::refuse(self.files.names(), &read, config, |name| {
            let values = || floats(name, self.files.get(name)?).ok().map(|x| x.to_vec());
            if name.ends_with(".bias") {
                values().is_some_and(|values| values.iter().all(|&x| x == 0.0))
            } else {
                name.ends_with(".rotary_emb.inv_freq")
                    && values().is_some_and(|values| are_frequencies(&values, config))
            }
        })
    }

    fn get(&self, name: &str) -> Result<&Tensor, LoadError> {
        self.files
            .get(name)
            .ok_or_else(|| tensor_error(name, "is absent"))
    }

    /// The factor of every trit, whichever way the file states it.
    fn scale(&self, name: &str) -> Result<f32, LoadError> {
        let tensor = self.files.get(name).ok_or_else(|| {
            tensor_error(name, "is absent, but the linear it belongs to is packed")
        })?;
        let values = floats(name, tensor)?.to_vec();
        let &[stored] = values.as_slice() else {
            return Err(tensor_error(
                name,
                format!("has shape {:?}, must be one number", tensor.shape),
            ));
        };
        let scale = match self.scale_rule {
            ScaleRule::Multiply => stored,
            ScaleRule::Divide => 1.0 / stored,
        };
        if scale.is_finite() {
            Ok(scale)
        } else {
            Err(tensor_error(name, format!("is {stored}")))
        }
    }
}

/// True if these are the rotary frequencies that are computed anyway, to bf16's precision; old
/// files hold them.
fn are_frequencies(values: &[f32], config: &ModelConfig) -> bool {
    let n = config.head_dim / 2;
    let expected = |i: usize| config.rope_theta.powf(-(i as f64) / n as f64);
    values.len() == n
        && (values.iter().enumerate())
            .all(|(i, &x)| (f64::from(x) / expected(i) - 1.0).abs() < 1e-2)
}

fn check_shape(name: &str, tensor: &Tensor, expected: &[usize]) -> Result<(), LoadError> {
    if tensor.shape == expected {
        return Ok(());
    }
    Err(tensor_error(
        name,
        format!(
            "has shape {:?}, the configuration makes it {expected:?} (dtype {:?})",
            tensor.shape, tensor.dtype
        ),
    ))
}

fn floats(name: &str, tensor: &Tensor) -> Result<Floats, LoadError> {
    let ty = match tensor.dtype {
        Dtype::F32 => FloatType::F32,
        Dtype::F16 => FloatType::F16,
        Dtype::BF16 => FloatType::Bf16,
        other => {
            return Err(tensor_error(
                name,
                format!(
                    "dtype {other:?} is not supported here; F32, F16 and BF16 are (packed linears: U8)"
                ),
            ));
        }
    };
    Ok(Floats {
        ty,
        bytes: tensor.bytes.clone(),
    })
}
