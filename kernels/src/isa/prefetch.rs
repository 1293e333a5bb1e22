//! Asking for memory by a list of what comes next, which no hardware prefetcher can guess.

use std::arch::x86_64::*;

/// Cache lines that are on their way while others are used. A core waits for at most some two dozen lines in L1 but for many
/// more in L2, so lines are brought to L2, early: that doubled what a sparse list reads (README.md).
pub(super) const LINES_AHEAD: usize = 96;

/// The cache line at `at`, into L2.
#[inline(always)]
pub(super) fn prefetch<T>(at: &T) {
    // SAFETY: a prefetch never faults, whatever the address; SSE is part of x86-64.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(at).cast()) };
}

/// Asks for the rows of `w` on `rows`, in their order.
pub(super) struct RowsAhead<'a> {
    w: crate::Ternary<'a>,
    rows: &'a [u32],
    /// Rows that were asked for and not used.
    ahead: usize,
}

impl<'a> RowsAhead<'a> {
    #[inline]
    pub(super) fn new(w: crate::Ternary<'a>, rows: &'a [u32]) -> Self {
        let lines = (w.layout().bytes(1, w.cols())).div_ceil(64);
        let ahead = (LINES_AHEAD / lines).max(1);
        rows.iter().take(ahead).for_each(|row| ask(w, *row));
        RowsAhead { w, rows, ahead }
    }

    /// Row number `at` of the list is used next.
    #[inline]
    pub(super) fn using(&self, at: usize) {
        if let Some(row) = self.rows.get(at + self.ahead) {
            ask(self.w, *row);
        }
    }
}

#[inline]
fn ask(w: crate::Ternary<'_>, row: u32) {
    for line in w.row_bytes_of(row as usize).chunks(64) {
        prefetch(&line[0]);
    }
}
