//! Exact dot products of a unit of a group-scaled tile in layout trits8 in NEON, for any number of
//! tokens; see `grouped_few.rs`.

use super::grouped_few::products;
use super::intrinsics::*;
use super::level::Level;
use super::{F32x16, load_u8};
use crate::grouped::trits8::{FIFTH, THIRDS, UNIT_BYTES};
use crate::grouped::{LINE_BYTES, TokenBlocks};

/// See [`crate::isa::kernels::Kernels::trits8_dots`].
#[inline(always)]
pub(super) fn dots<L: Level, const T: usize>(
    level: L,
    unit: &[u8; UNIT_BYTES],
    x: [TokenBlocks<'_>; 2],
) -> [[F32x16; T]; 2] {
    let mut dots = [[F32x16([vdupq_n_f32(0.0); 4]); T]; 2];
    let (lines, rest) = unit.as_chunks::<LINE_BYTES>();
    let rest = load_u8(rest.first_chunk().expect("a unit's last 16 bytes"));
    let three = vdupq_n_u8(3);
    let last = [
        vandq_u8(rest, three),
        vandq_u8(vshrq_n_u8::<2>(rest), three),
        vandq_u8(vshrq_n_u8::<4>(rest), three),
        vshrq_n_u8::<6>(rest),
    ];
    for (quarter, last) in last.into_iter().enumerate() {
        let [a, b, c] = [0, 1, 2].map(
            #[inline(always)]
            |l: usize| split(load_u8(&lines[l].as_chunks().0[quarter])),
        );
        let ([a0, a1, a2, a3], a4) = a;
        let ([b0, b1, b2, b3], b4) = b;
        let ([c0, c1, c2, c3], c4) = c;
        let [low, high] = &mut dots;
        products(level, [a0, a1, a2, a3, b0, b1, b2, b3], x[0], quarter, low);
        let last = vreinterpretq_s8_u8(last);
        products(
            level,
            [c0, c1, c2, c3, a4, b4, c4, last],
            x[1],
            quarter,
            high,
        );
    }
    dots
}

/// The first four codes of each byte, and the fifths.
#[inline(always)]
fn split(bytes: uint8x16_t) -> ([int8x16_t; 4], int8x16_t) {
    let fifth = vdupq_n_u8(FIFTH);
    let less = vminq_u8(bytes, vsubq_u8(bytes, fifth));
    let four = vminq_u8(less, vsubq_u8(less, fifth));
    // Nine times a number below 10, and a number below 9; 57 / 512 is a ninth.
    let ninth = vdupq_n_u8(57);
    let low = vmull_u8(vget_low_u8(four), vget_low_u8(ninth));
    let high = vmull_high_u8(four, ninth);
    let nines = vshrq_n_u8::<1>(vshrn_high_n_u16::<8>(vshrn_n_u16::<8>(low), high));
    let ones = vmlsq_u8(four, nines, vdupq_n_u8(9));
    let [rests, thirds] = [load_u8(&THIRDS[0]), load_u8(&THIRDS[1])];
    let codes = [
        vqtbl1q_u8(rests, ones),
        vqtbl1q_u8(thirds, ones),
        vqtbl1q_u8(rests, nines),
        vqtbl1q_u8(thirds, nines),
    ];
    // 0, 84 or 168: 0, 21 or 42.
    let quarter = vshrq_n_u8::<2>(vsubq_u8(bytes, four));
    let fifths = vandq_u8(quarter, vdupq_n_u8(3));
    (codes.map(vreinterpretq_s8_u8), vreinterpretq_s8_u8(fifths))
}
