//! The transformer of Sterna: model files, tokenizer, chat template, KV cache, scheduler, sampler.
//!
//! One crate, two forms: linked into the native host (feature `native`: threads, mapped files) and
//! compiled to `engine.wasm`. Both compute the same bits.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod error;
pub mod request;
