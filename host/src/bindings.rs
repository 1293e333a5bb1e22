//! The Rust side of `wit/engine.wit` and `wit/config.wit`, generated: the traits that `engine_import` and `settings`
//! implement, and their types.

#![allow(
    missing_docs,
    unreachable_pub,
    reason = "generated; documented in wit/"
)]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "api",
    imports: { default: async | trappable },
    with: { "sterna:inference/engine.generation": crate::engine_import::OpenGeneration },
});

pub use sterna::inference::{config, engine};
