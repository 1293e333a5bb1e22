//! ggml's blocks of codes with a scale each: rows of a group-scaled matrix as GGUF files store them
//! (ggml-quants.c; PQ2_0 and PTQ1_0 are PrismML's). Codes are exact, and scales stay the f16 they
//! are.

use std::ops::Range;

use half::f16;
use sterna_kernels::GroupCodes;

use super::ggml_type::id;
use crate::group_scaled::GroupRows;

/// Reads a block's codes from its bytes without the scale.
type Decode = fn(&[u8], &mut [i8]) -> Result<(), String>;

/// A storage type whose blocks are groups.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockFormat {
    /// Weights of a block.
    pub(super) group: usize,
    /// Bytes of a block.
    pub(super) bytes: usize,
    pub(super) codes: GroupCodes,
    /// True if the scale is the block's last two bytes, false if they are its first.
    scale_last: bool,
    decode: Decode,
}

pub(super) const Q1_0: BlockFormat = BlockFormat {
    group: 128,
    bytes: 18,
    codes: GroupCodes::Binary,
    scale_last: false,
    decode: q1_0,
};

pub(super) const TQ1_0: BlockFormat = BlockFormat {
    group: 256,
    bytes: 54,
    codes: GroupCodes::Ternary,
    scale_last: true,
    decode: tq1_0,
};

pub(super) const TQ2_0: BlockFormat = BlockFormat {
    group: 256,
    bytes: 66,
    codes: GroupCodes::Ternary,
    scale_last: true,
    decode: tq2_0,
};

pub(super) const PTQ1_0: BlockFormat = BlockFormat {
    group: 128,
    bytes: 28,
    codes: GroupCodes::Ternary,
    scale_last: true,
    decode: ptq1_0,
};

/// Q2_0 and PQ2_0: in groups of 64 or 128, which the type's id does not tell.
pub(super) const fn q2_0(group: usize) -> BlockFormat {
    BlockFormat {
        group,
        bytes: 2 + group / 4,
        codes: GroupCodes::Ternary,
        scale_last: false,
        decode: q2_0_block,
    }
}

impl BlockFormat {
    /// Bytes of a row of `cols` weights; `None` where they are no whole blocks.
    pub(super) fn row_bytes(&self, cols: usize) -> Option<usize> {
        cols.is_multiple_of(self.group)
            .then(|| cols / self.group * self.bytes)
    }

    /// A block's scale, and the rest.
    fn parts<'a>(&self, block: &'a [u8]) -> Result<(f16, &'a [u8]), String> {
        let parts = if self.scale_last {
            block.split_last_chunk().map(|(rest, scale)| (scale, rest))
        } else {
            block.split_first_chunk()
        };
        let (scale, rest) = parts.ok_or("a block is cut short")?;
        Ok((f16::from_le_bytes(*scale), rest))
    }

    /// The scale of each block of `bytes`.
    pub(super) fn scales(self, bytes: &[u8]) -> impl Iterator<Item = f16> {
        let blocks = bytes.chunks_exact(self.bytes);
        blocks.filter_map(move |block| Some(self.parts(block).ok()?.0))
    }
}

/// True if the type is a group-scaled one in whichever model.
pub(super) fn is_typed(ty: u32) -> bool {
    [id::Q1_0, id::Q2_0].contains(&ty)
}

/// Rows of blocks.
pub(super) struct BlockRows<'a> {
    pub(super) format: BlockFormat,
    pub(super) cols: usize,
    pub(super) bytes: &'a [u8],
}

impl GroupRows for BlockRows<'_> {
    fn read(&self, row: usize, codes: &mut [i8], scales: &mut [u16]) -> Result<(), String> {
        let BlockFormat { group, bytes, .. } = self.format;
        let row_bytes = self.cols / group * bytes;
        let blocks = self.bytes[row * row_bytes..][..row_bytes].chunks_exact(bytes);
        for ((block, codes), scale) in blocks.zip(codes.chunks_exact_mut(group)).zip(scales) {
            let (d, rest) = self.format.parts(block)?;
            (self.format.decode)(rest, codes)?;
            if !d.is_finite() {
                return Err(format!("row {row} has the scale {d}: the file is damaged"));
            }
            *scale = d.to_bits();
        }
        Ok(())
    }
}

/// Bit j of byte i is weight 8i + j: set +1, clear -1.
fn q1_0(bits: &[u8], codes: &mut [i8]) -> Result<(), String> {
    for (byte, codes) in bits.iter().zip(codes.as_chunks_mut::<8>().0) {
        for (j, code) in codes.iter_mut().enumerate() {
            *code = if byte >> j & 1 == 1 { 1 } else { -1 };
        }
    }
    Ok(())
}

/// Weight 4i + j in bits 2j of byte i.
fn q2_0_block(bytes: &[u8], codes: &mut [i8]) -> Result<(), String> {
    check_trits(bytes)?;
    for (byte, codes) in bytes.iter().zip(codes.as_chunks_mut::<4>().0) {
        for (j, code) in codes.iter_mut().enumerate() {
            *code = trit(byte >> (2 * j));
        }
    }
    Ok(())
}

/// Of each 32 bytes: bits 2l of byte m are weight 32l + m.
fn tq2_0(bytes: &[u8], codes: &mut [i8]) -> Result<(), String> {
    check_trits(bytes)?;
    let halves = bytes.as_chunks::<32>().0.iter();
    for (bytes, codes) in halves.zip(codes.as_chunks_mut::<128>().0) {
        for (l, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for (byte, code) in bytes.iter().zip(codes) {
                *code = trit(byte >> (2 * l));
            }
        }
    }
    Ok(())
}

/// Five digits a byte of 32 bytes and of 16, then four of four.
fn tq1_0(bytes: &[u8], codes: &mut [i8]) -> Result<(), String> {
    digits(bytes, [(0..32, 5), (32..48, 5), (48..52, 4)], codes)
}

/// The same of 16, of 8 and of two.
fn ptq1_0(bytes: &[u8], codes: &mut [i8]) -> Result<(), String> {
    digits(bytes, [(0..16, 5), (16..24, 5), (24..26, 4)], codes)
}

/// Base-3 digits, the first of a byte most significant: of each range of bytes so many, digit by
/// digit.
fn digits(
    bytes: &[u8],
    ranges: [(Range<usize>, usize); 3],
    codes: &mut [i8],
) -> Result<(), String> {
    let mut codes = codes.iter_mut();
    for (range, digits) in ranges {
        let bytes = bytes.get(range).ok_or("a block is cut short")?;
        for power in [1u8, 3, 9, 27, 81].into_iter().take(digits) {
            for (byte, code) in bytes.iter().zip(&mut codes) {
                let digit = (u16::from(byte.wrapping_mul(power)) * 3) >> 8;
                *code = digit as i8 - 1;
            }
        }
    }
    Ok(())
}

/// All two-bit codes are below 3.
fn check_trits(bytes: &[u8]) -> Result<(), String> {
    let both = bytes.iter().fold(0, |both, byte| both | byte & byte >> 1);
    if both & 0x55 == 0 {
        return Ok(());
    }
    Err("has the code 3 (weight +2), which no ternary model has".into())
}

/// The weight in the lowest two bits.
fn trit(code: u8) -> i8 {
    (code & 3) as i8 - 1
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;

    /// 512 weights in every layout, by a reference encoder in Python.
    fn vectors() -> Json {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/fixtures/format_vectors.json"
        );
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    fn bytes(hex: &Json) -> Vec<u8> {
        let hex = hex.as_str().unwrap();
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(byte).collect()
    }

    #[test]
    fn every_format_has_the_reference_encoders_codes() {
        let vectors = vectors();
        let formats = [
            ("q1_0_g128", Q1_0, "binary_values"),
            ("q2_0_g64", q2_0(64), "values"),
            ("q2_0_g128_pq2_0", q2_0(128), "values"),
            ("tq1_0", TQ1_0, "values"),
            ("tq2_0", TQ2_0, "values"),
        ];
        for (name, format, values) in formats {
            let bytes = bytes(&vectors[name]);
            assert_eq!(bytes.len(), 2 * format.row_bytes(256).unwrap(), "{name}");
            let rows = BlockRows {
                format,
                cols: 256,
                bytes: &bytes,
            };
            let expected: Vec<i64> = vectors[values]
                .as_array()
                .unwrap()
                .iter()
                .map(|value| value.as_i64().unwrap())
                .collect();
            for (row, expected) in expected.chunks(256).enumerate() {
                let (mut codes, mut scales) = ([9; 256], vec![0; 256 / format.group]);
                rows.read(row, &mut codes, &mut scales).unwrap();
                assert_eq!(codes.map(i64::from)[..], *expected, "{name}, row {row}");
                let sixteenth = f16::from_f32(0.0625).to_bits();
                assert!(scales.iter().all(|scale| *scale == sixteenth), "{name}");
            }
        }
    }

    /// No reference encoder has it: blocks of PTQ1_0 by FORMATS.md's words.
    #[test]
    fn ptq1_0_has_its_digits_in_their_places() {
        let weight = |i: usize| (i * i / 3 + i) % 3;
        let byte = |places: &[usize]| {
            let value = places.iter().fold(0, |value, &i| 3 * value + weight(i));
            let value = value * [1, 3][usize::from(places.len() == 4)];
            u8::try_from((value * 256).div_ceil(243)).unwrap()
        };
        let mut block = Vec::new();
        for (first, width, digits) in [(0, 16, 5), (80, 8, 5), (120, 2, 4)] {
            for m in 0..width {
                let places: Vec<usize> = (0..digits).map(|n| first + width * n + m).collect();
                block.push(byte(&places));
            }
        }
        block.extend(f16::from_f32(-0.5).to_le_bytes());
        let rows = BlockRows {
            format: PTQ1_0,
            cols: 128,
            bytes: &block,
        };
        let (mut codes, mut scales) = ([9; 128], [0]);
        rows.read(0, &mut codes, &mut scales).unwrap();
        let expected: [i8; 128] = std::array::from_fn(|i| weight(i) as i8 - 1);
        assert_eq!(codes, expected);
        assert_eq!(scales, [f16::from_f32(-0.5).to_bits()]);
        let own: Vec<f16> = PTQ1_0.scales(&block).collect();
        assert_eq!(own, [f16::from_f32(-0.5)]);
    }

    #[test]
    fn damage_is_refused() {
        let read = |format: BlockFormat, bytes: &[u8]| {
            let cols = format.group;
            let rows = BlockRows {
                format,
                cols,
                bytes,
            };
            rows.read(0, &mut vec![0; cols], &mut [0])
        };
        let mut block = vec![0x55; 18];
        read(q2_0(64), &block).unwrap();
        block[17] = 0xd5;
        assert!(read(q2_0(64), &block).unwrap_err().contains("code 3"));
        let infinite = f16::INFINITY.to_le_bytes();
        assert!(read(Q1_0, &[&infinite[..], &[0; 16]].concat()).is_err());
        assert!(read(TQ2_0, &[&[0x55; 64][..], &infinite].concat()).is_err());
    }
}
