//! The ternary product for many tokens in wasm SIMD128, plain or relaxed.
//!
//! Codes of a few rows are unpacked once into L1 and meet all tokens in tiles of 4 rows by 2
//! tokens, whose eight sums fit the sixteen registers that x86-64 gives an engine.

use super::i2s_inner as inner;
use super::i2s_input::I2sInput;
use crate::isa::outputs::write_token;
use crate::{OutputRows, QuantizedActivations, Ternary};

/// With fewer tokens unpacking to memory does not pay.
pub(super) const MIN_TOKENS: usize = 4;

/// Rows and tokens of a tile.
pub(super) const R: usize = 4;
pub(super) const T: usize = 2;
/// Rows whose codes are in L1 (5 KB relaxed, 20 KB plain) while a panel's tokens pass, 2 KB or 5 KB
/// at a time.
const UNPACKED: usize = 2 * R;
/// Rows that a panel's chunk of activations meets while it stays in L2.
const ROWS: usize = 6 * UNPACKED;
/// Tokens of a panel.
const TOKENS: usize = 64;

/// See [`crate::ternary_matmul`].
#[cfg_attr(feature = "relaxed-simd", target_feature(enable = "relaxed-simd"))]
pub(super) fn matmul(
    w: Ternary<'_>,
    x: &QuantizedActivations,
    packed: &I2sInput,
    out: &mut OutputRows<'_>,
) {
    let range = out.range();
    let n_blocks = w.row(range.start).len();
    let mut codes = [inner::NO_CODES; UNPACKED / R];
    for r0 in range.clone().step_by(ROWS) {
        let r1 = range.end.min(r0 + ROWS);
        for t0 in (0..x.n_tokens()).step_by(TOKENS) {
            let t1 = x.n_tokens().min(t0 + TOKENS);
            let mut sums = [[[[0; R]; ROWS / R]; T]; TOKENS / T];
            for b0 in (0..n_blocks).step_by(inner::CHUNK) {
                let b1 = n_blocks.min(b0 + inner::CHUNK);
                for u0 in (r0..r1).step_by(UNPACKED) {
                    let u1 = r1.min(u0 + UNPACKED);
                    // Past the last row a tile takes what earlier rows left, past the last token it
                    // repeats it; neither result is used.
                    for r in u0..u1 {
                        let codes = &mut codes[(r - u0) / R];
                        inner::unpack(&w.row(r)[b0..b1], (r - u0) % R, codes);
                    }
                    for (t, sums) in (t0..t1).step_by(T).zip(&mut sums) {
                        let x0 = &packed.token(t)[b0..b1];
                        let x1 = &packed.token((t + 1).min(t1 - 1))[b0..b1];
                        for (r, codes) in (u0..u1).step_by(R).zip(&codes) {
                            let tile = inner::panel_tile(codes, x0, x1);
                            for (sums, tile) in sums.iter_mut().zip(tile) {
                                for (sum, v) in sums[(r - r0) / R].iter_mut().zip(tile) {
                                    *sum += v;
                                }
                            }
                        }
                    }
                }
            }
            for (t, sums) in (t0..t1).zip(sums.as_flattened()) {
                write_token(w, x, out, r0, t, &sums.as_flattened()[..r1 - r0]);
            }
        }
    }
}
