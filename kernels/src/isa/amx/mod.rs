//! AMX: int8 matrix tiles for ternary and group-scaled products with many tokens. Everything else
//! is AVX-512's, which every CPU with AMX has.

pub(crate) mod grouped_input;
pub(crate) mod grouped_many;
pub(crate) mod i2s_many;
mod probe;
pub(crate) mod tiles;

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::ops::{Deref, Range};
use std::sync::OnceLock;

use super::avx512::Avx512;
use super::kernels::Kernels;
use super::probe::PeakRun;
use super::unpacked;
use crate::{BlockActivations, Grouped, OutputRows, QuantizedActivations, Ternary, TernaryLayout};
use grouped_input::GroupInput;
use tiles::CpuTiles;

/// With fewer tokens AVX-512 is as fast: a tile stays half empty (docs/experiments.md has the
/// figures).
const MIN_TOKENS: usize = 12;

/// Rows of trits5 that are unpacked at a time: each product clears 64 KB of sums first.
const PANEL: usize = 128;

/// `MIN_TOKENS` of group-scaled products.
const MIN_GROUP_TOKENS: usize = 16;

/// Proof of AMX-INT8, of the operating system's permission to use it, and of what `Avx512` proves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amx(Avx512);

impl Amx {
    /// Asks the operating system once per process, where the CPU has AMX.
    pub(crate) fn new() -> Option<Self> {
        static USABLE: OnceLock<bool> = OnceLock::new();
        Avx512::new()
            .filter(|_| *USABLE.get_or_init(|| has_tiles() && permitted()))
            .map(Self)
    }

    /// With those that follow the only kernels that differ from AVX-512's, which [`Deref`] gives.
    pub(crate) fn ternary_matmul(
        self,
        w: Ternary<'_>,
        x: &QuantizedActivations,
        out: &mut OutputRows<'_>,
    ) {
        if x.n_tokens() < MIN_TOKENS {
            return self.0.ternary_matmul(w, x, out);
        }
        let product = |w: Ternary<'_>, out: &mut OutputRows<'_>| {
            // SAFETY: the token proves AVX-512.
            unsafe { tiled(self, w, x, out) };
        };
        match w.layout() {
            TernaryLayout::I2S => product(w, out),
            TernaryLayout::Trits5 => {
                let unpack = |w: Ternary<'_>, rows: Range<usize>, to: &mut [u8]| {
                    self.0.trits5_unpack(w, rows, to);
                };
                unpacked::matmul(w, out, PANEL, unpack, product);
            }
        }
    }

    pub(crate) fn grouped_matmul(
        self,
        w: Grouped<'_>,
        x: &BlockActivations,
        out: &mut OutputRows<'_>,
    ) {
        if x.n_tokens() < MIN_GROUP_TOKENS {
            return self.0.grouped_matmul(w, x, out);
        }
        let mut own = GroupInput::default();
        let packed = x
            .packed()
            .get(&mut own, |packed: &mut GroupInput| packed.set(x));
        // SAFETY: the token proves AVX-512.
        unsafe { tiled_groups(self, w, packed, out) };
    }

    /// Unpacking the weights, and reading them, would take as long as multiplying 64 tokens.
    pub(crate) fn prefill_chunk(self) -> usize {
        256
    }

    pub(crate) fn multiply_add_peak(self, turns: u32) -> PeakRun {
        probe::multiply_add_peak(self, turns)
    }
}

/// Compiled for AVX-512 as a whole: the compiler adds and copies sums too.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn tiled(isa: Amx, w: Ternary<'_>, x: &QuantizedActivations, out: &mut OutputRows<'_>) {
    i2s_many::matmul(&mut CpuTiles::new(isa), isa.0, w, x, out);
}

/// The same of group-scaled products.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn tiled_groups(isa: Amx, w: Grouped<'_>, x: &GroupInput, out: &mut OutputRows<'_>) {
    grouped_many::matmul(&mut CpuTiles::new(isa), isa.0, w, x, out);
}

impl Deref for Amx {
    type Target = Avx512;

    fn deref(&self) -> &Avx512 {
        &self.0
    }
}

/// True if the CPU has AMX-TILE and AMX-INT8 with tiles of 16 rows of 64 bytes, and the operating
/// system saves them. Call only where AVX-512 was found: its detection proves XGETBV.
fn has_tiles() -> bool {
    const TILE_AND_INT8: u32 = 1 << 24 | 1 << 25;
    const PALETTE_LEAF: u32 = 0x1d;
    if __cpuid(0).eax < PALETTE_LEAF || __cpuid_count(7, 0).edx & TILE_AND_INT8 != TILE_AND_INT8 {
        return false;
    }
    let palette = __cpuid_count(PALETTE_LEAF, 1);
    let (tile_bytes, row_bytes) = (palette.eax >> 16, palette.ebx & 0xffff);
    let (tiles, rows) = (palette.ebx >> 16, palette.ecx & 0xffff);
    if (tile_bytes, row_bytes, tiles, rows) != (1024, 64, 8, 16) {
        return false;
    }
    const CONFIG_AND_DATA: u32 = 1 << 17 | 1 << 18;
    let enabled: u32;
    // SAFETY: reads a register that exists where AVX-512 was found to be enabled.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") enabled, out("edx") _, options(nomem, nostack, preserves_flags));
    }
    enabled & CONFIG_AND_DATA == CONFIG_AND_DATA
}

/// Linux lets a process use tiles, whose state is 8 KiB a thread, only after it has asked:
/// `arch_prctl(2)`, ARCH_REQ_XCOMP_PERM. The permission holds for all threads, those that run
/// already too.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XFEATURE_XTILE_DATA: i64 = 18;
    let result: i64;
    // SAFETY: a system call that takes two numbers and touches no memory of ours.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILE_DATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack)
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}
