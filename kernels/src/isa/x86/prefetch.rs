//! Asking for memory early: by a list of what comes next, which no hardware prefetcher can guess,
//! and in two steps where a core reads faster so.

use std::arch::x86_64::*;

use crate::{Ternary, TernaryLayout};

/// Cache lines that are on their way while others are used. A core waits for at most some two dozen
/// lines in L1 but for many more in L2, so lines are brought to L2, early: that doubled what a
/// sparse list reads (docs/experiments.md).
pub(crate) const LINES_AHEAD: usize = 96;

/// The cache line at `at`, into L2.
#[inline(always)]
pub(crate) fn prefetch<T>(at: &T) {
    // SAFETY: a prefetch never faults, whatever the address; SSE is part of x86-64.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(at).cast()) };
}

/// Prefetch distance from L2 into L1 of a loop over tiles of `rows` neighbouring rows: of
/// short rows for those of the next tile, since the tile's own are being read.
#[inline(always)]
pub(crate) fn near(rows: usize, row_bytes: usize) -> usize {
    const IN_ROW: usize = 512;
    const MOST: usize = 2304;
    let tile = rows * row_bytes;
    if tile <= MOST { tile } else { IN_ROW }
}

/// Prefetches the line `far` bytes behind `at` into L2, and where `NEAR` is set the one `near`
/// bytes behind it, into L1.
///
/// The second step, from L2, is worth 4 to 9 % on Intel's CPUs, where memory decides. It costs one
/// more instruction for each line, so it is left out where arithmetic does (docs/experiments.md has
/// the figures).
#[inline(always)]
pub(crate) fn ask_ahead<const NEAR: bool, T>(at: &T, far: usize, near: usize) {
    let at = std::ptr::from_ref(at).cast::<i8>();
    // SAFETY: a prefetch never faults, whatever the address; SSE is part of x86-64.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(far)) };
    if NEAR {
        // SAFETY: as above.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(near)) };
    }
}

/// Asks for the rows of `w` on `rows`, in their order.
pub(crate) struct RowsAhead<'a> {
    w: Ternary<'a>,
    rows: &'a [u32],
    /// Rows that were asked for and not used.
    ahead: usize,
}

impl<'a> RowsAhead<'a> {
    #[inline]
    pub(crate) fn new(w: Ternary<'a>, rows: &'a [u32]) -> Self {
        let lines = (w.layout().bytes(1, w.cols())).div_ceil(64);
        let ahead = (LINES_AHEAD / lines).max(1);
        rows.iter().take(ahead).for_each(|row| ask(w, *row));
        RowsAhead { w, rows, ahead }
    }

    /// Row number `at` of the list is used next.
    #[inline]
    pub(crate) fn using(&self, at: usize) {
        if let Some(row) = self.rows.get(at + self.ahead) {
            ask(self.w, *row);
        }
    }
}

#[inline]
fn ask(w: Ternary<'_>, row: u32) {
    let row = match w.layout() {
        TernaryLayout::I2S => w.row(row as usize).as_flattened(),
        TernaryLayout::Trits5 => w.trits5_row(row as usize),
    };
    for line in row.chunks(64) {
        prefetch(&line[0]);
    }
}
