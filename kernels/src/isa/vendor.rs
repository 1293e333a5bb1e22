//! Who made the CPU: same instructions, other ports. Which of two loops is faster, never what they compute, may hang on it.

use std::sync::OnceLock;

/// Whether this is an Intel CPU.
///
/// There `vpmultishiftqb` takes the shuffles' port and word shifts a multiplier's; on Zen 4 it is the other way round. And a core reads
/// memory more slowly than it could take two bits a weight (README.md has the figures).
pub(super) fn intel() -> bool {
    static INTEL: OnceLock<bool> = OnceLock::new();
    *INTEL.get_or_init(|| {
        let id = std::arch::x86_64::__cpuid(0);
        let name = [id.ebx, id.edx, id.ecx].map(u32::to_le_bytes);
        name.as_flattened() == b"GenuineIntel"
    })
}
