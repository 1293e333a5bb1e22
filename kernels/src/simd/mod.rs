//! Sixteen float lanes: the trait that the float kernels are written over, and walks over slices.

mod int8;
pub(crate) mod lanes;
mod vector;

pub(crate) use lanes::LANES;
pub(crate) use vector::{SUM_COLUMNS, SUM_POSITIONS, Simd, tree_sum};
