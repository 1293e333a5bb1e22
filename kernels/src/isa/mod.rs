//! The kernels of each instruction set. The only folder with `unsafe`: intrinsics, behind tokens
//! that prove support.
//!
//! One folder an ISA, whose `mod.rs` has the token and the float lanes. A file in it is named after
//! the format and the number of tokens that its loops take: `<format>_<one|few|many>.rs`. In `x86/`
//! stands what the x86 ISAs share.

pub(crate) mod column_tiles;
pub(crate) mod dense_tiles;
pub(crate) mod grouped_tiles;
pub(crate) mod kernels;
pub(crate) mod outputs;
pub(crate) mod preferences;
pub(crate) mod probe;
pub(crate) mod ternary;
mod tiles;
pub(crate) mod unpacked;

pub(crate) mod scalar;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod split;

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(crate) mod simd128;

pub(crate) use scalar::Scalar;
