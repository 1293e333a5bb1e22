//! What rows of keys and values are made of.

use crate::simd::{LANES, Simd};

/// A stored number.
pub(super) trait Element: Copy + Default {
    /// Vectors of sixteen in a cache line.
    const VECTORS_A_LINE: usize = 64 / (LANES * size_of::<Self>());

    /// Sixteen of them, exact.
    fn load<S: Simd>(s: S, x: &[Self; LANES]) -> S::F;
}

impl Element for f32 {
    #[inline(always)]
    fn load<S: Simd>(s: S, x: &[f32; LANES]) -> S::F {
        s.load(x)
    }
}

/// f16, little-endian.
impl Element for [u8; 2] {
    #[inline(always)]
    fn load<S: Simd>(s: S, x: &[[u8; 2]; LANES]) -> S::F {
        s.load_f16(&x.as_flattened().as_chunks().0[0])
    }
}

/// Bytes that are asked for ahead of their use: no hardware prefetcher follows from the end of a
/// block to the next.
const AHEAD_BYTES: usize = 8192;

/// The numbers [`AHEAD_BYTES`] behind `rows[at..at + len]`, where `next` follows `rows`: all of it
/// or nothing.
#[inline(always)]
pub(super) fn ahead<'a, E>(rows: &'a [E], next: Option<&'a [E]>, at: usize, len: usize) -> &'a [E] {
    let at = at + AHEAD_BYTES / size_of::<E>();
    let ahead = match (at.checked_sub(rows.len()), next) {
        (_, None) => None,
        (None, _) => rows.get(at..at + len),
        (Some(at), Some(next)) => next.get(at..at + len),
    };
    ahead.unwrap_or_default()
}

/// Sixteen f16 from the first up to sixteen of `x`, and zeros.
#[inline(always)]
pub(super) fn load_scales<S: Simd>(s: S, x: &[[u8; 2]]) -> S::F {
    let n = x.len().min(LANES);
    <[u8; 2]>::load(s, &super::padded_or_whole(&x[..n]))
}
