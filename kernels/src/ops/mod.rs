//! Float steps of a transformer, each written once over the 16-lane [`crate::isa::Simd`] trait.

pub(crate) mod activation;
pub(crate) mod attention;
pub(crate) mod exp;
pub(crate) mod lanes;
pub(crate) mod norm;
pub(crate) mod rope;
pub(crate) mod softmax;
