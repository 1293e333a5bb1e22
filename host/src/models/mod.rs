//! The models of one process: which one a request's name means (`names`), how far each is and who
//! makes room for whom (`state`, `claim`), and who waits for what (`registry`, `held`).
//!
//! A request names a model in its body, which the HTTP component reads; that asks here, through
//! `wit/engine.wit`, and what it is given stays until its request is over (`held`). A model that is
//! not in memory is loaded by one thread, one after the other (`loader`); where there is no memory
//! for it, that unloads the ones that were used longest ago and that no request uses. Running
//! requests are never cut for others: where all are in use, the models that have to go take no
//! further ones after a while, and those wait for their turn.

pub mod args;
mod claim;
mod held;
mod loader;
mod names;
mod registry;
mod state;
#[cfg(test)]
mod tests;

use crate::engine::handle::EngineHandle;
pub use claim::{Claim, Measured};
pub use held::Held;
pub use loader::{ModelLoader, Spec};
pub use names::Names;
pub use registry::{Asking, Lease, Loaded, Loader, Refused, Registry};
pub use state::{Listed, Stage};

/// The models of this server.
pub type Models = Registry<EngineHandle>;
