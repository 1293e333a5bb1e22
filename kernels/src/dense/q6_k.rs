//! Q6_K: 256 weights in 210 bytes. Layout: ggml's `block_q6_K`.
//!
//! ```text
//! ql[128]  low four bits   qh[64]  high two bits   scales[16]  int8, one for 16 weights   d  f16
//! w[i] = d * scales[i / 16] * (q[i] - 32),   q in 0..64
//!
//! Each half n of 128 weights has ql[64n..], qh[32n..], and for l in 0..32 and quarter k in 0..4,
//! i = 128n + 32k + l:
//! q[i] = (ql[64n + 32 (k % 2) + l] >> 4 (k / 2)) & 15  |  ((qh[32n + l] >> 2k) & 3) << 4
//! ```

/// Weights in one block.
pub(crate) const BLOCK: usize = 256;
/// Bytes in one block.
pub(crate) const BYTES: usize = 210;
/// Offsets of the parts of a block.
pub(crate) const QH: usize = 128;
pub(crate) const SCALES: usize = 192;
pub(crate) const D: usize = 208;

/// The block's scale.
#[inline(always)]
pub(crate) fn d(block: &[u8; BYTES]) -> f32 {
    half::f16::from_le_bytes([block[D], block[D + 1]]).to_f32()
}

/// (q - 32, scale of its group) of weight `i`.
#[inline(always)]
pub(crate) fn weight(block: &[u8; BYTES], i: usize) -> (i8, i8) {
    let (n, k, l) = (i / 128, i % 128 / 32, i % 32);
    let low = (block[64 * n + 32 * (k % 2) + l] >> (4 * (k / 2))) & 15;
    let high = (block[QH + 32 * n + l] >> (2 * k)) & 3;
    ((low | high << 4) as i8 - 32, block[SCALES + i / 16] as i8)
}

/// Weights of a row.
pub(crate) fn decode(row: &[u8], out: &mut [f32]) {
    for (block, out) in row.as_chunks::<BYTES>().0.iter().zip(out.chunks_mut(BLOCK)) {
        let d = d(block);
        for (i, out) in out.iter_mut().enumerate() {
            let (q, scale) = weight(block, i);
            *out = d * f32::from(scale) * f32::from(q);
        }
    }
}

/// Stores one block. Each group of 16 gets the scale that minimises its squared error weighted by
/// x^2 among a few candidates (so that large weights, which matter most, are kept best); the scales
/// are then stored in 8 bits against their largest, and the values rounded again with the scales as
/// stored.
pub(crate) fn encode(x: &[f32; BLOCK], block: &mut [u8; BYTES]) {
    block.fill(0);
    let groups = x.as_chunks::<16>().0;
    let mut scales = [0.0f32; 16];
    for (scale, group) in scales.iter_mut().zip(groups) {
        *scale = group_scale(group);
    }
    let largest = scales
        .iter()
        .fold(0.0f32, |max, v| if v.abs() > max.abs() { *v } else { max });
    let d = half::f16::from_f32_const(largest / -128.0);
    if d.to_f32() == 0.0 {
        return; // all weights are zero, or too small for f16
    }
    block[D..].copy_from_slice(&d.to_le_bytes());
    for (g, (scale, group)) in scales.iter().zip(groups).enumerate() {
        let stored = (scale * (-128.0 / largest)).round().clamp(-128.0, 127.0) as i8;
        block[SCALES + g] = stored as u8;
        let step = d.to_f32() * f32::from(stored);
        for (j, x) in group.iter().enumerate() {
            let q = if step == 0.0 {
                32
            } else {
                (level(x / step) + 32.0) as u8
            };
            let i = 16 * g + j;
            let (n, k, l) = (i / 128, i % 128 / 32, i % 32);
            block[64 * n + 32 * (k % 2) + l] |= (q & 15) << (4 * (k / 2));
            block[QH + 32 * n + l] |= (q >> 4) << (2 * k);
        }
    }
}

/// The nearest of -32..=31.
#[inline(always)]
fn level(v: f32) -> f32 {
    v.round_ties_even().clamp(-32.0, 31.0)
}

/// The step size for 16 weights: for each candidate inverse step near -32 / (weight of largest
/// magnitude), the least squares step for the levels it gives; the best fit wins.
fn group_scale(x: &[f32; 16]) -> f32 {
    let peak = x
        .iter()
        .fold(0.0f32, |max, v| if v.abs() > max.abs() { *v } else { max });
    if peak.abs() < 1e-15 {
        return 0.0;
    }
    let (mut best, mut scale) = (0.0f32, 0.0f32);
    for shift in [0.0f32, -0.8, -0.4, 0.4, 0.8] {
        let inverse = -(32.0 + shift) / peak;
        let (mut xl, mut ll) = (0.0f32, 0.0f32);
        for x in x {
            let l = level(x * inverse);
            xl += x * x * x * l;
            ll += x * x * l * l;
        }
        if ll > 0.0 && xl * xl > best * ll {
            best = xl * xl / ll;
            scale = xl / ll;
        }
    }
    scale
}
