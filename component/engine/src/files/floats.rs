//! Tensors of plain floats: F32, F16 and BF16, little-endian.

use half::{bf16, f16};

use crate::placement::Bytes;

/// A float type of 2 or 4 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FloatType {
    F32,
    F16,
    Bf16,
}

impl FloatType {
    pub(crate) fn bytes(self) -> usize {
        match self {
            FloatType::F32 => 4,
            FloatType::F16 | FloatType::Bf16 => 2,
        }
    }
}

/// A vector or matrix of floats as a file stores it.
#[derive(Clone, Debug)]
pub(crate) struct Floats {
    pub(crate) ty: FloatType,
    pub(crate) bytes: Bytes,
}

impl Floats {
    /// Elements `start..start + out.len()`. Panics past the end; the callers have checked the
    /// shape.
    pub(crate) fn read(&self, start: usize, out: &mut [f32]) {
        let size = self.ty.bytes();
        let bytes = &self.bytes[start * size..(start + out.len()) * size];
        match self.ty {
            FloatType::F32 => {
                for (out, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *out = f32::from_le_bytes(*b);
                }
            }
            FloatType::F16 => {
                for (out, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *out = f16::from_le_bytes(*b).to_f32();
                }
            }
            FloatType::Bf16 => {
                for (out, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *out = bf16::from_le_bytes(*b).to_f32();
                }
            }
        }
    }

    /// All of them.
    pub(crate) fn to_vec(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.bytes.len() / self.ty.bytes()];
        self.read(0, &mut out);
        out
    }
}
