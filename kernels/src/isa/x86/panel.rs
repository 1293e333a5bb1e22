//! Codes of 32 matrix rows, unpacked for many tokens: four neighbouring columns of sixteen rows in
//! each line. That is the B operand of `tdpbssd`, and what `vpdpbusd` takes with four activations
//! repeated in all lanes.
//!
//! ```text
//! line 8g + d of a block (two AMX tiles of 16 lines):
//!   row 0: w[32g + 4d ..][..4]   row 1: the same   ...   row 15
//! ```
//!
//! A block's 32 bytes hold group g in bits 6 - 2g, so dword d of a row is w[32g + 4d..][..4] for
//! all four g at once: the packed dwords are transposed, a quarter of the work, and then shifted
//! and masked.

use std::ops::Range;

use crate::Ternary;
use crate::ternary::Block;

/// Matrix rows of a line.
pub(crate) const ROWS: usize = 16;
/// Matrix rows whose codes are unpacked together.
pub(crate) const WIDTH: usize = 2 * ROWS;
/// Blocks of a chunk. 640 columns of codes are 20 KB, and those of the tokens that pass at most as
/// much again: together they fit L1 (48 KB), where the codes must stay.
pub(crate) const CHUNK: usize = 5;

/// A token's sums of code * q, one for each of the matrix rows, on cache lines of their own: a tile
/// whose rows cross lines takes six times as long to load.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Sums(pub(crate) [i32; WIDTH]);

impl Sums {
    pub(crate) const ZERO: Self = Self([0; WIDTH]);
}
/// Codes of the rows in one chunk: two halves of 16 rows.
pub(crate) type Panel = [[PanelBlock; CHUNK]; 2];

/// A panel to be filled.
#[inline(always)]
pub(crate) fn new_panel() -> Panel {
    [[PanelBlock::ZERO; CHUNK]; 2]
}

/// One block (128 columns) of sixteen rows: lines of 16 x 4 codes. Two tiles, 2 KB.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct PanelBlock(pub(crate) [[u8; 64]; 32]);

impl PanelBlock {
    pub(crate) const ZERO: PanelBlock = PanelBlock([[0; 64]; 32]);

    /// Columns 0..64 or 64..128 as a tile.
    #[inline(always)]
    pub(crate) fn tile(&self, half: usize) -> &[u8] {
        self.0[16 * half..][..16].as_flattened()
    }
}

/// Fills `panel` with the blocks `blocks` of the rows `rows`.
#[inline(always)]
pub(crate) fn unpack<V: Vectors>(
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

/// Asks for the bytes of the chunk behind block `end` of the next 32 of the rows `rows`, or of
/// those that follow them: the products leave the memory idle for thousands of cycles.
#[inline(always)]
pub(crate) fn prefetch_next<V: Vectors>(
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

/// The work around the products.
pub(crate) trait Vectors: Copy {
    /// Fills `codes` with block `b` of each row.
    fn interleave(self, rows: &[&[Block]; ROWS], b: usize, codes: &mut PanelBlock);
    /// `out[i] = (sums[i] - q_sum) as f32 / scale * w_scale`.
    fn outputs(self, sums: &[i32], q_sum: i32, scale: f32, w_scale: f32, out: &mut [f32]);
    /// Hints that `block` will be read soon.
    fn prefetch(self, block: &Block);
}
