//! The Rust side of the contract, generated: what the HTTP component imports (the traits that
//! `engine_import` and `settings` implement), and what a baked engine exports (which `sandbox`
//! calls).

#![allow(
    missing_docs,
    unreachable_pub,
    reason = "generated; documented in wit/"
)]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "api",
    imports: { default: async | trappable },
    with: { "sterna:inference/engine.generation": crate::engine::Generation },
});

pub use sterna::inference::{config, engine};

sterna_engine::convert_engine_types!(sterna::inference::engine);

/// A baked engine's exports. Its import `kernels` is linked by hand (`sandbox::kernels_import`):
/// generated code would copy the weights.
pub mod baked {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "scheduler-provider",
    });

    sterna_engine::convert_engine_types!(exports::sterna::inference::engine);
    sterna_engine::convert_scheduler_types!(exports::sterna::inference::scheduler);
}
