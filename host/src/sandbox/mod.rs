//! A baked engine in its sandbox: one long-lived instance that all requests share, with this
//! machine's kernels lent to it.
//!
//! `code_file` tells code from data, `app_file` finds the engine in what `sterna bake` wrote,
//! `seal` checks a precompiled one, `engine` runs it, `kernels_import` lends the kernels
//! (`wit/kernels.wit`), `convert` translates the contract's types. The engine is not trusted:
//! `limits`, `wasi`, `guest_log`, `lender` and `answers` bound what it takes, says, borrows and
//! brings.

mod answers;
mod app_file;
mod code_file;
mod engine;
mod guest_log;
mod kernels_import;
mod lender;
mod lifted;
mod limits;
mod no_kernels;
mod seal;
mod state;
mod wasi;

pub use app_file::{AppFile, ENGINE_MARK, mark_engine};
pub use engine::{SandboxOptions, SandboxedEngine, SandboxedEngines};
pub use no_kernels::lend_nothing;
pub use seal::seal;
