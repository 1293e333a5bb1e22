//! Walking a slice 16 lanes at a time: element i always meets lane i % 16, tails included.
//!
//! A tail is copied into a zero-filled array first. An accumulator that started at +0 never becomes
//! -0, so adding those zeros changes no bit, and every ISA does the very same operations.

use super::Simd;

/// Virtual lanes of every float reduction.
pub(crate) const LANES: usize = 16;

/// The first `tail.len()` (< 16) lanes from `tail`, the others 0.
#[inline(always)]
pub(crate) fn padded<T: Copy + Default>(tail: &[T]) -> [T; LANES] {
    let mut lanes = [T::default(); LANES];
    lanes[..tail.len()].copy_from_slice(tail);
    lanes
}

/// Calls `f` with each 16 values of `x`.
#[inline(always)]
pub(crate) fn for_each<S: Simd>(s: S, x: &[f32], mut f: impl FnMut(S::F)) {
    let (chunks, tail) = x.as_chunks::<LANES>();
    for chunk in chunks {
        f(s.load(chunk));
    }
    if !tail.is_empty() {
        f(s.load(&padded(tail)));
    }
}

/// out[i] = f(x[i]) for the shorter of both, where `f` gives any 16 values.
#[inline(always)]
pub(crate) fn for_each_out<S: Simd, T: Copy>(
    s: S,
    x: &[f32],
    out: &mut [T],
    mut f: impl FnMut(S::F) -> [T; LANES],
) {
    let n = x.len().min(out.len());
    let (chunks, tail) = x[..n].as_chunks::<LANES>();
    let (outs, out_tail) = out[..n].as_chunks_mut::<LANES>();
    for (chunk, out) in chunks.iter().zip(outs) {
        *out = f(s.load(chunk));
    }
    if !tail.is_empty() {
        out_tail.copy_from_slice(&f(s.load(&padded(tail)))[..tail.len()]);
    }
}

/// x[i] = f(x[i]).
#[inline(always)]
pub(crate) fn map<S: Simd>(s: S, x: &mut [f32], mut f: impl FnMut(S::F) -> S::F) {
    let (chunks, tail) = x.as_chunks_mut::<LANES>();
    for chunk in chunks {
        *chunk = s.to_array(f(s.load(chunk)));
    }
    if !tail.is_empty() {
        let done = s.to_array(f(s.load(&padded(tail))));
        tail.copy_from_slice(&done[..tail.len()]);
    }
}

/// out[i] = f(a[i], b[i]) for the shortest of the three.
#[inline(always)]
pub(crate) fn zip_map<S: Simd>(
    s: S,
    a: &[f32],
    b: &[f32],
    out: &mut [f32],
    mut f: impl FnMut(S::F, S::F) -> S::F,
) {
    let n = a.len().min(b.len()).min(out.len());
    let (a, a_tail) = a[..n].as_chunks::<LANES>();
    let (b, b_tail) = b[..n].as_chunks::<LANES>();
    let (outs, out_tail) = out[..n].as_chunks_mut::<LANES>();
    for ((a, b), out) in a.iter().zip(b).zip(outs) {
        *out = s.to_array(f(s.load(a), s.load(b)));
    }
    if !out_tail.is_empty() {
        let done = s.to_array(f(s.load(&padded(a_tail)), s.load(&padded(b_tail))));
        out_tail.copy_from_slice(&done[..out_tail.len()]);
    }
}
