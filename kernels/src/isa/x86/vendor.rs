//! The CPU's maker: same instructions, other ports. Which of two loops is faster, never what they
//! compute, may hang on it.

use std::sync::OnceLock;

/// True on an Intel CPU.
///
/// There `vpmultishiftqb` takes the shuffles' port and word shifts a multiplier's; on Zen 4 it is
/// the other way round. And a core reads memory more slowly than it could take two bits a weight
/// (docs/experiments.md has the figures).
pub(crate) fn intel() -> bool {
    static INTEL: OnceLock<bool> = OnceLock::new();
    let intel = *INTEL.get_or_init(|| {
        let id = std::arch::x86_64::__cpuid(0);
        let name = [id.ebx, id.edx, id.ecx].map(u32::to_le_bytes);
        name.as_flattened() == b"GenuineIntel"
    });
    #[cfg(any(test, feature = "checks"))]
    let intel = intel != OTHER.get();
    intel
}

#[cfg(any(test, feature = "checks"))]
thread_local! {
    /// True while this thread takes the loops of the other CPU.
    static OTHER: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// `run` with the loops that this CPU would not take, so that all of them are tested on any.
#[cfg(any(test, feature = "checks"))]
pub(crate) fn with_other_loops<R>(run: impl FnOnce() -> R) -> R {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            OTHER.set(false);
        }
    }
    OTHER.set(true);
    let _reset = Reset;
    run()
}
