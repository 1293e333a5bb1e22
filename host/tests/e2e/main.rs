//! End-to-end tests: the real binary, real sockets, the demo model. One file per topic.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test that fails says where"
)]

mod admission;
mod answers;
mod bad_models;
mod bad_requests;
mod baked;
mod calls;
mod composed;
mod concurrency;
mod constraints;
mod copied_weights;
mod deadlines;
mod disconnect;
mod embeddings;
mod engine_thread;
mod fields;
mod files_in_use;
mod group_scaled;
mod hostile;
mod http_shapes;
#[cfg(target_os = "linux")]
mod idle;
mod image;
mod inner_loops;
mod interrupted;
mod metrics;
mod models;
mod narrow_machine;
mod operator;
mod precompiled;
mod prefix_cache;
mod probabilities;
mod probes;
mod same_tokens;
mod sandboxed;
mod shutdown;
mod silent_clients;
mod sites;
mod slow_bodies;
#[allow(dead_code, reason = "shared with tests/portable")]
mod support;
mod terminal;
mod tools;
mod turns;
mod up;
mod wasm_kernels;
