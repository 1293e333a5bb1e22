//! I2_S rows as trits5 rows: words of eight codes, in steps over eight words, of which a compiler
//! makes vectors where the target has some; AVX-512 has a loop of its own for whole groups.

use super::{CodeWords, GROUP, GROUP_BYTES, TAIL, TAIL_BYTES, bytes, parts, row_bytes};
use crate::Ternary;
use crate::pack::BLOCK;
use crate::ternary::Block;

/// Columns of half a block, of a third of a group and of a piece of the tail.
const HALF: usize = TAIL;
const THIRDS: usize = GROUP / HALF;

/// Packs as many groups of a row as an ISA has a loop for: their number, and whether every code had
/// a place.
type PackGroups<'a> = dyn Fn(&[Block], &mut [[u8; GROUP_BYTES]]) -> (usize, bool) + 'a;

/// Packs the rows of an I2_S matrix into `out`, as many bytes as they take. Whether every code had
/// a place.
pub(crate) fn pack_rows(w: Ternary<'_>, out: &mut [u8], whole_groups: &PackGroups<'_>) -> bool {
    out.chunks_exact_mut(row_bytes(w.cols()))
        .enumerate()
        .all(|(r, out)| pack_row(w.row(r), w.cols(), out, whole_groups))
}

/// Packs one row; true if every code had a place.
fn pack_row(row: &[Block], cols: usize, out: &mut [u8], whole_groups: &PackGroups<'_>) -> bool {
    let (groups, tail) = parts(cols);
    let (body, rest) = out.split_at_mut(groups * GROUP_BYTES);
    let mut threes = 0;
    let mut half = |h: usize| {
        let codes = half_block(row, h, cols);
        threes |= codes.iter().fold(0, |all, codes| all | codes & codes >> 1);
        codes
    };
    let body = body.as_chunks_mut::<GROUP_BYTES>().0;
    let (done, places) = whole_groups(&row[..cols / BLOCK], body);
    for (g, out) in body.iter_mut().enumerate().skip(done) {
        let [a, b, c] = [0, 1, 2].map(|third| half(THIRDS * g + third));
        pack_group(&std::array::from_fn(|i| a[i] + 3 * b[i] + 9 * c[i]), out);
    }
    for (piece, out) in rest.as_chunks_mut::<TAIL_BYTES>().0.iter_mut().enumerate() {
        debug_assert!(piece < tail);
        let codes = half(THIRDS * groups + piece);
        for (i, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
            *out = (codes[i] << 6 | codes[2 + i] << 4 | codes[4 + i] << 2 | codes[6 + i])
                .to_le_bytes();
        }
    }
    places && threes & bytes(1) == 0
}

/// The codes of the columns from 64 `h` on; past the last column those of weight 0.
#[inline(always)]
fn half_block(row: &[Block], h: usize, cols: usize) -> CodeWords {
    let Some(block) = row.get(h / 2) else {
        return [bytes(1); 8];
    };
    let words = block.as_chunks().0;
    let mut codes = [0; 8];
    for i in 0..4 {
        let word = u64::from_le_bytes(words[i]) >> if h.is_multiple_of(2) { 4 } else { 0 };
        codes[i] = word >> 2 & bytes(3);
        codes[4 + i] = word & bytes(3);
    }
    if cols < (h + 1) * HALF {
        for (i, codes) in codes.iter_mut().enumerate() {
            let inside = cols.saturating_sub(h * HALF + 8 * i).min(8);
            let mask = u64::MAX.checked_shl(8 * inside as u32).unwrap_or(0);
            *codes = *codes & !mask | bytes(1) & mask;
        }
    }
    codes
}

/// 64 triples, five bits of each byte, without gaps.
#[inline(always)]
fn pack_group(triples: &CodeWords, out: &mut [u8; GROUP_BYTES]) {
    let mut bits = *triples;
    for x in &mut bits {
        // Eight times 5 bits to four times 10, two times 20, 40.
        *x = *x & 0x001f_001f_001f_001f | *x >> 3 & 0x03e0_03e0_03e0_03e0;
        *x = *x & 0x0000_03ff_0000_03ff | *x >> 6 & 0x000f_fc00_000f_fc00;
        *x = *x & 0xf_ffff | *x >> 12 & 0xff_fff0_0000;
    }
    for (bits, out) in bits.iter().zip(out.as_chunks_mut::<5>().0) {
        out.copy_from_slice(&bits.to_le_bytes()[..5]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::pack_ternary;
    use crate::rng::Rng;
    use crate::{Isa, TernaryLayout, pack_trits5, pack_trits5_into};

    /// A row by the words of the description.
    fn described(trits: &[i8]) -> Vec<u8> {
        let (groups, tail) = parts(trits.len());
        let code = |i: usize| (trits.get(i).copied().unwrap_or(0) + 1) as u8;
        let mut out = vec![0u8; row_bytes(trits.len())];
        for g in 0..groups {
            for i in 0..64 {
                let at = GROUP * g + i;
                let triple = code(at) + 3 * code(at + 64) + 9 * code(at + 128);
                for bit in (0..5).filter(|bit| triple >> bit & 1 == 1) {
                    let bit = GROUP_BYTES * 8 * g + 5 * i + bit;
                    out[bit / 8] |= 1 << (bit % 8);
                }
            }
        }
        for piece in 0..tail {
            for p in 0..TAIL_BYTES {
                let at = GROUP * groups + TAIL * piece + p;
                out[GROUP_BYTES * groups + TAIL_BYTES * piece + p] =
                    code(at) << 6 | code(at + 16) << 4 | code(at + 32) << 2 | code(at + 48);
            }
        }
        out
    }

    #[test]
    fn rows_are_what_the_description_says() {
        let mut rng = Rng::new(7);
        for cols in (1..400).chain([511, 512, 513, 640, 705, 2560, 6912]) {
            let trits: Vec<i8> = (0..2 * cols).map(|_| rng.below(3) as i8 - 1).collect();
            let packed = pack_ternary(2, cols, &trits);
            let w = Ternary::new(2, cols, &packed, 1.0).unwrap();
            let expected = [&trits[..cols], &trits[cols..]].map(described).concat();
            for isa in Isa::supported() {
                let packed = pack_trits5(isa, w);
                assert_eq!(packed.as_ref(), Some(&expected), "{cols} columns, {isa:?}");
            }
        }
    }

    #[test]
    fn a_code_that_has_no_place_is_refused_wherever_it_is() {
        for cols in [128, 192, 330, 384, 705] {
            let packed = pack_ternary(1, cols, &vec![1; cols]);
            for at in 0..cols {
                let mut packed = packed.clone();
                packed[at / 128 * 32 + at % 32] |= 3 << (6 - at % 128 / 32 * 2);
                let w = Ternary::new(1, cols, &packed, 1.0).unwrap();
                for isa in Isa::supported() {
                    assert!(pack_trits5(isa, w).is_none());
                }
            }
        }
        // Past the row's end any code is as good as another.
        let mut packed = pack_ternary(1, 100, &[1; 100]);
        packed[31] |= 3;
        let w = Ternary::new(1, 100, &packed, 1.0).unwrap();
        for isa in Isa::supported() {
            assert!(pack_trits5(isa, w).is_some());
        }
    }

    #[test]
    fn other_layouts_and_lengths_are_refused() {
        let packed = pack_ternary(3, 192, &[0; 3 * 192]);
        let w = Ternary::new(3, 192, &packed, 1.0).unwrap();
        let small = pack_trits5(Isa::SCALAR, w).unwrap();
        let again = Ternary::with_layout(TernaryLayout::Trits5, 3, 192, &small, 1.0).unwrap();
        assert!(pack_trits5(Isa::SCALAR, again).is_none());
        assert!(!pack_trits5_into(Isa::SCALAR, w, &mut [0; 119]));
    }
}
