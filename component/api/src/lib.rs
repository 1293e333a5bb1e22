//! HTTP in, SSE out: the OpenAI-compatible API, for components that know no model: one for WASI 0.2
//! (`component/api-p2`) and one for WASI 0.3 (`component/api-p3`), which are the thin layers that
//! touch WASI.
//!
//! The path of a request: the world outside -> `route/` (method and path) -> `auth.rs` (whence,
//! whose) -> `completion.rs` -> `body.rs` (bytes, not too many) -> `known/` (which fields there
//! are) -> `fields.rs`, `params/`, `messages/`, `tools.rs`, `thinking.rs`, `prompt.rs` (OpenAI's
//! schema, into the engine's request) -> `choices/` (one generation or several for each prompt) ->
//! `engine.rs` (the contract in `wit/`) -> `parts/` (reasoning, text, calls) -> `answer.rs` (whole)
//! or `stream/` (events), and `reply.rs`. Every fault becomes an
//! HTTP status in `error.rs`. The chat page at `/` is in `page.rs`, `/v1/embeddings` in
//! `embeddings/`.
//!
//! Decisions that OpenAI's documentation leaves open:
//!
//! - A missing or empty `model` asks the default model, the first of `GET /v1/models`.
//! - Without `max_tokens` a completion may fill the context; OpenAI's default of 16 is not used.
//! - The text parts of one message are joined by a line break.
//! - Fields that would change the answer and cannot be honoured (`mirostat`, ...) are refused by
//!   name, and so are unknown ones; those that other servers and clients are known for are in
//!   `known/table.rs` and `docs/api.md`.
//! - The choices of a list of prompts are streamed one after the other, those of one prompt in
//!   turns.
//! - A body without `Content-Type` is taken for JSON; one that says it is something else is refused
//!   (415).
//! - A body that is JSON but no object is 422; every other wrong body is 400.
//! - Pages of other origins may call the API only where a key is asked for, or where the operator
//!   opens it to them. Else no response has CORS headers, and a request that is more than reading
//!   is refused (403) if a browser says that it comes from such a page: a body without
//!   `Content-Type` would need no preflight.
//! - A slash too many at the start, at the end or within a path makes no difference.
//!
//! The operator's settings come from `wit/config.wit` with each request; `settings.rs` has the
//! types.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod answer;
pub mod auth;
pub mod body;
pub mod call_grammar;
pub mod choices;
pub mod chosen;
pub mod clock;
pub mod collected;
pub mod completion;
pub mod deadline;
pub mod embeddings;
pub mod engine;
pub mod error;
pub mod fields;
pub mod http;
pub mod json;
pub mod kind;
pub mod known;
pub mod llama_cpp;
pub mod logprobs;
pub mod messages;
pub mod messages_api;
pub mod models;
pub mod ollama;
pub mod openapi;
pub mod page;
pub mod params;
pub mod partial_json;
pub mod parts;
pub mod prompt;
pub mod raw;
pub mod reply;
pub mod responses;
pub mod resume;
pub mod route;
pub mod settings;
pub mod stamp;
pub mod stream;
pub mod structured;
#[cfg(test)]
mod testing;
pub mod thinking;
pub mod timings;
pub mod tokens;
pub mod tools;
pub mod translated;

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

/// Run a future that never waits without blocking its thread, as all are under WASI 0.2 and in
/// tests.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            return value;
        }
    }
}
