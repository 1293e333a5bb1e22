//! Rows of codes and scales in ggml's block types, as `group_blocks` reads them: for files that
//! other programs read too. Layouts: ggml-quants.c, and FORMATS of PrismML for Q2_0.

use sterna_kernels::GroupCodes;

use super::ggml_type::id;
use super::group_blocks::{self, BlockFormat};

/// A standard type of group-scaled weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockType {
    /// Binary in 1 bit, groups of 128.
    Q1_0,
    /// Ternary in 2 bits, groups of 64 (llama.cpp's).
    Q2_0G64,
    /// The same with groups of 128 (PrismML's), under the same id.
    Q2_0G128,
    /// Ternary in 1.6 bits, groups of 256.
    Tq1_0,
    /// Ternary in 2 bits, groups of 256.
    Tq2_0,
}

impl BlockType {
    /// ggml's id.
    pub(crate) fn id(self) -> u32 {
        match self {
            BlockType::Q1_0 => id::Q1_0,
            BlockType::Q2_0G64 | BlockType::Q2_0G128 => id::Q2_0,
            BlockType::Tq1_0 => id::TQ1_0,
            BlockType::Tq2_0 => id::TQ2_0,
        }
    }

    /// The name in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            BlockType::Q1_0 => "Q1_0",
            BlockType::Q2_0G64 => "Q2_0 in groups of 64",
            BlockType::Q2_0G128 => "Q2_0 in groups of 128",
            BlockType::Tq1_0 => "TQ1_0",
            BlockType::Tq2_0 => "TQ2_0",
        }
    }

    fn format(self) -> BlockFormat {
        match self {
            BlockType::Q1_0 => group_blocks::Q1_0,
            BlockType::Q2_0G64 => group_blocks::q2_0(64),
            BlockType::Q2_0G128 => group_blocks::q2_0(128),
            BlockType::Tq1_0 => group_blocks::TQ1_0,
            BlockType::Tq2_0 => group_blocks::TQ2_0,
        }
    }

    /// Weights with one scale.
    #[must_use]
    pub fn group(self) -> usize {
        self.format().group
    }

    /// True if it has no 0.
    #[must_use]
    pub fn is_binary(self) -> bool {
        self.format().codes == GroupCodes::Binary
    }

    /// Bytes of a row of `cols` weights; `None` where they are no whole blocks.
    #[must_use]
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        self.format().row_bytes(cols)
    }

    /// A row's blocks: `codes` are -1, 0 or 1, whole groups; `scales` the bits of an f16 for each.
    /// `out` holds [`BlockType::row_bytes`].
    pub(crate) fn encode(self, codes: &[i8], scales: &[u16], out: &mut [u8]) {
        let BlockFormat { group, bytes, .. } = self.format();
        let blocks = out.chunks_exact_mut(bytes).zip(codes.chunks_exact(group));
        for ((out, codes), scale) in blocks.zip(scales) {
            let scale = scale.to_le_bytes();
            match self {
                BlockType::Q1_0 => {
                    out[..2].copy_from_slice(&scale);
                    for (byte, codes) in out[2..].iter_mut().zip(codes.chunks_exact(8)) {
                        let bits = codes.iter().enumerate();
                        *byte = bits.fold(0, |byte, (j, code)| byte | u8::from(*code > 0) << j);
                    }
                }
                BlockType::Q2_0G64 | BlockType::Q2_0G128 => {
                    out[..2].copy_from_slice(&scale);
                    for (byte, codes) in out[2..].iter_mut().zip(codes.chunks_exact(4)) {
                        let digits = codes.iter().enumerate();
                        *byte = digits.fold(0, |byte, (j, code)| byte | digit(*code) << (2 * j));
                    }
                }
                BlockType::Tq2_0 => {
                    let (bytes, end) = out.split_at_mut(bytes - 2);
                    end.copy_from_slice(&scale);
                    for (bytes, codes) in bytes.chunks_exact_mut(32).zip(codes.chunks_exact(128)) {
                        for (m, byte) in bytes.iter_mut().enumerate() {
                            *byte = (0..4)
                                .fold(0, |byte, l| byte | digit(codes[32 * l + m]) << (2 * l));
                        }
                    }
                }
                BlockType::Tq1_0 => {
                    let (bytes, end) = out.split_at_mut(bytes - 2);
                    end.copy_from_slice(&scale);
                    let mut first = 0;
                    for (range, digits) in [(0..32, 5), (32..48, 5), (48..52, 4)] {
                        let width = range.len();
                        for (m, byte) in bytes[range].iter_mut().enumerate() {
                            let trits = (0..digits).map(|n| digit(codes[first + n * width + m]));
                            *byte = base_3(trits, digits);
                        }
                        first += digits * width;
                    }
                }
            }
        }
    }
}

#[allow(clippy::cast_sign_loss, reason = "codes are -1 to 1")]
fn digit(code: i8) -> u8 {
    (code + 1) as u8
}

/// TQ1_0's byte of up to five trits, the first most significant: their number in base 3, a missing
/// fifth being 0, rounded up to 256ths of 243.
fn base_3(trits: impl Iterator<Item = u8>, digits: usize) -> u8 {
    let number = trits.fold(0u16, |number, trit| 3 * number + u16::from(trit));
    let number = if digits == 5 { number } else { 3 * number };
    #[allow(clippy::cast_possible_truncation, reason = "below 256")]
    let byte = (u32::from(number) * 256).div_ceil(243) as u8;
    byte
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::super::group_blocks::BlockRows;
    use super::*;
    use crate::group_scaled::GroupRows;

    #[test]
    fn what_is_written_is_read_as_it_was() {
        const COLS: usize = 512;
        let ternary: Vec<i8> = (0..COLS).map(|i| ((i * i + i / 7) % 3) as i8 - 1).collect();
        let binary: Vec<i8> = (0..COLS)
            .map(|i| if i * i % 5 < 2 { 1 } else { -1 })
            .collect();
        for ty in [
            BlockType::Q1_0,
            BlockType::Q2_0G64,
            BlockType::Q2_0G128,
            BlockType::Tq1_0,
            BlockType::Tq2_0,
        ] {
            let codes = if ty.is_binary() { &binary } else { &ternary };
            let scales: Vec<u16> = (0..COLS / ty.group())
                .map(|i| f16::from_f32(0.25 + i as f32).to_bits())
                .collect();
            let mut bytes = vec![0; ty.row_bytes(COLS).unwrap()];
            ty.encode(codes, &scales, &mut bytes);
            let rows = BlockRows {
                format: ty.format(),
                cols: COLS,
                bytes: &bytes,
            };
            let (mut read, mut read_scales) = (vec![9; COLS], vec![0; scales.len()]);
            rows.read(0, &mut read, &mut read_scales).unwrap();
            assert_eq!(read, *codes, "{}", ty.name());
            assert_eq!(read_scales, scales, "{}", ty.name());
            assert_eq!(ty.row_bytes(ty.group() + 1), None);
        }
    }
}
