//! The memory this process may have: how it is shared out (`budget`), what of it copies of weights
//! take (`private_copies`, `weight_pages`), and what happens when a mapped file loses pages
//! (`lost_pages`).

pub mod budget;
pub mod lost_pages;
pub(crate) mod private_copies;
pub(crate) mod weight_pages;
