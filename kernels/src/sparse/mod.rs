//! Products that leave out what is known to be zero: exact, since a zero adds nothing to an integer
//! sum.
//!
//! | file | what is left out |
//! |---|---|
//! //! | (listed rows) | output rows nobody needs (`up`, where relu(gate) is zero) |
//! | `columns.rs` | weights that meet an activation of zero (`down`, whose input is mostly zeros): a layout by columns |
//! | `nonzero.rs` | which activations are not zero |

pub(crate) mod columns;
pub(crate) mod nonzero;
