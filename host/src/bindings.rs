//! The Rust side of `wit/engine.wit`, generated: the traits `engine_import` implements, and their types.

#![allow(
    missing_docs,
    unreachable_pub,
    reason = "generated; documented in wit/engine.wit"
)]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "engine-consumer",
    imports: { default: async | trappable },
    with: { "sterna:inference/engine.generation": crate::engine_import::OpenGeneration },
});

pub use sterna::inference::engine;
