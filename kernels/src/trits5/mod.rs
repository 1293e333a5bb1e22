//! Layout trits5: three weights in five bits, 1.67 bits a weight.
//!
//! 192 columns of a row are 64 triples: triple i holds the weights i, 64 + i and 128 + i as
//! `code0 + 3 code1 + 9 code2`, and lies in bits 5i.. of 40 bytes. The columns left over, up to
//! 128, stay at two bits: 16 bytes for each started 64, weights p, 16 + p, 32 + p and 48 + p in
//! byte p from the highest bits down. Rows lie one after the other, so that any of them can be read
//! alone.
//! docs/layouts.md has the picture.

pub(crate) mod pack;
pub(crate) mod unpack;

/// Columns of a group, and its bytes.
pub(crate) const GROUP: usize = 192;
pub(crate) const GROUP_BYTES: usize = 40;
/// Columns of a piece of the tail, and its bytes.
pub(crate) const TAIL: usize = 64;
pub(crate) const TAIL_BYTES: usize = 16;

/// Numbers of groups and of pieces of tail in a row. More than 128 left-over columns are cheaper as
/// a group.
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

/// Every byte the same.
const fn bytes(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// 64 codes, eight to a word.
type CodeWords = [u64; 8];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::pack_ternary;
    use crate::rng::Rng;
    use crate::{Isa, Ternary, TernaryLayout, pack_trits5, unpack_trits5};

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
                let small = pack_trits5(Isa::detect(), w).unwrap();
                assert_eq!(small.len(), TernaryLayout::Trits5.bytes(rows, cols));
                let w =
                    Ternary::with_layout(TernaryLayout::Trits5, rows, cols, &small, 1.0).unwrap();
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
            let w = Ternary::with_layout(TernaryLayout::Trits5, 3, cols, &bytes, 1.0).unwrap();
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
        let small =
            pack_trits5(Isa::detect(), Ternary::new(1, 256, &packed, 1.0).unwrap()).unwrap();
        let bits = u64::from_le_bytes(small[..8].try_into().unwrap());
        assert_eq!(bits & 31, 1 + 3 + 9);
        let bits = u64::from_le_bytes(small[5..13].try_into().unwrap());
        assert_eq!(bits >> 5 & 31, 2 + 3);
        assert_eq!(small[GROUP_BYTES + 1], 0b01_01_10_01);
    }
}
