//! A baked engine in its sandbox: one long-lived instance that all requests share, with this machine's kernels lent to it.
//!
//! `app_file` finds the engine in what `sterna bake` wrote, `engine` runs it, `kernels_import` lends the kernels
//! (`wit/kernels.wit`), `convert` translates the contract's types.

mod app_file;
mod convert;
mod engine;
mod kernels_import;
mod no_kernels;

pub use app_file::{AppFile, ENGINE_MARK, mark_engine};
pub use engine::{SandboxOptions, SandboxedEngine, SandboxedEngines};
pub use no_kernels::lend_nothing;
