//! Shared by the benches.

#![allow(dead_code, reason = "each bench is a crate and uses its part")]

use std::time::Duration;

use criterion::Criterion;
use sterna_kernels::Isa;

/// Beyond the last level of cache; short enough that a sample is a few milliseconds.
pub(crate) const MATRIX_BYTES: usize = 128 << 20;

/// Short enough to run all of it: the median of 20 samples moves by a few percent.
pub(crate) fn config() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .without_plots()
}

/// The machine's instruction sets, save scalar, which is written to be read; `STERNA_ISA` chooses
/// one, scalar too.
pub(crate) fn isas() -> Vec<Isa> {
    if std::env::var_os("STERNA_ISA").is_some() {
        return vec![Isa::from_env().expect("STERNA_ISA names an instruction set of this machine")];
    }
    let all = Isa::supported();
    let fast = all.iter().filter(|isa| isa.name() != "scalar");
    fast.copied().collect()
}

/// Bytes whose 2-bit codes are 0 to 2, and no two lines of which are equal.
pub(crate) fn bytes(n: usize) -> Vec<u8> {
    let mut state = 1u32;
    let byte = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let random = (state >> 24) as u8;
        random & !((random >> 1) & random & 0x55)
    };
    (0..n).map(byte).collect()
}
