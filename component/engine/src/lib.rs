//! The transformer of Sterna: model files, tokenizer, chat template, KV cache, scheduler, sampler.
//!
//! One crate, two forms: linked into the native host (feature `native`: threads, mapped files) and
//! compiled to `engine.wasm`. Both compute the same bits.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod bench;
#[cfg(target_arch = "wasm32")]
mod component;
pub mod config;
pub mod constraint;
pub mod convert;
pub mod engine;
pub mod error;
pub mod files;
pub mod forward;
pub mod group_scaled;
pub mod inspect;
pub mod kv;
pub mod matrix;
pub mod model;
pub mod optimisations;
pub mod options;
pub mod perplexity;
pub mod placement;
pub mod request;
pub mod sampler;
pub mod scheduler;
pub mod self_check;
pub mod synthetic;
pub mod team;
pub mod template;
pub mod tokenizer;
pub mod weights;
mod wit_types;
