//! The engine beside the HTTP component: `handle` is the way to ask it, `actor` the thread that
//! owns it, `driven` what that thread drives: an engine linked into this process, or a baked one in
//! its sandbox (`crate::sandbox`).

mod actor;
pub mod changed_files;
mod command;
pub mod driven;
mod generation;
pub mod handle;
pub mod health;
mod restart;
pub mod step_limit;

pub use generation::Generation;
