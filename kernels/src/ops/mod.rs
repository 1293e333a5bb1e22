//! Float steps of a transformer, each written once over the 16-lane [`crate::simd::Simd`] trait.

pub(crate) mod activation;
pub(crate) mod attention;
pub(crate) mod exp;
pub(crate) mod kv;
pub(crate) mod norm;
pub(crate) mod quantize;
pub(crate) mod rope;
pub(crate) mod softmax;
