//! Weights in memory: the bytes that hold them, and the faster place that they move to while in
//! use.
//!
//! A file is mapped (`mmap`, `mapped`) and its parts are shared [`Bytes`]. `settle` then moves them
//! to 2 MiB pages (`huge_pages`) or packs them tighter (`repack`) in the background; of weights
//! that are somebody else's, `borrowed_copies` makes copies, a little with each pass
//! (`time_share`).

#[cfg(feature = "native")]
mod borrowed_copies;
mod bytes;
#[cfg(feature = "native")]
pub mod huge_pages;
#[cfg(feature = "native")]
mod mapped;
mod mmap;
#[cfg(feature = "native")]
mod repack;
#[cfg(feature = "native")]
mod settle;
#[cfg(feature = "native")]
mod time_share;

#[cfg(feature = "native")]
pub use borrowed_copies::BorrowedCopies;
pub use bytes::Bytes;
#[cfg(feature = "native")]
pub use mapped::{MappedFile, WatchedFile};
pub(crate) use mmap::open;
#[cfg(feature = "native")]
pub use settle::{Settled, Settling, settle};
