//! Embedding and head on their way into another storage type, row by row.

use std::io::{Result, Write};

use sterna_kernels::{DenseType, encode_dense_row};

use super::ConvertError;
use crate::files::ggml_id;
use crate::files::gguf_write::GgufWriter;
use crate::weights::DenseWeights;

/// ggml's id of a storage type.
pub(super) fn ggml_type(ty: DenseType) -> u32 {
    match ty {
        DenseType::F32 => ggml_id::F32,
        DenseType::F16 => ggml_id::F16,
        DenseType::Bf16 => ggml_id::BF16,
        DenseType::Q8_0 => ggml_id::Q8_0,
        DenseType::Q6K => ggml_id::Q6_K,
    }
}

/// The loss by re-encoding.
#[derive(Debug, Default)]
pub(super) struct Loss {
    values: usize,
    inexact: usize,
    /// Finite values that became infinite.
    overflown: usize,
    largest_error: f32,
}

impl Loss {
    /// A note for the user. Rounding is expected of quantised types, and worth a note of floats.
    pub(super) fn note(
        &self,
        tensor: &str,
        from: DenseType,
        to: DenseType,
    ) -> std::result::Result<Option<String>, ConvertError> {
        if self.overflown > 0 {
            return Err(ConvertError::Unsupported(format!(
                "tensor `{tensor}`: {} values are too large for {}; choose f32",
                self.overflown,
                to.name()
            )));
        }
        let quantised = matches!(to, DenseType::Q8_0 | DenseType::Q6K);
        if self.inexact == 0 || quantised {
            return Ok(None);
        }
        Ok(Some(format!(
            "tensor `{tensor}`: {} of {} {} values were rounded to {}, by {:.1e} at most; f32 would hold them exactly",
            self.inexact,
            self.values,
            from.name(),
            to.name(),
            self.largest_error
        )))
    }
}

/// Write `weights` as `ty`. Bytes are copied where they are of that type already.
pub(super) fn write(
    writer: &mut GgufWriter<impl Write>,
    weights: &DenseWeights,
    ty: DenseType,
) -> Result<Loss> {
    let mut loss = Loss::default();
    if weights.ty() == ty {
        writer.append(weights.bytes())?;
        return Ok(loss);
    }
    let view = weights.view();
    let mut row = vec![0f32; weights.cols()];
    let mut encoded = vec![0u8; ty.row_bytes(weights.cols()).unwrap_or_default()];
    for index in 0..weights.rows() {
        view.dequantize_row(index, &mut row);
        encode_dense_row(ty, &row, &mut encoded);
        writer.append(&encoded)?;
        if ty == DenseType::F16 || ty == DenseType::Bf16 {
            count(&mut loss, ty, &row, &encoded);
        }
    }
    Ok(loss)
}

fn count(loss: &mut Loss, ty: DenseType, row: &[f32], encoded: &[u8]) {
    for (&x, bytes) in row.iter().zip(encoded.as_chunks::<2>().0) {
        let stored = match ty {
            DenseType::F16 => half::f16::from_le_bytes(*bytes).to_f32(),
            _ => half::bf16::from_le_bytes(*bytes).to_f32(),
        };
        loss.values += 1;
        if stored != x {
            loss.inexact += 1;
            loss.overflown += usize::from(stored.is_infinite() && x.is_finite());
            loss.largest_error = loss.largest_error.max((stored - x).abs());
        }
    }
}
