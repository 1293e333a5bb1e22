//! The portable form under the real `wasmtime serve`: the composed and the baked component, as a
//! stock runtime sees them. $WASMTIME names the program, or `scripts/wasmtime.sh` has installed
//! one. One file per topic.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test that fails says where"
)]

mod apps;
mod batching;
mod benchmark;
mod concurrency;
mod routes;
mod same_tokens;
mod settings;
mod streaming;
#[allow(dead_code, reason = "shared with the other end-to-end tests")]
#[path = "../e2e/support/mod.rs"]
mod support;
