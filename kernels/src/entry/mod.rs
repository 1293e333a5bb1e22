//! The front doors: what a caller's arguments must be, and then the choice of the instruction set.

mod dense;
mod grouped;
mod kv;
mod ops;
mod quantize;
mod sparse;
mod ternary;
mod trits5;

pub use dense::dense_matmul;
pub use grouped::grouped_matmul;
pub use kv::store_kv_row;
pub use ops::{
    add_assign, attention_mix, attention_scores, exp_f32, gelu_mul, relu2_mul, rms_norm,
    rope_rotate_half, silu_mul, softmax,
};
pub use sparse::{pack_columns, ternary_columns_matmul, ternary_matmul_rows};
pub use ternary::ternary_matmul;
pub use trits5::{pack_trits5, pack_trits5_into, unpack_trits5};
