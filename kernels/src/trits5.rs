//! Layout T5: three weights in five bits, 1.67 bits a weight.
//!
//! 192 columns of a row are 64 triples: triple i holds the weights i, 64 + i and 128 + i as `code0 + 3 code1 + 9 code2`, and lies
//! in bits 5i.. of 40 bytes. What is left over, up to 128 columns, stays at two bits: 16 bytes for each started 64, weights
//! p, 16 + p, 32 + p and 48 + p in byte p from the highest bits down. Rows are interleaved by fours, group by group, so
//! that four rows are one stream and share their activations. README.md has the picture.

use std::cell::RefCell;

use crate::pack::{BLOCK, BLOCK_BYTES};
use crate::{Isa, OutputRows, QuantizedActivations, Ternary};

/// Rows that are interleaved.
pub(crate) const ROWS: usize = 4;
/// Columns of a group, and its bytes.
pub(crate) const GROUP: usize = 192;
pub(crate) const GROUP_BYTES: usize = 40;
/// Columns of a piece of the tail, and its bytes.
pub(crate) const TAIL: usize = 64;
pub(crate) const TAIL_BYTES: usize = 16;

/// Rows that are unpacked at a time where there is no loop for this layout: they stay in L2.
const PANEL: usize = 32;

/// How many groups and pieces of tail a row has. More than 128 left-over columns are cheaper as a group.
pub(crate) const fn parts(cols: usize) -> (usize, usize) {
    let (groups, rest) = (cols / GROUP, cols % GROUP);
    if rest > 2 * TAIL {
        (groups + 1, 0)
    } else {
        (groups, rest.div_ceil(TAIL))
    }
}

/// Bytes of four rows.
pub(crate) const fn quad_bytes(cols: usize) -> usize {
    let (groups, tail) = parts(cols);
    ROWS * (groups * GROUP_BYTES + tail * TAIL_BYTES)
}

/// Packs four rows of codes 0 to 2, each padded to whole groups of 192 (and so longer than `cols`), into `quad_bytes(cols)`.
fn pack_quad(codes: [&[u8]; ROWS], cols: usize, out: &mut [u8]) {
    let (groups, _) = parts(cols);
    let (body, tail) = out.split_at_mut(ROWS * groups * GROUP_BYTES);
    for (at, out) in body.chunks_exact_mut(GROUP_BYTES).enumerate() {
        let codes = &codes[at % ROWS][at / ROWS * GROUP..][..GROUP];
        for (e, out) in out.chunks_exact_mut(5).enumerate() {
            let bits = (0..8).fold(0u64, |bits, i| {
                let i = 8 * e + i;
                let triple = codes[i] + 3 * codes[64 + i] + 9 * codes[128 + i];
                bits | u64::from(triple) << (5 * (i % 8))
            });
            out.copy_from_slice(&bits.to_le_bytes()[..5]);
        }
    }
    for (at, out) in tail.chunks_exact_mut(TAIL_BYTES).enumerate() {
        let codes = &codes[at % ROWS][groups * GROUP + at / ROWS * TAIL..][..TAIL];
        for (p, byte) in out.iter_mut().enumerate() {
            *byte = codes[p] << 6 | codes[16 + p] << 4 | codes[32 + p] << 2 | codes[48 + p];
        }
    }
}

/// One row's codes out of the four rows in `quad`, into `codes`, which is as long as the row's groups and tail.
fn unpack_codes(quad: &[u8], row: usize, cols: usize, codes: &mut [u8]) {
    let (groups, _) = parts(cols);
    let (body, tail) = quad.split_at(ROWS * groups * GROUP_BYTES);
    let (body_codes, tail_codes) = codes.split_at_mut(groups * GROUP);
    for (quad, codes) in body
        .chunks_exact(ROWS * GROUP_BYTES)
        .zip(body_codes.chunks_exact_mut(GROUP))
    {
        for (e, bytes) in quad[row * GROUP_BYTES..][..GROUP_BYTES]
            .chunks_exact(5)
            .enumerate()
        {
            let mut bits = u64::from_le_bytes(std::array::from_fn(|i| *bytes.get(i).unwrap_or(&0)));
            for i in 8 * e..8 * e + 8 {
                // The five patterns that no writer makes count as the last that one does, as in the tables of the loops.
                let triple = (bits & 31).min(26) as u8;
                codes[i] = triple % 3;
                codes[64 + i] = triple / 3 % 3;
                codes[128 + i] = triple / 9;
                bits >>= 5;
            }
        }
    }
    for (quad, codes) in tail
        .chunks_exact(ROWS * TAIL_BYTES)
        .zip(tail_codes.chunks_exact_mut(TAIL))
    {
        for (p, byte) in quad[row * TAIL_BYTES..][..TAIL_BYTES].iter().enumerate() {
            for g in 0..4 {
                codes[16 * g + p] = (byte >> (6 - 2 * g)) & 3;
            }
        }
    }
}

/// Packs an I2_S matrix as T5. `None` where a weight has the code 3, which has no place here, or `w` is T5 already.
pub fn pack_trits5(w: Ternary<'_>) -> Option<Vec<u8>> {
    if w.layout() != crate::TernaryLayout::I2S {
        return None;
    }
    let (rows, cols) = (w.rows(), w.cols());
    let padded = cols.next_multiple_of(BLOCK).next_multiple_of(GROUP);
    let mut out = vec![0; rows.div_ceil(ROWS) * quad_bytes(cols)];
    let mut codes = vec![1u8; ROWS * padded];
    for (quad, out) in out.chunks_exact_mut(quad_bytes(cols)).enumerate() {
        codes.fill(1); // weight 0, past the last row and column
        for (r, codes) in (ROWS * quad..rows).zip(codes.chunks_exact_mut(padded)) {
            for (block, codes) in w.row(r).iter().zip(codes.chunks_mut(BLOCK)) {
                for (i, code) in codes.iter_mut().enumerate() {
                    *code = (block[i % 32] >> (6 - 2 * (i / 32))) & 3;
                }
            }
            if codes[..cols].contains(&3) {
                return None;
            }
            codes[cols..].fill(1);
        }
        let codes = std::array::from_fn(|r| &codes[r * padded..][..padded]);
        pack_quad(codes, cols, out);
    }
    Some(out)
}

/// Row `r` as I2_S blocks, into `out` (`Ternary::row_bytes(cols)`).
pub(crate) fn unpack_row(w: Ternary<'_>, r: usize, codes: &mut Vec<u8>, out: &mut [u8]) {
    let (groups, tail) = parts(w.cols());
    codes.clear();
    codes.resize(groups * GROUP + tail * TAIL, 1);
    unpack_codes(w.quad(r / ROWS), r % ROWS, w.cols(), codes);
    codes.resize(w.cols().next_multiple_of(BLOCK), 1);
    for (codes, out) in codes
        .chunks_exact(BLOCK)
        .zip(out.chunks_exact_mut(BLOCK_BYTES))
    {
        for (p, byte) in out.iter_mut().enumerate() {
            *byte = codes[p] << 6 | codes[32 + p] << 4 | codes[64 + p] << 2 | codes[96 + p];
        }
    }
}

/// All rows of a T5 matrix as I2_S rows, for what knows only those.
pub fn unpack_trits5(w: Ternary<'_>) -> Vec<u8> {
    let row_bytes = Ternary::row_bytes(w.cols());
    let (mut codes, mut out) = (Vec::new(), vec![0; w.rows() * row_bytes]);
    for (r, out) in out.chunks_exact_mut(row_bytes).enumerate() {
        match w.layout() {
            crate::TernaryLayout::T5 => unpack_row(w, r, &mut codes, out),
            crate::TernaryLayout::I2S => out.copy_from_slice(w.row(r).as_flattened()),
        }
    }
    out
}

thread_local! {
    /// Codes of a row, and unpacked rows: kept, so that a product allocates nothing.
    static SCRATCH: RefCell<(Vec<u8>, Vec<u8>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// Calls `use_rows` with the rows `rows` of `w` in I2_S, under their own numbers.
pub(crate) fn with_i2s_rows<R>(
    w: Ternary<'_>,
    rows: std::ops::Range<usize>,
    use_rows: impl FnOnce(Ternary<'_>) -> R,
) -> R {
    if w.layout() == crate::TernaryLayout::I2S {
        return use_rows(w);
    }
    SCRATCH.with_borrow_mut(|(codes, unpacked)| {
        let row_bytes = Ternary::row_bytes(w.cols());
        unpacked.resize(rows.len() * row_bytes, 0);
        for (r, out) in rows.clone().zip(unpacked.chunks_exact_mut(row_bytes)) {
            unpack_row(w, r, codes, out);
        }
        use_rows(w.window(rows.start, &unpacked[..rows.len() * row_bytes]))
    })
}

/// The product where there is no loop for this layout, or for so many tokens: rows are unpacked once for all tokens.
pub(crate) fn matmul_unpacked(
    isa: Isa,
    w: Ternary<'_>,
    x: &QuantizedActivations,
    out: &mut OutputRows<'_>,
) {
    let range = out.range();
    for start in range.clone().step_by(PANEL) {
        let rows = start..range.end.min(start + PANEL);
        let mut part = out.part(rows.clone());
        with_i2s_rows(w, rows, |w| isa.ternary_matmul(w, x, &mut part));
    }
}

/// Walks the quads of rows around an ISA's loop over one quad and one token: token by token while a quad is in cache.
/// `quad_sums` gets the matrix from its quad on, so that it can ask for what comes after, and a token's activations.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn matmul_quads(
    w: Ternary<'_>,
    x: &QuantizedActivations,
    out: &mut OutputRows<'_>,
    mut quad_sums: impl FnMut(&[u8], &[i8]) -> [i32; ROWS],
) {
    let range = out.range();
    for quad in range.start / ROWS..range.end.div_ceil(ROWS) {
        let first = quad * ROWS;
        let rows = range.start.max(first)..range.end.min(first + ROWS);
        for t in 0..x.n_tokens() {
            let sums = quad_sums(w.quads_from(quad), x.row(t));
            let sums = &sums[rows.start - first..rows.end - first];
            crate::ternary::write_sums(w.scale(), x, out, rows.start, t, sums);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TernaryLayout;
    use crate::pack::pack_ternary;
    use crate::rng::Rng;

    #[test]
    fn packing_and_unpacking_give_the_rows_back() {
        let mut rng = Rng::new(5);
        for cols in [
            1, 63, 64, 65, 128, 129, 191, 192, 193, 320, 330, 514, 705, 2560,
        ] {
            for rows in [1, 4, 7] {
                let trits: Vec<i8> = (0..rows * cols).map(|_| rng.below(3) as i8 - 1).collect();
                let packed = pack_ternary(rows, cols, &trits);
                let w = Ternary::new(rows, cols, &packed, 1.0).unwrap();
                let small = pack_trits5(w).unwrap();
                assert_eq!(small.len(), TernaryLayout::T5.bytes(rows, cols));
                let w = Ternary::with_layout(TernaryLayout::T5, rows, cols, &small, 1.0).unwrap();
                assert_eq!(unpack_trits5(w), packed, "[{rows}, {cols}]");
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
        assert_eq!(small[4 * GROUP_BYTES + 1], 0b01_01_10_01);
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
