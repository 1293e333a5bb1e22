//! Codes of 32 matrix rows, unpacked for many tokens: four neighbouring columns of sixteen rows in each line. That is the B operand of
//! `tdpbssd`, and what `vpdpbusd` takes with four activations repeated in all lanes.
//!
//! ```text
//! line 8g + d of a block (two AMX tiles of 16 lines):   row 0: w[32g + 4d ..][..4]   row 1: the same   ...   row 15
//! ```
//!
//! A block's 32 bytes hold group g in bits 6 - 2g, so dword d of a row is w[32g + 4d..][..4] for all four g at once: the
//! packed dwords are transposed, a quarter of the work, and then shifted and masked.

use std::arch::x86_64::*;

use std::ops::Range;

use super::avx512::Avx512;
use crate::Ternary;
use crate::ternary::Block;

/// Matrix rows of a line.
pub(super) const ROWS: usize = 16;
/// Matrix rows whose codes are unpacked together.
pub(super) const WIDTH: usize = 2 * ROWS;
/// Blocks of a chunk. 640 columns of codes are 20 KB, and those of the tokens that pass at most as much again: together they fit L1
/// (48 KB), where the codes must stay.
pub(super) const CHUNK: usize = 5;

/// A token's sums of code * q, one for each of the matrix rows.
pub(super) type Sums = [i32; WIDTH];
/// Codes of the rows in one chunk: two halves of 16 rows.
pub(super) type Panel = [[Codes; CHUNK]; 2];

/// A panel to be filled.
#[inline(always)]
pub(super) fn new_panel() -> Panel {
    [[Codes::ZERO; CHUNK]; 2]
}

/// One block (128 columns) of sixteen rows: lines of 16 x 4 codes. Two tiles, 2 KB.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Codes(pub(super) [[u8; 64]; 32]);

impl Codes {
    pub(super) const ZERO: Codes = Codes([[0; 64]; 32]);

    /// Columns 0..64 or 64..128 as a tile.
    #[inline(always)]
    pub(super) fn tile(&self, half: usize) -> &[u8] {
        self.0[16 * half..][..16].as_flattened()
    }
}

/// Fills `panel` with the blocks `blocks` of the rows `rows`.
#[inline(always)]
pub(super) fn unpack<V: Vectors>(
    vectors: V,
    w: Ternary<'_>,
    rows: Range<usize>,
    blocks: Range<usize>,
    panel: &mut Panel,
) {
    for (half, panel) in panel.iter_mut().enumerate() {
        let mut sixteen: [&[Block]; ROWS] = [&[]; ROWS];
        for (i, row) in sixteen.iter_mut().enumerate() {
            // Past the last row it is repeated, and the results are not used.
            let r = (rows.start + half * ROWS + i).min(rows.end - 1);
            *row = &w.row(r)[blocks.clone()];
        }
        for (b, codes) in panel[..blocks.len()].iter_mut().enumerate() {
            vectors.interleave(&sixteen, b, codes);
        }
    }
}

/// Asks for the bytes of the chunk behind block `end` of the next 32 of the rows `rows`, or of those that follow them:
/// the products leave the memory idle for thousands of cycles.
#[inline(always)]
pub(super) fn prefetch_next<V: Vectors>(
    vectors: V,
    w: Ternary<'_>,
    rows: Range<usize>,
    end: usize,
) {
    let n_blocks = w.row(rows.start).len();
    let (skip, start) = if end < n_blocks { (0, end) } else { (WIDTH, 0) };
    for r in rows.skip(skip).take(WIDTH) {
        let blocks = w.row(r)[start..].iter().take(CHUNK);
        // Two blocks to a line.
        for block in blocks.step_by(2) {
            vectors.prefetch(block);
        }
    }
}

/// What is done around the products.
pub(super) trait Vectors: Copy {
    /// Fills `codes` with block `b` of each row.
    fn interleave(self, rows: &[&[Block]; ROWS], b: usize, codes: &mut Codes);
    /// `out[i] = (sums[i] - q_sum) as f32 / scale * w_scale`.
    fn outputs(self, sums: &[i32], q_sum: i32, scale: f32, w_scale: f32, out: &mut [f32]);
    /// Hints that `block` will be read soon.
    fn prefetch(self, block: &Block);
}

impl Vectors for Avx512 {
    #[inline(always)]
    fn interleave(self, rows: &[&[Block]; ROWS], b: usize, codes: &mut Codes) {
        // SAFETY: the token exists only where its features were found.
        unsafe { interleave(rows, b, codes) }
    }

    #[inline(always)]
    fn outputs(self, sums: &[i32], q_sum: i32, scale: f32, w_scale: f32, out: &mut [f32]) {
        // SAFETY: the token exists only where its features were found.
        unsafe { super::quotients::outputs(sums, q_sum, scale, w_scale, out) }
    }

    #[inline(always)]
    fn prefetch(self, block: &Block) {
        // SAFETY: a prefetch never faults; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(block.as_ptr().cast()) };
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn interleave(rows: &[&[Block]; ROWS], b: usize, codes: &mut Codes) {
    // Rows 0..8, then 8..16; lanes: dwords 0..4 of row i, dwords 4..8 of it, the same of row i + 4.
    let (mut low, mut high) = ([_mm512_setzero_si512(); 4], [_mm512_setzero_si512(); 4]);
    for i in 0..4 {
        low[i] = two(&rows[i][b], &rows[i + 4][b]);
        high[i] = two(&rows[8 + i][b], &rows[12 + i][b]);
    }
    let (low, high) = (transpose(low), transpose(high));
    let mask = _mm512_set1_epi8(3);
    for d in 0..4 {
        let lines = [
            _mm512_shuffle_i64x2::<0b_10_00_10_00>(low[d], high[d]),
            _mm512_shuffle_i64x2::<0b_11_01_11_01>(low[d], high[d]),
        ];
        for (half, line) in lines.into_iter().enumerate() {
            let groups = [
                _mm512_srli_epi16::<6>(line),
                _mm512_srli_epi16::<4>(line),
                _mm512_srli_epi16::<2>(line),
                line,
            ];
            for (g, group) in groups.into_iter().enumerate() {
                let to: &mut [u8; 64] = &mut codes.0[8 * g + 4 * half + d];
                // SAFETY: a reference to 64 bytes.
                unsafe {
                    _mm512_storeu_si512(to.as_mut_ptr().cast(), _mm512_and_si512(group, mask))
                };
            }
        }
    }
}

/// 32 bytes of two rows.
#[inline]
#[target_feature(enable = "avx512f")]
fn two(a: &Block, b: &Block) -> __m512i {
    let (a, b) = (super::avx2::load(a), super::avx2::load(b));
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(a), b)
}

/// Within each 128-bit lane: dword i of vector j becomes dword j of vector i.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab_low, cd_low),
        _mm512_unpackhi_epi64(ab_low, cd_low),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ]
}

/// The layout in plain Rust.
#[cfg(any(test, feature = "checks"))]
impl Vectors for super::Scalar {
    fn interleave(self, rows: &[&[Block]; ROWS], b: usize, codes: &mut Codes) {
        for (k, line) in codes.0.iter_mut().enumerate() {
            for (row, codes) in rows.iter().zip(line.as_chunks_mut::<4>().0) {
                let (g, d) = (k / 8, k % 8);
                *codes = std::array::from_fn(|i| row[b][4 * d + i] >> (6 - 2 * g) & 3);
            }
        }
    }

    fn outputs(self, sums: &[i32], q_sum: i32, scale: f32, w_scale: f32, out: &mut [f32]) {
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = crate::ternary::output(*sum, q_sum, scale, w_scale);
        }
    }

    fn prefetch(self, _block: &Block) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn shuffles_give_the_layout() {
        let Some(isa) = Avx512::new() else {
            println!("avx512vnni: not on this machine, not tested here");
            return;
        };
        let mut rng = Rng::new(5);
        let blocks: [Block; ROWS] =
            std::array::from_fn(|_| std::array::from_fn(|_| rng.next() as u8));
        let (mut expected, mut actual) = (Codes::ZERO, Codes([[9; 64]; 32]));
        let rows = blocks.each_ref().map(std::slice::from_ref);
        super::super::Scalar.interleave(&rows, 0, &mut expected);
        isa.interleave(&rows, 0, &mut actual);
        assert_eq!(actual.0, expected.0);
    }
}
