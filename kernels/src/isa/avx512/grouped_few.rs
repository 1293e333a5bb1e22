//! Exact dot products of a block of a group-scaled tile in AVX-512 VNNI, for any number of tokens:
//! a row is a lane, so that sums need no adding up.
//!
//! ```text
//! a block (32 columns of 16 rows):
//!   binary 1, ternary 2 loads · 8 x (shift · vpandd)              codes 0 to 2, weights plus 1
//!   T x (vpbroadcastd · 8 x vpdpbusd with 4 activations broadcast from memory · vcvtdq2ps)
//! ```
//!
//! One token by binary weights takes `vgf2p8affineqb` for shift and mask where the CPU has it.
//!
//! `inline(always)`, which functions with features of their own cannot be: a block is too little
//! for a call.

use std::arch::x86_64::*;

use super::Avx512;
use super::gfni::Gfni;
use super::unrolled::unrolled;
use crate::grouped::TokenBlocks;

/// See [`crate::isa::kernels::Kernels::group_dots`].
#[inline(always)]
pub(super) fn dots<const BITS: usize, const T: usize>(
    isa: Avx512,
    codes: &[u8],
    x: TokenBlocks<'_>,
) -> [__m512; T] {
    let gfni = isa.gfni.filter(|_| BITS == 1 && T == 1);
    products::<T>(isa, &columns::<BITS>(isa, gfni, codes), x)
}

/// The codes, 0 to 2, of a block's 32 columns, four in each.
#[inline(always)]
pub(super) fn columns<const BITS: usize>(
    isa: Avx512,
    gfni: Option<Gfni>,
    codes: &[u8],
) -> [__m512i; 8] {
    let mut columns = [load(isa, &[0; 64]); 8];
    let lines = codes.as_chunks::<64>().0.iter();
    for (line, columns) in lines.zip(columns.chunks_exact_mut(8 / BITS)) {
        let v = load(isa, line);
        if let Some(gfni) = gfni {
            for (k, columns) in columns.iter_mut().enumerate() {
                *columns = gfni.twice_bit(v, k);
            }
        } else {
            unpack::<BITS>(isa, v, columns);
        }
    }
    columns
}

/// Each token's products with a block's codes.
#[inline(always)]
pub(super) fn products<const T: usize>(
    _proof: Avx512,
    columns: &[__m512i],
    x: TokenBlocks<'_>,
) -> [__m512; T] {
    // SAFETY: the token proves the features.
    unsafe {
        let mut sums = [_mm512_setzero_si512(); T];
        unrolled!(I < T => { sums[I] = _mm512_set1_epi32(x.token(I).minus_sum); });
        unrolled!(K < 8 => {
            unrolled!(I < T => {
                let q = i32::from_ne_bytes(x.token(I).q.as_chunks::<4>().0[K].map(|q| q as u8));
                sums[I] = _mm512_dpbusd_epi32(sums[I], columns[K], _mm512_set1_epi32(q));
            });
        });
        let mut dots = [_mm512_setzero_ps(); T];
        unrolled!(I < T => { dots[I] = _mm512_cvtepi32_ps(sums[I]); });
        dots
    }
}

#[inline(always)]
pub(super) fn load(_proof: Avx512, line: &[u8; 64]) -> __m512i {
    // SAFETY: the token proves the features; a reference to 64 bytes.
    unsafe { _mm512_loadu_si512(line.as_ptr().cast()) }
}

/// Codes of four columns of 16 rows each. Binary ones become 0 and 2, so that either kind's weights
/// are codes less 1.
#[inline(always)]
pub(super) fn unpack<const BITS: usize>(_proof: Avx512, v: __m512i, columns: &mut [__m512i]) {
    // SAFETY: the token proves the features.
    unsafe {
        let mask = _mm512_set1_epi8(if BITS == 1 { 2 } else { 3 });
        let mut shifted = if BITS == 1 { _mm512_add_epi8(v, v) } else { v };
        for (k, columns) in columns.iter_mut().enumerate() {
            *columns = _mm512_and_si512(shifted, mask);
            shifted = match (BITS, k) {
                (1, 0) => v,
                (1, _) => _mm512_srli_epi16::<1>(shifted),
                _ => _mm512_srli_epi16::<2>(shifted),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn bits_are_the_same_by_shifts_and_by_gfni() {
        let Some((isa, gfni)) = Avx512::new().and_then(|isa| Some((isa, isa.gfni?))) else {
            return println!("not on this machine, not tested here");
        };
        let mut rng = Rng::new(8);
        let line = std::array::from_fn(|_| rng.next() as u8);
        let bytes = |v: __m512i| {
            let mut bytes = [0u8; 64];
            // SAFETY: the token proves the features; a reference to 64 bytes.
            unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), v) };
            bytes
        };
        let v = load(isa, &line);
        let mut columns = [v; 8];
        unpack::<1>(isa, v, &mut columns);
        for (k, columns) in columns.into_iter().enumerate() {
            assert_eq!(bytes(columns), line.map(|byte| (byte >> k & 1) * 2));
            assert_eq!(bytes(gfni.twice_bit(v, k)), bytes(columns));
        }
    }
}
