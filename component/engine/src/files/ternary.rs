//! Every stored form of a ternary matrix, turned into the kernels' padded I2_S rows, and back.
//!
//! If `cols` is a multiple of 128, an I2_S tensor *is* those rows and nothing here runs.

//!
//! Codes are trit + 1. Code 3 occurs in no real file; it stays what it is, and counts as +2 as it
//! does in transformers and in the kernels.

use sterna_kernels::Ternary;
use sterna_kernels::pack::{BLOCK, BLOCK_BYTES, unpack_row};

use super::floats::Floats;

/// Code of weight 0, which fills the places past a row's end.
const ZERO: u8 = 1;

/// bitnet.cpp's interleaving of the weights when it wrote the file; nothing in the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum I2sForm {
    /// x86 builds and every Python converter: 128 weights in 32 bytes.
    Interleave128,
    /// `llama-quantize` built for ARM: 64 weights in 16 bytes.
    Interleave64,
}

impl I2sForm {
    /// Weights of a block; a tensor holds whole ones.
    pub(crate) fn block(self) -> usize {
        match self {
            I2sForm::Interleave128 => 128,
            I2sForm::Interleave64 => 64,
        }
    }
}

/// Packed Hugging Face bytes `[ceil(rows / 4), cols]` (transformers' `pack_weights`): bits 2k of
/// row r are row `r + k * ceil(rows / 4)`, as trit + 1.
pub(crate) fn from_hf_packed(packed: &[u8], rows: usize, cols: usize) -> Vec<u8> {
    let stored_rows = rows.div_ceil(4);
    build(rows, cols, |row, codes| {
        let shift = 2 * (row / stored_rows);
        let start = (row % stored_rows) * cols;
        for (code, byte) in codes.iter_mut().zip(&packed[start..start + cols]) {
            *code = (byte >> shift) & 3;
        }
    })
}

/// I2_S data, flat over the tensor: block boundaries run across row ends where `cols % 128 != 0`.
/// `rows * cols` is a multiple of the form's block.
pub(crate) fn from_i2s(data: &[u8], rows: usize, cols: usize, form: I2sForm) -> Vec<u8> {
    let block = form.block();
    let group = block / 4;
    build(rows, cols, |row, codes| {
        let start = row * cols;
        for (code, index) in codes.iter_mut().zip(start..start + cols) {
            let (g, p) = (index % block / group, index % group);
            *code = (data[index / block * group + p] >> (6 - 2 * g)) & 3;
        }
    })
}

/// The padded rows as flat I2_S, `rows * cols / 4` bytes; `rows * cols` is a multiple of 128.
pub(crate) fn to_i2s(packed: &[u8], rows: usize, cols: usize) -> Vec<u8> {
    let mut trits = vec![0i8; rows * cols];
    for (row, trits) in packed
        .chunks_exact(Ternary::row_bytes(cols))
        .zip(trits.chunks_exact_mut(cols))
    {
        unpack_row(row, cols, trits);
    }
    let codes: Vec<u8> = trits.into_iter().map(code_of).collect();
    let mut flat = vec![0u8; codes.len() / BLOCK * BLOCK_BYTES];
    pack_codes(&codes, &mut flat);
    flat
}

/// Master weights to trits, as they were trained (BitNet b1.58): the scale is the mean magnitude of
/// the whole matrix, at least 1e-5; each trit is `round_half_even(w / scale)`, clamped.
///
/// transformers multiplies by the rounded reciprocal, and so do we. The mean is accumulated in f64:
/// the f32 nearest to it is what any careful f32 summation gives too.
///
/// # Errors
/// A sentence where a weight is not finite.
pub(crate) fn quantize(
    weights: &Floats,
    rows: usize,
    cols: usize,
) -> Result<(Vec<u8>, f32), String> {
    let stats = Stats::of(weights, rows, cols)?;
    let scale = stats.mean_abs.max(1e-5);
    let inverse = 1.0 / scale;
    let packed = pack_floats(weights, rows, cols, |w| round_trit(w * inverse));
    Ok((packed, scale))
}

/// A matrix on the grid {-a, 0, a}, with a; `None` for one that is not. Converters to GGUF write
/// such matrices as floats where no ternary type can hold their shape, and models are published
/// with their weights unpacked; the mean of their magnitudes is not their scale.
///
/// # Errors
/// As [`quantize`].
pub(crate) fn recover(
    weights: &Floats,
    rows: usize,
    cols: usize,
) -> Result<Option<(Vec<u8>, f32)>, String> {
    let Some(scale) = Stats::of(weights, rows, cols)?.grid else {
        return Ok(None);
    };
    let trit = |w: f32| if w == 0.0 { 0 } else { round_trit(w.signum()) };
    Ok(Some((pack_floats(weights, rows, cols, trit), scale)))
}

/// The statistics of one pass over a float matrix.
struct Stats {
    mean_abs: f32,
    /// The one magnitude of every weight that is not zero.
    grid: Option<f32>,
}

impl Stats {
    fn of(weights: &Floats, rows: usize, cols: usize) -> Result<Stats, String> {
        let mut row = vec![0f32; cols];
        let (mut sum, mut magnitude, mut on_grid) = (0f64, 0f32, true);
        for index in 0..rows {
            weights.read(index * cols, &mut row);
            for &w in &row {
                let abs = w.abs();
                sum += f64::from(abs);
                if magnitude == 0.0 {
                    magnitude = abs;
                }
                on_grid &= abs == 0.0 || abs == magnitude;
            }
        }
        if !sum.is_finite() {
            return Err("it holds a weight that is infinite or not a number".into());
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "a mean, to f32"
        )]
        let mean_abs = (sum / (rows as f64 * cols as f64)) as f32;
        Ok(Stats {
            mean_abs,
            // Of nothing but zeros any will do.
            grid: on_grid.then_some(if magnitude > 0.0 { magnitude } else { 1e-5 }),
        })
    }
}

fn pack_floats(weights: &Floats, rows: usize, cols: usize, trit: impl Fn(f32) -> i8) -> Vec<u8> {
    let mut row = vec![0f32; cols];
    build(rows, cols, |index, codes| {
        weights.read(index * cols, &mut row);
        for (code, &w) in codes.iter_mut().zip(&row) {
            *code = code_of(trit(w));
        }
    })
}

#[allow(clippy::cast_possible_truncation, reason = "clamped to -1..=1")]
fn round_trit(x: f32) -> i8 {
    x.round_ties_even().clamp(-1.0, 1.0) as i8
}

#[allow(clippy::cast_sign_loss, reason = "trits are -1 to 2")]
pub(super) fn code_of(trit: i8) -> u8 {
    (trit + 1) as u8
}

/// Packed rows of a matrix whose codes `fill` gives, row by row.
fn build(rows: usize, cols: usize, mut fill: impl FnMut(usize, &mut [u8])) -> Vec<u8> {
    let row_bytes = Ternary::row_bytes(cols);
    let mut packed = vec![0u8; rows * row_bytes];
    let mut codes = padded_codes(cols);
    for (row, out) in packed.chunks_exact_mut(row_bytes).enumerate() {
        fill(row, &mut codes[..cols]);
        pack_codes(&codes, out);
    }
    packed
}

/// Codes of a row of `cols` weights 0, and of the places past its end.
pub(super) fn padded_codes(cols: usize) -> Vec<u8> {
    vec![ZERO; cols.next_multiple_of(BLOCK)]
}

/// Whole blocks of codes to bytes. As `sterna_kernels::pack::pack_row`, but without tails and
/// clamping, so that it vectorises: a 2B model's weights pass through here while a user waits.
pub(super) fn pack_codes(codes: &[u8], out: &mut [u8]) {
    for (codes, out) in codes
        .as_chunks::<BLOCK>()
        .0
        .iter()
        .zip(out.as_chunks_mut::<BLOCK_BYTES>().0)
    {
        for (p, byte) in out.iter_mut().enumerate() {
            *byte = codes[p] << 6 | codes[32 + p] << 4 | codes[64 + p] << 2 | codes[96 + p];
        }
    }
}
