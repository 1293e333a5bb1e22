//! The engine's tests in one program, so that one is linked: a module a subject.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod chat;
mod constraints;
mod demo;
mod embedding_models;
mod embeddings;
mod endings;
mod families;
mod fixtures;
mod inspect;
mod jinja;
mod layouts;
mod perplexity;
mod prefix_cache;
mod probabilities;
mod qwen3;
mod requests;
mod resumed;
mod same_bits;
mod scheduling;
mod scripted;
mod sentencepiece;
mod settling;
mod shapes;
mod skipped_zeros;
mod speculation;
mod stops;
mod support;
mod token_rules;
mod tokenizer;
mod tokenizer_input;
