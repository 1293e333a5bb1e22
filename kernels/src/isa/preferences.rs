//! The preferences of instruction sets where a caller has to choose: the answers of those that
//! say nothing else.

use super::kernels::Kernels;

/// Shares, 0 to 1; see [`crate::Isa::listing_limits`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ListingLimits {
    /// Of rows, for [`crate::ternary_matmul_rows`].
    pub rows: f32,
    /// Of columns, for [`crate::ternary_columns_matmul`]; 0 where it never pays.
    pub columns: f32,
}

/// Rows are unpacked.
pub(crate) fn has_trits5<K: Kernels>(_: K) -> bool {
    false
}

/// For ISAs that have the loops, as soon as threads share the memory.
pub(crate) fn prefers_trits5<K: Kernels>(k: K, threads: usize) -> bool {
    k.has_trits5() && threads > 1
}

/// Arithmetic decides: two bits take fewer instructions.
pub(crate) fn prefers_trits8<K: Kernels>(_: K, _threads: usize) -> bool {
    false
}

/// Not measured. Single rows take longer than rows side by side; columns have no loop of their own.
pub(crate) fn listing_limits<K: Kernels>(_: K) -> ListingLimits {
    ListingLimits {
        rows: 0.3,
        columns: 0.0,
    }
}

/// More is hardly faster, and a running completion waits for a pass.
pub(crate) fn prefill_chunk<K: Kernels>(_: K) -> usize {
    64
}
