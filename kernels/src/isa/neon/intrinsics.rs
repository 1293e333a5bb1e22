//! The NEON intrinsics that the kernels use, as safe functions under the same names: NEON is part
//! of every aarch64 target with floating point, so there is nothing to detect. Those that take
//! pointers are not here.

pub(super) use std::arch::aarch64::{
    float32x4_t, int8x16_t, int16x8_t, int32x4_t, uint8x8_t, uint8x16_t,
};

use std::arch::aarch64::{self as arch, *};

macro_rules! safe {
    ($(fn $name:ident $(<const $n:ident>)? ($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {
        $(#[inline(always)]
        pub(crate) fn $name $(<const $n: i32>)? ($($arg: $ty),*) -> $ret {
            // SAFETY: registers only, and the target has NEON.
            unsafe { arch::$name $(::<$n>)? ($($arg),*) }
        })*
    };
}

safe! {
    fn vdupq_n_f32(v: f32) -> float32x4_t;
    fn vaddq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t;
    fn vsubq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t;
    fn vmulq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t;
    fn vdivq_f32(a: float32x4_t, b: float32x4_t) -> float32x4_t;
    fn vabsq_f32(a: float32x4_t) -> float32x4_t;
    fn vcgtq_f32(a: float32x4_t, b: float32x4_t) -> uint32x4_t;
    fn vcltq_f32(a: float32x4_t, b: float32x4_t) -> uint32x4_t;
    fn vbslq_f32(mask: uint32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t;
    fn vget_low_f32(a: float32x4_t) -> float32x2_t;
    fn vget_high_f32(a: float32x4_t) -> float32x2_t;
    fn vadd_f32(a: float32x2_t, b: float32x2_t) -> float32x2_t;
    fn vpadds_f32(a: float32x2_t) -> f32;
    fn vcvtq_f32_s32(a: int32x4_t) -> float32x4_t;
    fn vcvt_f32_f16(a: float16x4_t) -> float32x4_t;
    fn vreinterpret_f16_u8(a: uint8x8_t) -> float16x4_t;
    fn vreinterpret_f16_u16(a: uint16x4_t) -> float16x4_t;
    fn vreinterpret_u16_u8(a: uint8x8_t) -> uint16x4_t;
    fn vreinterpretq_f32_u8(a: uint8x16_t) -> float32x4_t;
    fn vreinterpretq_f32_u32(a: uint32x4_t) -> float32x4_t;
    fn vreinterpretq_f32_s32(a: int32x4_t) -> float32x4_t;
    fn vreinterpretq_s32_f32(a: float32x4_t) -> int32x4_t;
    fn vreinterpretq_s8_s32(a: int32x4_t) -> int8x16_t;
    fn vreinterpretq_s8_u8(a: uint8x16_t) -> int8x16_t;
    fn vreinterpretq_s8_s64(a: int64x2_t) -> int8x16_t;
    fn vreinterpretq_s64_s8(a: int8x16_t) -> int64x2_t;
    fn vdup_n_u16(v: u16) -> uint16x4_t;
    fn vdupq_n_u8(v: u8) -> uint8x16_t;
    fn vdupq_n_s8(v: i8) -> int8x16_t;
    fn vdupq_n_s32(v: i32) -> int32x4_t;
    fn vandq_u8(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t;
    fn vorrq_u8(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t;
    fn vsubq_u8(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t;
    fn vminq_u8(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t;
    fn vmlsq_u8(a: uint8x16_t, b: uint8x16_t, c: uint8x16_t) -> uint8x16_t;
    fn vget_low_u8(a: uint8x16_t) -> uint8x8_t;
    fn vmull_u8(a: uint8x8_t, b: uint8x8_t) -> uint16x8_t;
    fn vmull_high_u8(a: uint8x16_t, b: uint8x16_t) -> uint16x8_t;
    fn vshrn_n_u16<const N>(a: uint16x8_t) -> uint8x8_t;
    fn vshrn_high_n_u16<const N>(a: uint8x8_t, b: uint16x8_t) -> uint8x16_t;
    fn vqtbl1q_u8(table: uint8x16_t, at: uint8x16_t) -> uint8x16_t;
    fn vsubq_s8(a: int8x16_t, b: int8x16_t) -> int8x16_t;
    fn vshll_n_u16<const N>(a: uint16x4_t) -> uint32x4_t;
    fn vshlq_n_u8<const N>(a: uint8x16_t) -> uint8x16_t;
    fn vshrq_n_u8<const N>(a: uint8x16_t) -> uint8x16_t;
    fn vshlq_n_s32<const N>(a: int32x4_t) -> int32x4_t;
    fn vshrq_n_s32<const N>(a: int32x4_t) -> int32x4_t;
    fn vzip1q_s64(a: int64x2_t, b: int64x2_t) -> int64x2_t;
    fn vzip2q_s64(a: int64x2_t, b: int64x2_t) -> int64x2_t;
    fn vget_low_s8(a: int8x16_t) -> int8x8_t;
    fn vget_low_s16(a: int16x8_t) -> int16x4_t;
    fn vgetq_lane_s32<const LANE>(a: int32x4_t) -> i32;
    fn vmovl_s8(a: int8x8_t) -> int16x8_t;
    fn vmovl_high_s8(a: int8x16_t) -> int16x8_t;
    fn vmull_s8(a: int8x8_t, b: int8x8_t) -> int16x8_t;
    fn vmull_high_s8(a: int8x16_t, b: int8x16_t) -> int16x8_t;
    fn vmull_s16(a: int16x4_t, b: int16x4_t) -> int32x4_t;
    fn vmull_high_s16(a: int16x8_t, b: int16x8_t) -> int32x4_t;
    fn vmlal_s16(acc: int32x4_t, a: int16x4_t, b: int16x4_t) -> int32x4_t;
    fn vmlal_high_s16(acc: int32x4_t, a: int16x8_t, b: int16x8_t) -> int32x4_t;
    fn vmlaq_n_s32(acc: int32x4_t, a: int32x4_t, b: i32) -> int32x4_t;
    fn vaddq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    fn vpaddq_s16(a: int16x8_t, b: int16x8_t) -> int16x8_t;
    fn vpaddq_s32(a: int32x4_t, b: int32x4_t) -> int32x4_t;
    fn vpadalq_s16(acc: int32x4_t, a: int16x8_t) -> int32x4_t;
    fn vaddvq_s32(a: int32x4_t) -> i32;
}
