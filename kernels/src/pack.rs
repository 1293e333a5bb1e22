//! Trits to packed bytes and back: the layout of [`crate::Ternary`].
//!
//! Block b of a row holds weights 128b..128b+128 in bytes 32b..32b+32; byte p of a block holds
//! weights p, 32+p, 64+p and 96+p, the first in its highest two bits, as code = weight + 1. Source:
//! GGUF type I2_S as bitnet.cpp's x86 build and its Python converters write it.

/// Weights in one block.
pub const BLOCK: usize = 128;
/// Bytes in one block.
pub const BLOCK_BYTES: usize = 32;

/// Bytes of one row of `cols` weights: 32 for each started 128.
pub(crate) const fn row_bytes(cols: usize) -> usize {
    cols.div_ceil(BLOCK) * BLOCK_BYTES
}

/// Packs `trits`, row-major `[rows, cols]` of -1, 0 and 1, into `rows * Ternary::row_bytes(cols)`
/// bytes.
///
/// Values outside -1..=1 are clamped; missing trits count as 0.
pub fn pack_ternary(rows: usize, cols: usize, trits: &[i8]) -> Vec<u8> {
    let row_bytes = row_bytes(cols);
    let mut packed = vec![0u8; rows * row_bytes];
    for (r, out) in packed.chunks_exact_mut(row_bytes.max(1)).enumerate() {
        let start = (r * cols).min(trits.len());
        let end = (start + cols).min(trits.len());
        pack_row(&trits[start..end], out);
    }
    packed
}

/// Packs one row into `out` (`Ternary::row_bytes(trits.len())` bytes or more); places past the
/// trits become weight 0.
pub fn pack_row(trits: &[i8], out: &mut [u8]) {
    for (b, block) in out.chunks_mut(BLOCK_BYTES).enumerate() {
        for (p, byte) in block.iter_mut().enumerate() {
            *byte = (0..4).fold(0, |byte, g| {
                let trit = trits.get(BLOCK * b + 32 * g + p).copied().unwrap_or(0);
                byte | (((trit.clamp(-1, 1) + 1) as u8) << (6 - 2 * g))
            });
        }
    }
}

/// Unpacks the first `cols` weights of one row into `out`. Code 3, which no converter writes, comes
/// out as 2.
pub fn unpack_row(packed: &[u8], cols: usize, out: &mut [i8]) {
    for (i, weight) in out.iter_mut().enumerate().take(cols) {
        let byte = packed[i / BLOCK * BLOCK_BYTES + i % 32];
        *weight = ((byte >> (6 - 2 * (i % BLOCK / 32))) & 3) as i8 - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn unpacking_gives_the_trits_back() {
        let mut rng = Rng::new(1);
        for cols in [1, 31, 32, 127, 128, 129, 640, 700] {
            let trits: Vec<i8> = (0..3 * cols).map(|_| rng.below(3) as i8 - 1).collect();
            let packed = pack_ternary(3, cols, &trits);
            let row_bytes = crate::Ternary::row_bytes(cols);
            for r in 0..3 {
                let mut row = vec![9; cols];
                unpack_row(&packed[r * row_bytes..][..row_bytes], cols, &mut row);
                assert_eq!(row, trits[r * cols..][..cols]);
            }
        }
    }

    #[test]
    fn the_first_group_is_in_the_high_bits() {
        let mut trits = [0i8; 128];
        trits[0] = 1; // code 2 in bits 7..6 of byte 0
        trits[96 + 5] = -1; // code 0 in bits 1..0 of byte 5
        let mut out = [0u8; 32];
        pack_row(&trits, &mut out);
        assert_eq!(out[0], 0b10_01_01_01);
        assert_eq!(out[5], 0b01_01_01_00);
        assert_eq!(out[31], 0b01_01_01_01);
    }
}
