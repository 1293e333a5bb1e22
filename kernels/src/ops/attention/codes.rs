//! Products of int8 queries and int8 keys: exact in i32, then scaled.

use super::element::{ahead, load_scales};
use crate::simd::{LANES, Simd};

/// `out[q * stride + p] = (queries[q] . keys[p]) * key_scales[p] * (query_scales[q] * scale)`, from
/// left to right.
#[inline(always)]
#[allow(
    clippy::too_many_arguments,
    reason = "sizes, what is read and what is written"
)]
pub(super) fn scores<S: Simd>(
    s: S,
    d: usize,
    (queries, query_scales): (&[i8], &[f32]),
    (keys, key_scales): (&[i8], &[[u8; 2]]),
    next: Option<&[i8]>,
    scale: f32,
    stride: usize,
    out: &mut [f32],
) {
    let n = keys.len() / d;
    // A vector of positions at a time, so that they are scaled together.
    for at in (0..n).step_by(LANES) {
        let len = LANES.min(n - at);
        let mut ahead = ahead(keys, next, at * d, len * d);
        let keys = &keys[at * d..][..len * d];
        let key_scales = load_scales(s, &key_scales[at..]);
        let mut q = 0;
        while q < query_scales.len() {
            let queries = &queries[q * d..];
            let ahead = std::mem::take(&mut ahead);
            let out = &mut out[q * stride + at..];
            let finish = (key_scales, &query_scales[q..], scale);
            q += match query_scales.len() - q {
                4.. if S::MANY_REGISTERS => {
                    few::<S, 4>(s, d, queries, keys, ahead, finish, stride, out)
                }
                2.. => few::<S, 2>(s, d, queries, keys, ahead, finish, stride, out),
                _ => few::<S, 1>(s, d, queries, keys, ahead, finish, stride, out),
            };
        }
    }
}

/// The first Q queries and up to sixteen keys; returns Q. Asks for `ahead`, as many codes as
/// `keys`, or none.
#[inline(always)]
#[allow(
    clippy::too_many_arguments,
    reason = "sizes, what is read and what is written"
)]
fn few<S: Simd, const Q: usize>(
    s: S,
    d: usize,
    queries: &[i8],
    keys: &[i8],
    ahead: &[i8],
    (key_scales, query_scales, scale): (S::F, &[f32], f32),
    stride: usize,
    out: &mut [f32],
) -> usize {
    let len = keys.len() / d;
    let mut rows = [&[][..]; Q];
    for (row, query) in rows.iter_mut().zip(queries.chunks_exact(d)) {
        *row = query;
    }
    let dots = s.int8_dots(
        rows,
        keys,
        #[inline(always)]
        |at| {
            if let Some(line) = ahead.get(at) {
                s.ask(line);
            }
        },
    );
    for (q, dots) in dots.iter().enumerate() {
        let scaled = s.mul(s.load_i32(dots), key_scales);
        let scaled = s.mul(scaled, s.splat(query_scales[q] * scale));
        let scaled = s.to_array(scaled);
        match out[q * stride..][..len].as_chunks_mut().0 {
            [whole] => *whole = scaled,
            _ => out[q * stride..][..len].copy_from_slice(&scaled[..len]),
        }
    }
    Q
}
