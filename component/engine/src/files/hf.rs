//! Weights from a Hugging Face directory: packed U8 linears with either scale convention, or bf16 (f16,
//! f32) master weights that are quantised here.

use safetensors::Dtype;
use sterna_kernels::DenseType;

use super::floats::{FloatType, Floats};
use super::names::TensorId;
use super::safetensors::{Tensor, TensorFiles};
use super::source::WeightSource;
use super::{tensor_error, ternary};
use crate::config::ScaleRule;
use crate::error::LoadError;
use crate::model::{DenseWeights, Linear};

/// Reads tensors by the published names.
pub(crate) struct HfWeights {
    pub(crate) files: TensorFiles,
    pub(crate) scale_rule: ScaleRule,
}

/// Tensors beside a linear that would change its arithmetic.
const UNSUPPORTED_COMPANIONS: [&str; 3] = ["bias", "rms_norm.weight", "norm.weight"];

impl WeightSource for HfWeights {
    fn has(&self, id: TensorId) -> bool {
        self.files.get(&(id.hf_base() + ".weight")).is_some()
    }

    fn norm(&self, id: TensorId, len: usize) -> Result<Vec<f32>, LoadError> {
        let mut name = id.hf_base() + ".weight";
        if let Some(old) = id.hf_old_base().filter(|_| self.files.get(&name).is_none()) {
            let old = old + ".weight";
            if self.files.get(&old).is_some() {
                name = old;
            }
        }
        let tensor = self.get(&name)?;
        check_shape(&name, tensor, &[len])?;
        Ok(floats(&name, tensor)?.to_vec())
    }

    fn linear(&self, id: TensorId, rows: usize, cols: usize) -> Result<Linear, LoadError> {
        let base = id.hf_base();
        let name = format!("{base}.weight");
        let tensor = self.get(&name)?;
        for companion in UNSUPPORTED_COMPANIONS {
            let companion = format!("{base}.{companion}");
            if self.files.get(&companion).is_some() {
                return Err(tensor_error(
                    &companion,
                    "a linear with a bias or a norm of its own is not supported",
                ));
            }
        }
        let (packed, scale) = if tensor.dtype == Dtype::U8 {
            check_shape(&name, tensor, &[rows.div_ceil(4), cols])?;
            let scale = self.scale(&format!("{base}.weight_scale"))?;
            (ternary::from_hf_packed(&tensor.bytes, rows, cols), scale)
        } else {
            check_shape(&name, tensor, &[rows, cols])?;
            let weights = floats(&name, tensor)?;
            ternary::quantize(&weights, rows, cols).map_err(|reason| tensor_error(&name, reason))?
        };
        Linear::new(rows, cols, packed.into(), scale).map_err(|reason| tensor_error(&name, reason))
    }

    fn dense(&self, id: TensorId, rows: usize, cols: usize) -> Result<DenseWeights, LoadError> {
        let name = id.hf_base() + ".weight";
        let tensor = self.get(&name)?;
        check_shape(&name, tensor, &[rows, cols])?;
        let weights = floats(&name, tensor)?;
        let ty = match weights.ty {
            FloatType::F32 => DenseType::F32,
            FloatType::F16 => DenseType::F16,
            FloatType::Bf16 => DenseType::Bf16,
        };
        DenseWeights::new(ty, rows, cols, weights.bytes)
            .map_err(|reason| tensor_error(&name, reason))
    }
}

impl HfWeights {
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
