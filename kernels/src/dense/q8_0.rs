//! Q8_0: 32 weights in 34 bytes, `d` (f16) then 32 int8; w = d * q. Layout: ggml's `block_q8_0`.

/// Weights in one block.
pub(crate) const BLOCK: usize = 32;
/// Bytes in one block.
pub(crate) const BYTES: usize = 34;

/// The block's scale.
#[inline(always)]
pub(crate) fn d(block: &[u8; BYTES]) -> f32 {
    half::f16::from_le_bytes([block[0], block[1]]).to_f32()
}

/// The block's 32 values; each byte is an int8.
#[inline(always)]
pub(crate) fn values(block: &[u8; BYTES]) -> &[u8] {
    &block[2..]
}

/// Weights of a row.
pub(crate) fn decode(row: &[u8], out: &mut [f32]) {
    for (block, out) in row.as_chunks::<BYTES>().0.iter().zip(out.chunks_mut(BLOCK)) {
        let d = d(block);
        for (out, q) in out.iter_mut().zip(values(block)) {
            *out = d * f32::from(*q as i8);
        }
    }
}

/// Stores one block: d = absmax / 127, as f16; q rounds x / (absmax / 127) half away from zero, as
/// ggml does.
pub(crate) fn encode(x: &[f32; BLOCK], block: &mut [u8; BYTES]) {
    let absmax = x.iter().fold(0.0f32, |max, v| max.max(v.abs()));
    let d = absmax / 127.0;
    let inverse = if d > 0.0 { 1.0 / d } else { 0.0 };
    block[..2].copy_from_slice(&half::f16::from_f32_const(d).to_le_bytes());
    for (byte, x) in block[2..].iter_mut().zip(x) {
        *byte = (x * inverse).round() as i8 as u8;
    }
}
