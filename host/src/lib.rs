//! The native host: runs the HTTP component in wasmtime and the engine beside it.
//!
//! The path of a request: `server` (accept, limits) -> `api_component` (one wasm instance per request)
//! -> `engine_import` (the component's `engine` import) -> `engine_actor` (the thread that owns the engine)
//! -> `driven_engine`: linked into this process, or baked and in its `sandbox`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod admission;
pub mod api_component;
pub mod assets;
pub mod bindings;
mod blank;
pub mod cgroup;
pub mod changed_files;
pub mod cli;
pub mod commands;
pub mod driven_engine;
pub mod engine_actor;
pub mod engine_health;
pub mod engine_import;
mod epoch_clock;
pub mod head_type;
pub mod image;
mod large_requests;
pub mod layout_type;
pub mod logging;
pub mod lost_pages;
mod low_priority;
pub mod memory_budget;
pub mod metrics;
pub mod model_source;
pub mod output;
pub mod pre_init;
mod private_copies;
pub mod process;
pub mod resource_limits;
pub mod sandbox;
pub mod say;
pub mod server;
pub mod settings;
pub mod step_limit;
pub mod wasm_command;
pub mod wasm_config;
mod weight_pages;
