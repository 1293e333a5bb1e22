//! 40 bytes of layout trits5 to 192 codes in AVX-512 VBMI, for the loops over it.

use std::arch::x86_64::*;

use crate::trits5::{GROUP_BYTES, TAIL, TAIL_BYTES};

/// Byte i % 8 of quadword i / 8 comes from byte 5 (i / 8) + i % 8; the three past a quadword's five
/// are not looked at.
const SPREAD: [u8; 64] = {
    let mut from = [0; 64];
    let mut i = 0;
    while i < 64 {
        from[i] = (i / 8 * 5 + if i % 8 < 5 { i % 8 } else { 4 }) as u8;
        i += 1;
    }
    from
};

/// The bit where byte i % 8 of a quadword begins.
const SHIFTS: [u8; 64] = {
    let mut shifts = [0; 64];
    let mut i = 0;
    while i < 64 {
        shifts[i] = (i % 8 * 5) as u8;
        i += 1;
    }
    shifts
};

/// The codes of a triple in bits 0, 2 and 4, by the triple and one bit that means nothing.
const CODES: [u8; 64] = {
    let mut codes = [0; 64];
    let mut i = 0;
    while i < 64 {
        let triple = if i % 32 < 27 { i % 32 } else { 26 };
        codes[i] = (triple % 3 + triple / 3 % 3 * 4 + triple / 9 * 16) as u8;
        i += 1;
    }
    codes
};

/// Bytes of the words of a register: word k holds triples 2k and 2k + 1, ten bits that begin
/// somewhere in its first byte.
const SPREAD_PAIRS: [u8; 64] = {
    let mut from = [0; 64];
    let mut i = 0;
    while i < 64 {
        from[i] = (i / 2 * 10 / 8 + i % 2) as u8;
        i += 1;
    }
    from
};

/// The bit of each word where its ten begin.
const SHIFTS_OF_PAIRS: [u16; 32] = {
    let mut shifts = [0; 32];
    let mut k = 0;
    while k < 32 {
        shifts[k] = (k * 10 % 8) as u16;
        k += 1;
    }
    shifts
};

/// One code of a triple, by the triple and one bit that means nothing: what `place`, 1, 3 or 9,
/// multiplies.
const fn digits(place: usize) -> [u8; 64] {
    let mut codes = [0; 64];
    let mut i = 0;
    while i < 64 {
        let triple = if i % 32 < 27 { i % 32 } else { 26 };
        codes[i] = (triple / place % 3) as u8;
        i += 1;
    }
    codes
}
const FIRST: [u8; 64] = digits(1);
const SECOND: [u8; 64] = digits(3);
const THIRD: [u8; 64] = digits(9);

/// Fewest instructions, for loops that unpack for each token.
pub(super) struct Tables {
    spread: __m512i,
    shifts: __m512i,
    codes: __m512i,
}

impl Tables {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
    pub(super) fn new() -> Self {
        Tables {
            spread: load(&SPREAD),
            shifts: load(&SHIFTS),
            codes: load(&CODES),
        }
    }

    /// The codes of 40 bytes' triples in bits 0, 2 and 4 of 64 bytes; the other bits are 0.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
    pub(super) fn codes(&self, group: __m512i) -> __m512i {
        let spread = _mm512_permutexvar_epi8(self.spread, group);
        let triples = _mm512_multishift_epi64_epi8(self.shifts, spread);
        _mm512_permutexvar_epi8(triples, self.codes)
    }
}

/// Loops in which multiplications decide. `MULTISHIFT` brings triples into place by
/// `vpmultishiftqb`, fewest instructions, else by shifts of words: one of the two competes with
/// multiplications for a port, and which one depends on the CPU (`x86/vendor.rs`).
pub(super) struct Thirds<const MULTISHIFT: bool> {
    spread: __m512i,
    shifts: __m512i,
    codes: [__m512i; 3],
}

impl<const MULTISHIFT: bool> Thirds<MULTISHIFT> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
    pub(super) fn new() -> Self {
        // SAFETY: 32 words, any alignment.
        let of_pairs = unsafe { _mm512_loadu_si512(SHIFTS_OF_PAIRS.as_ptr().cast()) };
        let (spread, shifts) = if MULTISHIFT {
            (load(&SPREAD), load(&SHIFTS))
        } else {
            (load(&SPREAD_PAIRS), of_pairs)
        };
        Thirds {
            spread,
            shifts,
            codes: [load(&FIRST), load(&SECOND), load(&THIRD)],
        }
    }

    /// Each of 40 bytes' triples in the low five bits of a byte; the others mean nothing.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
    pub(super) fn triples(&self, group: __m512i) -> __m512i {
        self.place(self.spread(group))
    }

    /// The first half of it: each byte or word of the result has its triples somewhere.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
    pub(super) fn spread(&self, group: __m512i) -> __m512i {
        _mm512_permutexvar_epi8(self.spread, group)
    }

    /// The other half.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
    pub(super) fn place(&self, spread: __m512i) -> __m512i {
        const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
        if MULTISHIFT {
            return _mm512_multishift_epi64_epi8(self.shifts, spread);
        }
        let even = _mm512_srlv_epi16(spread, self.shifts);
        _mm512_mask_blend_epi8(ODD, even, _mm512_slli_epi16::<3>(even))
    }

    /// The codes of the weights 64 `third`.. of these triples.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
    pub(super) fn codes(&self, triples: __m512i, third: usize) -> __m512i {
        _mm512_permutexvar_epi8(triples, self.codes[third])
    }
}

/// Number of groups of a row that have 24 more bytes behind them in each of these slices, which
/// begin with it: those `load_plain` may read.
#[inline]
pub(super) fn plain_groups<const R: usize>(rows: &[&[u8]; R], groups: usize) -> usize {
    let shortest = rows.iter().map(|row| row.len()).min().unwrap_or(0);
    // All but the last rows of a matrix; without a division.
    if shortest >= groups * GROUP_BYTES + 64 - GROUP_BYTES {
        return groups;
    }
    ((shortest + GROUP_BYTES).saturating_sub(64) / GROUP_BYTES).min(groups)
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load<T>(at: &[T; 64]) -> __m512i {
    const { assert!(size_of::<T>() == 1) };
    // SAFETY: a reference to 64 one-byte values, any alignment.
    unsafe { _mm512_loadu_si512(at.as_ptr().cast()) }
}

/// 64 bytes.
///
/// # Safety
/// `at + 64` is at most `w.len()`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn load_plain(w: &[u8], at: usize) -> __m512i {
    debug_assert!(at + 64 <= w.len());
    // SAFETY: the caller's.
    let from = unsafe { w.as_ptr().add(at) };
    // SAFETY: 64 bytes from there on are in `w`, any alignment.
    unsafe { _mm512_loadu_si512(from.cast()) }
}

/// 40 bytes, and where there are more behind them, whatever they are: a masked load is slower.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn load_group(w: &[u8], at: usize) -> __m512i {
    let from = &w[at..];
    match from.first_chunk::<64>() {
        Some(bytes) => load(bytes),
        None => {
            assert!(from.len() >= GROUP_BYTES);
            // SAFETY: the mask selects 40 bytes, checked above; a masked load does not touch the
            // others.
            unsafe { _mm512_maskz_loadu_epi8((1 << GROUP_BYTES) - 1, from.as_ptr().cast()) }
        }
    }
}

/// The 64 codes of a piece of the tail.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn load_tail(w: &[u8], at: usize) -> __m512i {
    const { assert!(4 * TAIL_BYTES == TAIL) };
    let bytes = w[at..].first_chunk::<TAIL_BYTES>().expect("a whole piece");
    // SAFETY: 16 bytes, any alignment.
    let four = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    let shifts = _mm512_setr_epi32(6, 6, 6, 6, 4, 4, 4, 4, 2, 2, 2, 2, 0, 0, 0, 0);
    let codes = _mm512_srlv_epi32(_mm512_broadcast_i32x4(four), shifts);
    _mm512_and_si512(codes, _mm512_set1_epi8(3))
}
