//! Products that leave out what is known to be zero: exact, since a zero adds nothing to an integer
//! sum.
//!
//! | file | what is left out |
//! |---|---|
//! | `entry/sparse.rs` | output rows nobody needs (`up`, where relu(gate) is zero) |
//! | `columns.rs` | weights that meet a zero (`down`, whose input is mostly zeros): by columns |
//! | `nonzero.rs` | which activations are not zero |

pub(crate) mod columns;
pub(crate) mod nonzero;
