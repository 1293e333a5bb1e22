//! Embeddings and heads in ggml's block types of 4 and 5 bits, which the kernels have no loop for:
//! rewritten in Q8_0 (layouts: ggml-quants.c).
//!
//! Q4_0 and Q5_0 are a scale times a small number, which Q8_0 holds as it is. Q4_1, Q5_1, Q4_K and
//! Q5_K add a minimum, so their numbers are rounded to Q8_0's, by half of a 127th of the largest in
//! 32 at most: where weights have both signs, less than a 15th of the step between two numbers of
//! four bits.

use half::f16;
use sterna_kernels::{DenseType, encode_dense_row};

use super::ggml_type::id;
use crate::team::Team;

/// Weights of a Q8_0 block, and its bytes.
const BLOCK: usize = 32;
const Q8_0_BYTES: usize = 34;
/// Weights of a block of the K types.
const SUPER_BLOCK: usize = 256;
/// Rows that one thread rewrites at a time.
const ROWS: usize = 64;

/// How a block is read.
#[derive(Clone, Copy)]
enum Decode {
    /// 32 codes, whose scale is the f16 in front.
    Codes(fn(&[u8], &mut [i8; BLOCK])),
    /// All weights of a block.
    Floats(fn(&[u8], &mut [f32])),
}

/// A storage type that is rewritten.
#[derive(Clone, Copy)]
pub(super) struct TableBlocks {
    /// Weights of a block, and its bytes.
    weights: usize,
    bytes: usize,
    decode: Decode,
}

impl TableBlocks {
    /// The type of ggml's id `ty`, if it is one of these.
    pub(super) fn of(ty: u32) -> Option<TableBlocks> {
        let (weights, bytes, decode) = match ty {
            id::Q4_0 => (BLOCK, 18, Decode::Codes(q4_0)),
            id::Q4_1 => (BLOCK, 20, Decode::Floats(q4_1)),
            id::Q5_0 => (BLOCK, 22, Decode::Codes(q5_0)),
            id::Q5_1 => (BLOCK, 24, Decode::Floats(q5_1)),
            id::Q4_K => (SUPER_BLOCK, 144, Decode::Floats(q4_k)),
            id::Q5_K => (SUPER_BLOCK, 176, Decode::Floats(q5_k)),
            _ => return None,
        };
        Some(TableBlocks {
            weights,
            bytes,
            decode,
        })
    }

    /// Bytes of a row of `cols` weights.
    ///
    /// # Errors
    /// A sentence where they are no whole blocks.
    pub(super) fn row_bytes(self, cols: usize) -> Result<usize, String> {
        if cols.is_multiple_of(self.weights) {
            return Ok(cols / self.weights * self.bytes);
        }
        Err(format!(
            "rows of {cols} do not divide into whole blocks of {} weights",
            self.weights
        ))
    }

    /// A matrix with rows of `cols` weights in Q8_0, on the team's threads.
    ///
    /// # Errors
    /// A sentence where a scale is not finite, or a weight too large for Q8_0.
    pub(super) fn to_q8_0(self, bytes: &[u8], cols: usize, team: &Team) -> Result<Vec<u8>, String> {
        let row_bytes = self.row_bytes(cols)?;
        let mut out = vec![0; bytes.len() / row_bytes * (cols / BLOCK * Q8_0_BYTES)];
        let from = bytes.chunks(ROWS * row_bytes);
        let to = out.chunks_mut(ROWS * (cols / BLOCK * Q8_0_BYTES));
        let tasks: Vec<_> = from.zip(to).collect();
        team.run(|| team.for_each(tasks, bytes.len(), |(from, to)| self.rewrite(from, to)));
        let damaged = out.chunks_exact(Q8_0_BYTES).position(|block| {
            let d = f16::from_le_bytes([block[0], block[1]]);
            !d.is_finite()
        });
        match damaged {
            None => Ok(out),
            Some(block) => Err(format!(
                "row {} has a scale that is not finite, or too large: the file is damaged",
                block * BLOCK / cols
            )),
        }
    }

    /// The weights of whole blocks.
    pub(super) fn decode(self, bytes: &[u8], out: &mut [f32]) {
        let blocks = bytes.chunks_exact(self.bytes);
        for (block, out) in blocks.zip(out.chunks_exact_mut(self.weights)) {
            match self.decode {
                Decode::Codes(read) => {
                    let mut codes = [0; BLOCK];
                    read(block, &mut codes);
                    let d = half(block, 0);
                    for (out, code) in out.iter_mut().zip(codes) {
                        *out = d * f32::from(code);
                    }
                }
                Decode::Floats(read) => read(block, out),
            }
        }
    }

    /// Whole blocks in Q8_0; a scale that is not finite stays so.
    pub(super) fn rewrite(self, from: &[u8], to: &mut [u8]) {
        let blocks = from.chunks_exact(self.bytes);
        let out = to.chunks_exact_mut(self.weights / BLOCK * Q8_0_BYTES);
        let mut floats = [0.0; SUPER_BLOCK];
        let floats = &mut floats[..self.weights];
        for (block, out) in blocks.zip(out) {
            match self.decode {
                Decode::Codes(read) => {
                    let mut codes = [0; BLOCK];
                    read(block, &mut codes);
                    out[..2].copy_from_slice(&block[..2]);
                    out[2..].copy_from_slice(&codes.map(i8::cast_unsigned));
                }
                Decode::Floats(read) => {
                    read(block, floats);
                    // What is no number has no largest magnitude, and must not be lost.
                    if floats.iter().all(|x| x.is_finite()) {
                        encode_dense_row(DenseType::Q8_0, floats, out);
                    } else {
                        out[..2].copy_from_slice(&f16::NAN.to_le_bytes());
                    }
                }
            }
        }
    }
}

/// The f16 at `at`.
fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// The 32 four-bit numbers of 16 bytes: the low halves, then the high ones.
fn nibble(bytes: &[u8], i: usize) -> u8 {
    (bytes[i % 16] >> (4 * (i / 16))) & 15
}

/// The fifth bits of 32 numbers, at their places.
fn fifth_bit(bytes: &[u8], i: usize) -> u8 {
    ((bytes[i / 8] >> (i % 8)) & 1) << 4
}

/// d, 16 bytes: d * (q - 8).
pub(super) fn q4_0(block: &[u8], codes: &mut [i8; BLOCK]) {
    *codes = std::array::from_fn(|i| nibble(&block[2..], i).cast_signed() - 8);
}

/// d, fifth bits in 4 bytes, 16 bytes: d * (q - 16).
fn q5_0(block: &[u8], codes: &mut [i8; BLOCK]) {
    let q = |i| nibble(&block[6..], i) | fifth_bit(&block[2..6], i);
    *codes = std::array::from_fn(|i| q(i).cast_signed() - 16);
}

/// d, m, 16 bytes: d * q + m.
fn q4_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (half(block, 0), half(block, 2));
    for (i, out) in out.iter_mut().enumerate() {
        *out = d * f32::from(nibble(&block[4..], i)) + m;
    }
}

/// d, m, fifth bits in 4 bytes, 16 bytes: d * q + m.
fn q5_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (half(block, 0), half(block, 2));
    for (i, out) in out.iter_mut().enumerate() {
        let q = nibble(&block[8..], i) | fifth_bit(&block[4..8], i);
        *out = d * f32::from(q) + m;
    }
}

/// d and dmin, 12 bytes of [`scales`], 128 bytes, whose low and high halves are 32 numbers each in
/// turn: d * scale * q - dmin * minimum.
fn q4_k(block: &[u8], out: &mut [f32]) {
    k_type(block, &block[16..], |_, _| 0, out);
}

/// As Q4_K with 32 bytes of fifth bits before the numbers: bit n of byte i is that of number i of
/// the nth 32.
fn q5_k(block: &[u8], out: &mut [f32]) {
    let fifth = |n: usize, i: usize| ((block[16 + i] >> n) & 1) << 4;
    k_type(block, &block[48..], fifth, out);
}

fn k_type(block: &[u8], low: &[u8], high: impl Fn(usize, usize) -> u8, out: &mut [f32]) {
    let (d, dmin) = (half(block, 0), half(block, 2));
    for (n, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, minimum) = scales(&block[4..16], n);
        let (d, m) = (d * f32::from(scale), dmin * f32::from(minimum));
        let bytes = &low[n / 2 * 32..][..32];
        for (i, (byte, out)) in bytes.iter().zip(out).enumerate() {
            let q = ((byte >> (4 * (n % 2))) & 15) | high(n, i);
            *out = d * f32::from(q) - m;
        }
    }
}

/// Scale and minimum, of six bits, of the nth 32 weights: the first four in the low bits of bytes n
/// and n + 4; of the others the low bits lie in byte n + 4, the high ones above the first four's.
fn scales(bytes: &[u8], n: usize) -> (u8, u8) {
    if n < 4 {
        return (bytes[n] & 63, bytes[n + 4] & 63);
    }
    let (low, high) = (bytes[n + 4], [bytes[n - 4], bytes[n]]);
    (
        (low & 15) | ((high[0] >> 6) << 4),
        (low >> 4) | ((high[1] >> 6) << 4),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;

    const TYPES: [(&str, u32); 6] = [
        ("Q4_0", id::Q4_0),
        ("Q4_1", id::Q4_1),
        ("Q5_0", id::Q5_0),
        ("Q5_1", id::Q5_1),
        ("Q4_K", id::Q4_K),
        ("Q5_K", id::Q5_K),
    ];
    const COLS: usize = 256;

    /// Random blocks of each type, and the weights that PyPI's gguf reads from them.
    fn vectors() -> Json {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/fixtures/table_blocks/vectors.json"
        );
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    fn blocks(vectors: &Json, name: &str) -> (Vec<u8>, Vec<f32>) {
        let hex = vectors[name]["bytes"].as_str().unwrap();
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let values = vectors[name]["values"].as_array().unwrap().iter();
        let value = |value: &Json| value.as_f64().unwrap() as f32;
        (
            (0..hex.len()).step_by(2).map(byte).collect(),
            values.map(value).collect(),
        )
    }

    fn to_q8_0(ty: u32, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let team = Team::new(2).unwrap();
        TableBlocks::of(ty).unwrap().to_q8_0(bytes, COLS, &team)
    }

    #[test]
    fn every_type_has_the_reference_decoders_weights() {
        let vectors = vectors();
        for (name, ty) in TYPES {
            let (bytes, expected) = blocks(&vectors, name);
            let format = TableBlocks::of(ty).unwrap();
            let rows = expected.len() / COLS;
            assert_eq!(
                bytes.len(),
                rows * format.row_bytes(COLS).unwrap(),
                "{name}"
            );
            let mut out = vec![f32::NAN; expected.len()];
            format.decode(&bytes, &mut out);
            assert_eq!(out, expected, "{name}");
            let exact = matches!(format.decode, Decode::Codes(_));
            let q8_0 = to_q8_0(ty, &bytes).unwrap();
            let table = sterna_kernels::Dense::new(DenseType::Q8_0, rows, COLS, &q8_0).unwrap();
            let mut row = vec![0.0; COLS];
            for (index, expected) in expected.chunks(COLS).enumerate() {
                table.dequantize_row(index, &mut row);
                for (found, expected) in row.chunks(BLOCK).zip(expected.chunks(BLOCK)) {
                    let largest = expected.iter().fold(0f32, |max, x| max.max(x.abs()));
                    // Half a step, and what an f16 rounds of the largest.
                    let most = largest * (0.5 / 127.0 + 1.0 / 2048.0);
                    for (found, expected) in found.iter().zip(expected) {
                        let off = (found - expected).abs();
                        assert!(
                            if exact { off == 0.0 } else { off <= most },
                            "{name}: {off}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn damage_is_refused_with_its_row() {
        let vectors = vectors();
        for (name, ty) in TYPES {
            let (mut bytes, _) = blocks(&vectors, name);
            let at = TableBlocks::of(ty).unwrap().row_bytes(COLS).unwrap();
            for bad in [f16::NAN, f16::NEG_INFINITY] {
                bytes[at..at + 2].copy_from_slice(&bad.to_le_bytes());
                let error = to_q8_0(ty, &bytes).unwrap_err();
                assert!(error.contains("row 1 "), "{name}: {error}");
            }
        }
        let narrow = TableBlocks::of(id::Q4_K)
            .unwrap()
            .row_bytes(288)
            .unwrap_err();
        assert!(narrow.contains("256"), "{narrow}");
        // Finite, and beyond what Q8_0 holds: 65504 * 63 * 15.
        let mut block = vec![0xff; 144];
        block[..2].copy_from_slice(&f16::MAX.to_le_bytes());
        block[2..4].fill(0);
        assert!(to_q8_0(id::Q4_K, &block).unwrap_err().contains("row 0 "));
    }
}
