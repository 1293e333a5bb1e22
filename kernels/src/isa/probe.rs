//! What the machine can give at most: a pure read and a pure multiply-add loop for each instruction set.
//!
//! A benchmark runs them beside the kernels, so that a figure can be said as a share of the limit. They do no work
//! of a model; their results are only there so that they can be tested and are not optimised away.

use crate::Isa;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::dispatch::Kind;

/// What a run of the multiply-add loop did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeakRun {
    /// int8 multiply-adds that were computed.
    pub multiply_adds: u64,
    /// The wrapping sum of one accumulator's lanes: `turns` times a constant of the instruction set.
    pub checksum: i64,
}

impl Isa {
    /// Reads every byte once, as fast as this instruction set can, and returns the exclusive or of the little-endian
    /// u64 words (the last one padded with zeros).
    pub fn read_through(self, bytes: &[u8]) -> u64 {
        match self.0 {
            // SAFETY: the token exists only where `Avx2::new` found AVX2.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => unsafe { x86::read_avx2(bytes) },
            // SAFETY: the token exists only where `Avx512::new` found AVX-512 F; AMX's holds one.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) | Kind::Amx(_) => unsafe { x86::read_avx512(bytes) },
            #[allow(unreachable_patterns, reason = "not on every target")]
            _ => words(bytes),
        }
    }

    /// Runs the densest int8 multiply-add instruction of this instruction set in independent chains, registers only:
    /// `tdpbssd`, `vpdpbusd`, `vpmaddubsw` with the `vpaddw` that keeps its sums, `smmla`, `sdot`, or what the compiler makes
    /// of plain Rust.
    pub fn multiply_add_peak(self, turns: u32) -> PeakRun {
        match self.0 {
            // SAFETY: the token exists only where `Avx2::new` found AVX2.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => unsafe { x86::peak_avx2(turns) },
            // SAFETY: the token exists only where `Avx512::new` found AVX-512 F and VNNI.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) => unsafe { x86::peak_avx512(turns) },
            #[cfg(target_arch = "x86_64")]
            Kind::Amx(token) => x86::peak_amx(token, turns),
            #[cfg(target_arch = "aarch64")]
            Kind::NeonI8mm(token) => arm::peak(token.0, turns),
            #[cfg(target_arch = "aarch64")]
            Kind::NeonDotprod(token) => arm::peak(token.0, turns),
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(token) => arm::peak(token.0, turns),
            #[allow(unreachable_patterns, reason = "not on every target")]
            _ => peak_plain(turns),
        }
    }
}

/// The exclusive or that [`Isa::read_through`] promises.
fn words(bytes: &[u8]) -> u64 {
    let (words, tail) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..tail.len()].copy_from_slice(tail);
    words.iter().fold(u64::from_le_bytes(last), |all, word| {
        all ^ u64::from_le_bytes(*word)
    })
}

fn peak_plain(turns: u32) -> PeakRun {
    const N: usize = 256;
    let (w, x) = ([1i8; N], [1i8; N]);
    let mut sum = 0i32;
    for _ in 0..turns {
        // The same numbers each turn, which the compiler must not know.
        let (w, x) = (std::hint::black_box(&w), std::hint::black_box(&x));
        let products = w.iter().zip(x).map(|(w, x)| i32::from(*w) * i32::from(*x));
        sum = sum.wrapping_add(products.sum::<i32>());
    }
    PeakRun {
        multiply_adds: u64::from(turns) * N as u64,
        checksum: i64::from(sum),
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;
    use std::arch::x86_64::*;

    use super::{PeakRun, words};
    use crate::isa::amx::Amx;
    use crate::isa::amx::tiles::{CpuTiles, ROW_BYTES, ROWS, Tiles, bytes_mut};

    /// Accumulators: more than latency times instructions a cycle on any x86 core so far (5 x 2).
    const CHAINS: usize = 12;
    /// Bytes a turn reads: loads enough to keep all line fill buffers busy.
    const TURN: usize = 512;
    /// How far ahead of the loads lines are asked for: hides the hardware prefetcher's stop at each 4 KiB page.
    const AHEAD: usize = 2048;

    macro_rules! read {
        ($name:ident, $features:literal, $vector:ty, $zero:ident, $load:ident, $xor:ident) => {
            /// # Safety
            /// The CPU has the features.
            #[target_feature(enable = $features)]
            pub(super) unsafe fn $name(bytes: &[u8]) -> u64 {
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
                            // SAFETY: 8 sums take all `TURN / WIDTH` vectors of the turn, none beyond it; the load
                            // takes any address.
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

    #[rustfmt::skip]
    read!(read_avx2, "avx2", __m256i, _mm256_setzero_si256, _mm256_loadu_si256, _mm256_xor_si256);
    #[rustfmt::skip]
    read!(read_avx512, "avx512f", __m512i, _mm512_setzero_si512, _mm512_loadu_si512, _mm512_xor_si512);

    /// # Safety
    /// The CPU has AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn peak_avx2(turns: u32) -> PeakRun {
        let mut codes = _mm256_set1_epi8(1);
        let activations = _mm256_set1_epi8(1);
        // Different at the start, or they would be one chain.
        let mut sums: [__m256i; CHAINS] = std::array::from_fn(|i| _mm256_set1_epi16(i as i16));
        for _ in 0..turns {
            for sum in &mut sums {
                // SAFETY: does nothing. It makes `codes` unknown, so that no product is computed once for all.
                unsafe {
                    asm!("/* {0} */", inout(ymm_reg) codes, options(nomem, nostack, preserves_flags));
                }
                *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(codes, activations));
            }
        }
        // SAFETY: both are plain bytes of the same size.
        let lanes: [i16; 16] = unsafe { std::mem::transmute(sums[0]) };
        std::hint::black_box(sums);
        PeakRun {
            multiply_adds: u64::from(turns) * CHAINS as u64 * 32,
            checksum: lanes.into_iter().map(i64::from).sum(),
        }
    }

    /// Four accumulator tiles, as the products have.
    pub(super) fn peak_amx(token: Amx, turns: u32) -> PeakRun {
        let ones = [1u8; ROWS * ROW_BYTES];
        let mut tiles = CpuTiles::new(token);
        tiles.zero::<0>();
        tiles.zero::<1>();
        tiles.zero::<2>();
        tiles.zero::<3>();
        tiles.load::<4>(&ones, ROW_BYTES);
        tiles.load::<5>(&ones, ROW_BYTES);
        tiles.load::<6>(&ones, ROW_BYTES);
        tiles.load::<7>(&ones, ROW_BYTES);
        for _ in 0..turns {
            tiles.multiply::<0, 4, 6>();
            tiles.multiply::<1, 4, 7>();
            tiles.multiply::<2, 5, 6>();
            tiles.multiply::<3, 5, 7>();
        }
        let mut sums = [0i32; ROWS * ROWS];
        tiles.store::<0>(bytes_mut(&mut sums), ROW_BYTES);
        PeakRun {
            multiply_adds: u64::from(turns) * 4 * (ROWS * ROWS * ROW_BYTES) as u64,
            checksum: sums.into_iter().map(i64::from).sum(),
        }
    }

    /// # Safety
    /// The CPU has AVX-512 F and VNNI.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) unsafe fn peak_avx512(turns: u32) -> PeakRun {
        let (codes, activations) = (_mm512_set1_epi8(1), _mm512_set1_epi8(1));
        // Different at the start, or they would be one chain.
        let mut sums: [__m512i; CHAINS] = std::array::from_fn(|i| _mm512_set1_epi32(i as i32));
        for _ in 0..turns {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, codes, activations);
            }
        }
        // SAFETY: both are plain bytes of the same size.
        let lanes: [i32; 16] = unsafe { std::mem::transmute(sums[0]) };
        std::hint::black_box(sums);
        PeakRun {
            multiply_adds: u64::from(turns) * CHAINS as u64 * 64,
            checksum: lanes.into_iter().map(i64::from).sum(),
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::PeakRun;
    use crate::isa::neon::intrinsics::{vdupq_n_s8, vdupq_n_s32};
    use crate::isa::neon::level::{Baseline, Level, Sums};

    /// Products of 2 rows by 2 tokens that are summed side by side: four vectors each, or one.
    const CHAINS: usize = 6;

    pub(super) fn peak<L: Level>(level: L, turns: u32) -> PeakRun {
        let x = [vdupq_n_s8(1); 2];
        let mut w = x;
        let mut sums: [Sums; CHAINS] = std::array::from_fn(|i| [[vdupq_n_s32(i as i32); 2]; 2]);
        for _ in 0..turns {
            for sums in &mut sums {
                // Products of its own instruction could be computed once for all; sdot and smmla are opaque.
                if L::NAME == Baseline::NAME {
                    w = std::hint::black_box(w);
                }
                level.multiply(sums, w, x);
            }
        }
        let checksum = level
            .totals(sums[0])
            .into_iter()
            .flatten()
            .map(i64::from)
            .sum();
        std::hint::black_box(sums);
        PeakRun {
            // 16 columns of 2 rows by 2 tokens.
            multiply_adds: u64::from(turns) * CHAINS as u64 * 64,
            checksum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn every_byte_is_read_once() {
        let mut rng = Rng::new(5);
        let bytes: Vec<u8> = (0..5000).map(|_| rng.below(256) as u8).collect();
        for isa in Isa::supported() {
            for (start, end) in [
                (0, 0),
                (0, 5000),
                (3, 4000),
                (1, 513),
                (7, 519),
                (0, 512),
                (9, 9),
            ] {
                let part = &bytes[start..end];
                assert_eq!(isa.read_through(part), words(part), "{}", isa.name());
            }
        }
        assert_eq!(words(&[1, 0, 0, 0, 0, 0, 0, 0, 3]), 2);
    }

    #[test]
    fn the_peak_loop_computes_what_it_counts() {
        for isa in Isa::supported() {
            let run = isa.multiply_add_peak(1000);
            // All operands are 1: a lane sums the products it takes a turn, and the lanes of one accumulator all of them.
            let (lanes, chains) = match isa.name() {
                "avx2" => (32, 12),
                "avx512vnni" => (64, 12),
                "amx-int8" => (16 * 16 * 64, 4),
                name if name.starts_with("neon") => (64, 6),
                _ => (256, 1),
            };
            assert_eq!(run.checksum, 1000 * lanes, "{}", isa.name());
            assert_eq!(run.multiply_adds, (1000 * lanes * chains) as u64);
            assert_eq!(isa.multiply_add_peak(0).multiply_adds, 0);
        }
    }
}
