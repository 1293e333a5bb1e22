//! Shared by the x86 ISAs.

pub(crate) mod group_panel;
pub(crate) mod panel;
pub(crate) mod prefetch;
pub(crate) mod probe;
pub(crate) mod q6_k_pairs;
pub(crate) mod vendor;
