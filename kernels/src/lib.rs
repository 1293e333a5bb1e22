//! Arithmetic on slices for ternary language models. No I/O, no threads, no model knowledge.
//!
//! Every kernel exists once per instruction set ([`Isa`]), and all of them give the same bits as
//! [`Isa::SCALAR`]: integer dot products are exact in i32, and float steps share one reduction
//! shape (16 virtual lanes, a fixed tree, no FMA). README.md beside this crate is the map.
//!
//! NaN is the one exception: where the oracle gives NaN every ISA gives NaN, but sign and payload
//! may differ.

#![deny(unsafe_op_in_unsafe_fn)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod aligned;
#[cfg(any(test, feature = "checks"))]
pub mod checks;
mod dense;
mod dispatch;
mod entry;
mod error;
mod grouped;
mod isa;
mod kv;
mod ops;
mod output;
pub mod pack;
mod packed;
mod quantize;
mod rng;
mod self_test;
mod simd;
mod sparse;
mod ternary;
mod trits5;

pub use dense::{Dense, DenseInput, DenseType, encode_dense_row};
pub use dispatch::Isa;
pub use entry::{
    add_assign, attention_mix, attention_scores, dense_matmul, exp_f32, gelu_mul, grouped_matmul,
    pack_columns, pack_trits5, pack_trits5_into, relu2_mul, rms_norm, rope_rotate_half, silu_mul,
    softmax, store_kv_row, ternary_columns_matmul, ternary_matmul, ternary_matmul_rows,
    unpack_trits5,
};
pub use error::{IsaError, SelfTestError, ShapeError};
pub use grouped::{
    BlockActivations, BlockRowToFill, GroupCodes, GroupShape, Grouped, pack_group_tile,
    pack_trits8_tile,
};
pub use isa::preferences::ListingLimits;
pub use isa::probe::PeakRun;
pub use kv::{KvBuffer, KvRowMut, KvRows, KvType, QuantizedQueries, Queries};
pub use ops::exp::ln_f32;
pub use ops::rope::{rope_angles, rope_frequencies};
pub use output::OutputRows;
pub use quantize::{QuantizedActivations, RowToFill};
pub use self_test::self_test;
pub use sparse::columns::{Line, TernaryColumns};
pub use sparse::nonzero::NonZero;
pub use ternary::{Ternary, TernaryLayout};
