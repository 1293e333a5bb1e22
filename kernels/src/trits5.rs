//! Layout T5: three weights in five bits, 1.67 bits a weight.
//!
//! 192 columns of a row are 64 triples: triple i holds the weights i, 64 + i and 128 + i as `code0 + 3 code1 + 9 code2`, and lies
//! in bits 5i.. of 40 bytes. What is left over, up to 128 columns, stays at two bits: 16 bytes for each started 64, weights
//! p, 16 + p, 32 + p and 48 + p in byte p from the highest bits down. Rows lie one after the other, so that any of them can be
//! read alone. README.md has the picture.

mod unpack;

pub(crate) use unpack::{matmul_unpacked, unpack_rows, with_i2s_rows};

use crate::pack::BLOCK;
use crate::{Isa, Ternary, TernaryLayout};

/// Columns of a group, and its bytes.
pub(crate) const GROUP: usize = 192;
pub(crate) const GROUP_BYTES: usize = 40;
/// Columns of a piece of the tail, and its bytes.
pub(crate) const TAIL: usize = 64;
pub(crate) const TAIL_BYTES: usize = 16;

/// How many groups and pieces of tail a row has. More than 128 left-over columns are cheaper as a group.
pub(crate) const fn parts(cols: usize) -> (usize, usize) {
    let (groups, rest) = (cols / GROUP, cols % GROUP);
    if rest > 2 * TAIL {
        (groups + 1, 0)
    } else {
        (groups, rest.div_ceil(TAIL))
    }
}

/// Bytes of a row.
pub(crate) const fn row_bytes(cols: usize) -> usize {
    let (groups, tail) = parts(cols);
    groups * GROUP_BYTES + tail * TAIL_BYTES
}

/// Packs a row of codes 0 to 2, padded to whole groups (and so longer than `cols`), into `row_bytes(cols)`.
fn pack_row(codes: &[u8], cols: usize, out: &mut [u8]) {
    let (groups, _) = parts(cols);
    let (body, tail) = out.split_at_mut(groups * GROUP_BYTES);
    let (body_codes, tail_codes) = codes.split_at(groups * GROUP);
    for (codes, out) in body_codes
        .chunks_exact(GROUP)
        .zip(body.chunks_exact_mut(GROUP_BYTES))
    {
        for (e, out) in out.chunks_exact_mut(5).enumerate() {
            let bits = (0..8).fold(0u64, |bits, i| {
                let i = 8 * e + i;
                let triple = codes[i] + 3 * codes[64 + i] + 9 * codes[128 + i];
                bits | u64::from(triple) << (5 * (i % 8))
            });
            out.copy_from_slice(&bits.to_le_bytes()[..5]);
        }
    }
    for (codes, out) in tail_codes
        .chunks_exact(TAIL)
        .zip(tail.chunks_exact_mut(TAIL_BYTES))
    {
        for (p, byte) in out.iter_mut().enumerate() {
            *byte = codes[p] << 6 | codes[16 + p] << 4 | codes[32 + p] << 2 | codes[48 + p];
        }
    }
}

/// Packs an I2_S matrix as T5. `None` where a weight has the code 3, which has no place here, or `w` is T5 already.
pub fn pack_trits5(w: Ternary<'_>) -> Option<Vec<u8>> {
    if w.layout() != TernaryLayout::I2S {
        return None;
    }
    let (rows, cols) = (w.rows(), w.cols());
    let mut out = vec![0; rows * row_bytes(cols)];
    // Weight 0 past the last column.
    let mut codes = vec![1u8; cols.next_multiple_of(BLOCK).next_multiple_of(GROUP)];
    for (r, out) in out.chunks_exact_mut(row_bytes(cols)).enumerate() {
        for (block, codes) in w.row(r).iter().zip(codes.as_chunks_mut::<BLOCK>().0) {
            for (group, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                for (code, byte) in codes.iter_mut().zip(block) {
                    *code = (byte >> (6 - 2 * group)) & 3;
                }
            }
        }
        if codes[..cols].contains(&3) {
            return None;
        }
        codes[cols..].fill(1);
        pack_row(&codes, cols, out);
    }
    Some(out)
}

/// All rows of a matrix as I2_S rows, for what knows only those.
pub fn unpack_trits5(isa: Isa, w: Ternary<'_>) -> Vec<u8> {
    let row_bytes = Ternary::row_bytes(w.cols());
    let mut out = vec![0; w.rows() * row_bytes];
    match w.layout() {
        TernaryLayout::T5 => isa.trits5_unpack(w, 0..w.rows(), &mut out),
        TernaryLayout::I2S => {
            for (r, out) in out.chunks_exact_mut(row_bytes).enumerate() {
                out.copy_from_slice(w.row(r).as_flattened());
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::pack_ternary;
    use crate::rng::Rng;

    #[test]
    fn packing_and_unpacking_give_the_rows_back() {
        let mut rng = Rng::new(5);
        for cols in [
            1, 63, 64, 65, 128, 129, 191, 192, 193, 320, 321, 330, 384, 514, 705, 2560,
        ] {
            for rows in [1, 4, 7] {
                let trits: Vec<i8> = (0..rows * cols).map(|_| rng.below(3) as i8 - 1).collect();
                let packed = pack_ternary(rows, cols, &trits);
                let w = Ternary::new(rows, cols, &packed, 1.0).unwrap();
                let small = pack_trits5(w).unwrap();
                assert_eq!(small.len(), TernaryLayout::T5.bytes(rows, cols));
                let w = Ternary::with_layout(TernaryLayout::T5, rows, cols, &small, 1.0).unwrap();
                for isa in Isa::supported() {
                    assert_eq!(unpack_trits5(isa, w), packed, "[{rows}, {cols}] {isa:?}");
                }
            }
        }
    }

    #[test]
    fn any_bytes_mean_the_same_to_every_isa() {
        let mut rng = Rng::new(6);
        for cols in [40, 200, 1000] {
            let bytes: Vec<u8> = (0..3 * row_bytes(cols))
                .map(|_| rng.below(256) as u8)
                .collect();
            let w = Ternary::with_layout(TernaryLayout::T5, 3, cols, &bytes, 1.0).unwrap();
            let expected = unpack_trits5(Isa::SCALAR, w);
            for isa in Isa::supported() {
                assert_eq!(unpack_trits5(isa, w), expected, "{cols} {isa:?}");
            }
        }
    }

    #[test]
    fn the_layout_is_what_the_description_says() {
        let mut trits = [0i8; 256];
        trits[9] = 1; // code 2 in triple 9
        trits[128 + 9] = -1; // code 0 there
        trits[192 + 33] = 1; // tail: byte 1, third group
        let packed = pack_ternary(1, 256, &trits);
        let small = pack_trits5(Ternary::new(1, 256, &packed, 1.0).unwrap()).unwrap();
        let bits = u64::from_le_bytes(small[..8].try_into().unwrap());
        assert_eq!(bits & 31, 1 + 3 + 9);
        let bits = u64::from_le_bytes(small[5..13].try_into().unwrap());
        assert_eq!(bits >> 5 & 31, 2 + 3);
        assert_eq!(small[GROUP_BYTES + 1], 0b01_01_10_01);
    }

    #[test]
    fn a_code_that_has_no_place_is_refused() {
        let packed = [0xff; 32];
        assert!(pack_trits5(Ternary::new(1, 128, &packed, 1.0).unwrap()).is_none());
        // Past the row's end any code is as good as another.
        let mut packed = pack_ternary(1, 100, &[1; 100]);
        packed[31] |= 3;
        assert!(pack_trits5(Ternary::new(1, 100, &packed, 1.0).unwrap()).is_some());
    }
}
