//! Random blocks of ggml's tensor types, as files have them (ggml-quants.c).

use half::f16;
use sterna_kernels::DenseType;

use super::file_type::{FileType, TableType};
use super::{Random, byte_codes, hold};
use crate::files::ggml_id;

/// A type of random blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocks {
    /// ggml's id.
    pub(super) id: u32,
    /// Weights of a block, and its bytes.
    pub(super) weights: usize,
    pub(super) bytes: usize,
    form: Form,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    /// A scale, then any bits.
    Bits,
    /// A scale, then codes of two bits.
    ScaleFirst,
    /// Codes of two bits, then a scale.
    ScaleLast,
    /// Five trits a byte, four in the last four bytes, then a scale.
    Trits,
    /// Codes of two bits; the scale is the tensor's.
    Codes,
    /// Halves on a grid.
    Halves,
    /// A scale, then values of four bits around 8.
    Nibbles,
    /// Q4_K: scale and minimum, 12 bytes of theirs for each 32 weights, values of four bits.
    SuperBlock,
    /// A type of the kernels.
    Dense(DenseType),
}

impl Blocks {
    /// The blocks of a matrix.
    pub(super) fn of_matrix(ty: FileType) -> Blocks {
        let (id, weights, bytes, form) = match ty {
            FileType::Q1_0 => (ggml_id::Q1_0, 128, 18, Form::Bits),
            FileType::Q2_0 => (ggml_id::Q2_0, 128, 34, Form::ScaleFirst),
            FileType::Q2_0G64 => (ggml_id::Q2_0, 64, 18, Form::ScaleFirst),
            FileType::Pq2_0 => (ggml_id::PQ2_0, 128, 34, Form::ScaleFirst),
            FileType::Tq1_0 => (ggml_id::TQ1_0, 256, 54, Form::Trits),
            FileType::Tq2_0 => (ggml_id::TQ2_0, 256, 66, Form::ScaleLast),
            FileType::I2S => (ggml_id::I2_S, 128, 32, Form::Codes),
            FileType::F16 => (ggml_id::F16, 1, 2, Form::Halves),
        };
        Blocks {
            id,
            weights,
            bytes,
            form,
        }
    }

    /// The blocks of an embedding or head.
    pub(super) fn of_table(ty: TableType) -> Blocks {
        let (id, weights, bytes, form) = match ty {
            TableType::Like(ty) => return Blocks::of_matrix(ty),
            TableType::Q4_0 => (ggml_id::Q4_0, 32, 18, Form::Nibbles),
            TableType::Q4K => (ggml_id::Q4_K, 256, 144, Form::SuperBlock),
            TableType::Dense(ty) => {
                let (id, weights, bytes) = match ty {
                    DenseType::F32 => (ggml_id::F32, 1, 4),
                    DenseType::F16 => (ggml_id::F16, 1, 2),
                    DenseType::Bf16 => (ggml_id::BF16, 1, 2),
                    DenseType::Q8_0 => (ggml_id::Q8_0, 32, 34),
                    DenseType::Q6K => (ggml_id::Q6_K, 256, 210),
                };
                (id, weights, bytes, Form::Dense(ty))
            }
        };
        Blocks {
            id,
            weights,
            bytes,
            form,
        }
    }

    /// Fill `out`, whole blocks, with weights of about `size`. Scales of groups differ, from 3/4 to
    /// 5/4 of it.
    pub(super) fn fill(self, random: &mut Random, size: f32, out: &mut [u8]) {
        random.fill(out);
        let codes = byte_codes();
        let coded = |bytes: &mut [u8]| {
            for byte in bytes {
                *byte = codes[usize::from(*byte)];
            }
        };
        let mut scale = |size: f32| {
            #[allow(clippy::cast_precision_loss, reason = "16 bits")]
            let part = (random.next() >> 48) as f32 / 65536.0;
            f16::from_f32(size * (0.75 + 0.5 * part)).to_le_bytes()
        };
        let grid = f16::from_f32(size);
        let blocks = out.chunks_exact_mut(self.bytes);
        match self.form {
            Form::Bits => blocks.for_each(|block| block[..2].copy_from_slice(&scale(size))),
            Form::ScaleFirst => blocks.for_each(|block| {
                coded(&mut block[2..]);
                block[..2].copy_from_slice(&scale(size));
            }),
            Form::ScaleLast => blocks.for_each(|block| {
                let (bytes, d) = block.split_at_mut(self.bytes - 2);
                coded(bytes);
                d.copy_from_slice(&scale(size));
            }),
            Form::Trits => blocks.for_each(|block| {
                let (bytes, d) = block.split_at_mut(self.bytes - 2);
                let (fives, fours) = bytes.split_at_mut(48);
                fives.iter_mut().for_each(|byte| *byte = trits(*byte, 5));
                fours.iter_mut().for_each(|byte| *byte = trits(*byte, 4));
                d.copy_from_slice(&scale(size));
            }),
            Form::Codes => coded(out),
            Form::Halves => blocks.for_each(|block| {
                let value = match (u16::from(block[0]) * 3) >> 8 {
                    0 => -grid,
                    1 => f16::ZERO,
                    _ => grid,
                };
                block.copy_from_slice(&value.to_le_bytes());
            }),
            // The root of the mean square of -8 to 7 is 4.6.
            Form::Nibbles => {
                blocks.for_each(|block| block[..2].copy_from_slice(&scale(size / 4.6)));
            }
            // 31.5 times that; the minimum is what makes 7.5 a zero.
            Form::SuperBlock => blocks.for_each(|block| {
                let d = f16::from_le_bytes(scale(size / (4.6 * 31.5)));
                block[..2].copy_from_slice(&d.to_le_bytes());
                let minimum = f16::from_f32(7.5 * d.to_f32());
                block[2..4].copy_from_slice(&minimum.to_le_bytes());
                // The same six bits for both of each 32 weights.
                block.copy_within(4..8, 8);
                for byte in &mut block[12..16] {
                    *byte = (*byte & 15) | (*byte << 4);
                }
            }),
            Form::Dense(ty) => hold(ty, out),
        }
    }
}

/// TQ1_0's byte of so many trits: their number in base 3, a missing fifth being 0, rounded up to
/// 256ths of 243.
fn trits(byte: u8, n: u32) -> u8 {
    let number = u32::from(byte) * 3u32.pow(n) / 256 * 3u32.pow(5 - n);
    #[allow(clippy::cast_possible_truncation, reason = "below 256")]
    let byte = (number * 256).div_ceil(243) as u8;
    byte
}
