//! Arithmetic on slices for ternary language models. No I/O, no threads, no model knowledge.
//!
//! Every kernel exists once per instruction set ([`Isa`]), and all of them give the same bits as [`Isa::SCALAR`]:
//! integer dot products are exact in i32, and float steps share one reduction shape (16 virtual lanes, a fixed tree,
//! no FMA). README.md beside this crate has the layouts, the inner loops and the measurements.
//!
//! NaN is the one exception: where the oracle gives NaN every ISA gives NaN, but sign and payload may differ.

#![deny(unsafe_op_in_unsafe_fn)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod aligned;
#[cfg(any(test, feature = "checks"))]
pub mod checks;
mod dense;
mod dispatch;
mod error;
mod isa;
mod ops;
mod output;
pub mod pack;
mod quantize;
mod rng;
mod self_test;
mod simd;
mod sparse;
mod ternary;
mod trits5;

pub use dense::{Dense, DenseInput, DenseType, dense_matmul, encode_dense_row};
pub use dispatch::{Isa, ListingLimits};
pub use error::{IsaError, SelfTestError, ShapeError};
pub use isa::PeakRun;
pub use ops::activation::{add_assign, relu2_mul, silu_mul};
pub use ops::attention::{attention_mix, attention_scores};
pub use ops::exp::{exp_f32, ln_f32};
pub use ops::norm::rms_norm;
pub use ops::rope::{rope_angles, rope_rotate_half};
pub use ops::softmax::softmax;
pub use output::OutputRows;
pub use quantize::{QuantizedActivations, RowToFill};
pub use self_test::self_test;
pub use sparse::{
    NonZero, TernaryColumns, columns::Line, pack_columns, ternary_columns_matmul,
    ternary_matmul_rows,
};
pub use ternary::{Ternary, TernaryLayout, ternary_matmul};
pub use trits5::{pack_trits5, pack_trits5_into, unpack_trits5};
