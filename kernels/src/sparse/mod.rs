//! Products that leave out what is known to be zero: exact, since a zero adds nothing to an integer sum.
//!
//! | file | what is left out |
//! |---|---|
//! | `rows.rs` | output rows nobody needs (`up`, where relu(gate) is zero) |
//! | `columns.rs` | weights that meet an activation of zero (`down`, whose input is mostly zeros): a layout by columns |
//! | `nonzero.rs` | which activations are not zero |

pub(crate) mod columns;
mod nonzero;
mod rows;

pub use columns::{TernaryColumns, pack_columns, ternary_columns_matmul};
pub use nonzero::NonZero;
pub use rows::ternary_matmul_rows;
