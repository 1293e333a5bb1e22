//! Everything that can go wrong, each with the name of what is at fault and the remedy.
//!
//! `LoadError` is about files and is met once, at start; `EngineError` is about requests and maps
//! one to one to `wit/engine.wit`'s `error`.
//!
//! Text from a file or a request may be of any size; [`brief`] makes every text fit a log line.

use std::path::PathBuf;

use sterna_errors::brief;

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file is absent or unreadable.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The path is neither a GGUF file nor a Hugging Face directory.
    #[error("{path} is no model: {}", brief(reason))]
    NotAModel {
        /// The path as given.
        path: PathBuf,
        /// The missing item and how to give it.
        reason: String,
    },
    /// The container (GGUF header, safetensors header, JSON) is damaged.
    #[error("{path}: damaged file: {}", brief(reason))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The place, and what was expected there.
        reason: String,
    },
    /// A configuration key is absent or has a value the engine cannot use.
    #[error("configuration key `{}`: {}", brief(key), brief(reason))]
    Config {
        /// The key as the file names it.
        key: String,
        /// The fault, and what is supported.
        reason: String,
    },
    /// A tensor is absent, misshapen, or of a type the engine cannot read.
    #[error("tensor `{}`: {}", brief(tensor), brief(reason))]
    Tensor {
        /// The tensor as the file names it.
        tensor: String,
        /// The fault and its remedy.
        reason: String,
    },
    /// The tokenizer cannot be used.
    #[error("tokenizer: {}", brief(.0))]
    Tokenizer(String),
}

/// Why a request failed; one to one with `wit/engine.wit`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// A field of the request is wrong.
    #[error("{}: {}", brief(field), brief(message))]
    InvalidRequest {
        /// The field as WIT names it, for example `sampling.top-p`.
        field: String,
        /// The fault and its remedy.
        message: String,
    },
    /// Prompt and completion do not fit the context.
    #[error("the prompt needs {requested} positions with its completion, the model has {limit}")]
    ContextOverflow {
        /// Positions the model has.
        limit: u32,
        /// Positions asked for.
        requested: u32,
    },
    /// The queue is full.
    #[error("the queue is full; try again in {retry_after_ms} ms")]
    Overloaded {
        /// When to try again.
        retry_after_ms: u32,
    },
    /// Its time was over before it was complete.
    #[error("the request's time is over")]
    TimedOut,
    /// Stopping, or not ready.
    #[error("unavailable: {}", brief(.0))]
    Unavailable(String),
    /// A fault in the engine or the model's numbers.
    #[error("internal error: {}", brief(.0))]
    Internal(String),
}
