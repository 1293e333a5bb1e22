//! Shared by the pure loops of the x86 ISAs (see `isa/probe.rs`).

/// Accumulators: more than latency times instructions a cycle on any x86 core so far (5 x 2).
pub(crate) const CHAINS: usize = 12;
/// Bytes a turn reads: loads enough to keep all line fill buffers busy.
pub(crate) const TURN: usize = 512;
/// Prefetch distance of the loads: hides the hardware prefetcher's stop at each 4
/// KiB page.
pub(crate) const AHEAD: usize = 2048;

/// A function that reads everything by loads of `$vector`.
macro_rules! read {
    ($name:ident, $features:literal, $vector:ty, $zero:ident, $load:ident, $xor:ident) => {
        /// See [`crate::Isa::read_through`].
        #[target_feature(enable = $features)]
        pub(super) fn $name(bytes: &[u8]) -> u64 {
            const WIDTH: usize = size_of::<$vector>();
            let (turns, tail) = bytes.as_chunks::<TURN>();
            let mut sums = [$zero(); 8];
            for turn in turns {
                let at = turn.as_ptr();
                for line in 0..TURN / 64 {
                    _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(AHEAD + line * 64).cast());
                }
                for (i, sum) in sums.iter_mut().enumerate() {
                    for part in 0..TURN / WIDTH / 8 {
                        // SAFETY: 8 sums take all `TURN / WIDTH` vectors of the turn, none beyond
                        // it; the load takes any address.
                        let v = unsafe { $load(at.add((part * 8 + i) * WIDTH).cast()) };
                        *sum = $xor(*sum, v);
                    }
                }
            }
            let sum = sums.into_iter().fold($zero(), |a, b| $xor(a, b));
            // SAFETY: both are plain bytes of the same size.
            let lanes: [u64; WIDTH / 8] = unsafe { std::mem::transmute(sum) };
            lanes.into_iter().fold(words(tail), |a, b| a ^ b)
        }
    };
}

pub(crate) use read;
