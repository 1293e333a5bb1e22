//! The kernels of each instruction set. The only folder with `unsafe`: intrinsics, behind tokens that prove support.
//!
//! One folder an ISA, whose `mod.rs` has the token and the float lanes. A file in it is named after the format and the number of
//! tokens that its loops take: `<format>_<one|few|many>.rs`. In `x86/` stands what the x86 ISAs share.

mod kernels;
mod probe;

pub(crate) mod scalar;

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

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use kernels::SplitRow;
pub(crate) use kernels::{Kernels, QuantRow, TernaryTiles};
pub use probe::PeakRun;
pub(crate) use scalar::Scalar;
