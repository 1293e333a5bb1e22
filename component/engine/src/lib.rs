//! The transformer of Sterna: model files, tokenizer, chat template, KV cache, scheduler, sampler.
//!
//! One crate, two forms: linked into the native host (feature `native`: threads, mapped files) and
//! compiled to `engine.wasm`. Both compute the same bits.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod config;
pub mod convert;
pub mod error;
pub mod files;
pub mod model;
pub mod request;
pub mod synthetic;
pub mod template;
pub mod tokenizer;
