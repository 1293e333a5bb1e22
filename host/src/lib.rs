//! The native host: runs the HTTP component in wasmtime and the engine beside it.
//!
//! The path of a request: `server` (accept, limits) -> `api_component` (one wasm instance per
//! request) -> `engine_import` (the component's `engine` import) -> `engine` (the handle, and the
//! thread that owns the engine): linked into this process, or baked and in its `sandbox`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod admission;
pub mod api_component;
pub mod assets;
pub mod baked_size;
pub mod bindings;
mod blank;
pub mod cgroup;
pub mod chat_template;
pub mod cli;
pub mod commands;
pub mod engine;
pub mod engine_import;
mod epoch_clock;
mod guest_wasi;
pub mod head_type;
pub mod image;
pub mod kv_type;
mod large_requests;
pub mod late_data;
pub mod layout_type;
pub mod logging;
mod low_priority;
pub mod machine;
pub mod memory;
pub mod metrics;
pub mod model_source;
pub mod models;
pub mod output;
pub mod pre_init;
pub mod process;
pub mod reading;
pub mod registry_tools;
pub mod resource_limits;
pub mod sandbox;
pub mod say;
pub mod server;
pub mod settings;
#[cfg(test)]
mod testing;
pub mod wasm_command;
pub mod wasm_config;
