//! The engine's errors as a client reads them.

use super::{ApiError, Overflow};
use crate::{engine, http::Header};

impl ApiError {
    /// The engine's errors, one to one. `prompt` is the field in which the client sent the prompt.
    pub fn from_engine(error: engine::Error, prompt: &str) -> Self {
        match error {
            engine::Error::InvalidRequest(at) => {
                let param = openai_field(&at.field, prompt);
                let message = format!(
                    "Invalid value for '{param}': {}.",
                    at.message.trim_end_matches('.')
                );
                Self::field("invalid_value", param, message)
            }
            engine::Error::ContextOverflow(at) => {
                let overflow = Some(Overflow {
                    limit: at.limit,
                    needed: at.requested,
                });
                let message = if prompt.starts_with("input") {
                    format!(
                        "The input is too large: this model's context has {} positions, but it needs at \
                         least {}. Shorten it, or embed its parts.",
                        at.limit, at.requested
                    )
                } else {
                    format!(
                        "This model's context has {} positions, but the request needs at least {} \
                         for its prompt and one token. Shorten the prompt.",
                        at.limit, at.requested
                    )
                };
                ApiError {
                    overflow,
                    ..Self::field("context_length_exceeded", prompt.into(), message)
                }
            }
            engine::Error::UnknownModel(id) => Self::unknown_model(&id, []),
            engine::Error::Overloaded(retry_after_ms) => {
                // The header has no unit below the second; 0 would invite an immediate retry.
                let seconds = u64::from(retry_after_ms.div_ceil(1000).max(1));
                let message = format!("The server is at its limit. Try again in {seconds} s.");
                let header = Some(Header::number("retry-after", seconds));
                ApiError {
                    header,
                    ..Self::new(429, Some("overloaded"), message)
                }
            }
            engine::Error::TimedOut => Self::timed_out(),
            engine::Error::Unavailable(reason) => Self::unavailable(&reason),
            engine::Error::Internal(reason) => Self::internal(&reason),
        }
    }
}

/// A field of `wit/engine.wit`'s `request` under the name OpenAI's schema has for it:
/// `sampling.top-p` is `top_p`, and the prompt of a chat is `messages`.
fn openai_field(wit_field: &str, prompt: &str) -> String {
    match wit_field {
        "stop-tokens" => return "stop_token_ids".into(),
        "allowed-tokens" => return "allowed_token_ids".into(),
        "truncate-prompt" => return "truncate_prompt_tokens".into(),
        _ => {}
    }
    let field = wit_field
        .strip_prefix("sampling.")
        .unwrap_or(wit_field)
        .replace('-', "_");
    match field.strip_prefix("prompt") {
        Some(rest) if rest.starts_with(".tools") => rest[1..].to_owned(),
        Some(rest) if rest.starts_with(".template_kwargs") => format!("chat_{}", &rest[1..]),
        // `prompt.messages[3].role` names the list itself.
        Some(rest) if rest.starts_with(".messages") => rest[1..].to_owned(),
        Some(rest) if rest.is_empty() || rest.starts_with(['.', '[']) => {
            format!("{prompt}{rest}")
        }
        _ => field,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{ContextOverflow, Error, InvalidRequest};

    #[test]
    fn engine_errors_have_one_status_each() {
        let cases = [
            (
                Error::InvalidRequest(InvalidRequest {
                    field: "stop".into(),
                    message: "empty".into(),
                }),
                400,
            ),
            (
                Error::ContextOverflow(ContextOverflow {
                    limit: 8,
                    requested: 9,
                }),
                400,
            ),
            (Error::UnknownModel("x".into()), 404),
            (Error::Overloaded(1), 429),
            (Error::Unavailable("draining".into()), 503),
            (Error::TimedOut, 504),
            (Error::Internal("NaN".into()), 500),
        ];
        for (error, status) in cases {
            assert_eq!(ApiError::from_engine(error, "messages").status, status);
        }
    }

    #[test]
    fn retry_after_rounds_up_to_whole_seconds() {
        for (ms, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (u32::MAX, 4_294_968)] {
            let error = ApiError::from_engine(Error::Overloaded(ms), "prompt");
            assert_eq!(error.header, Some(Header::number("retry-after", seconds)));
        }
    }

    #[test]
    fn wit_fields_take_openai_names() {
        let names = [
            ("sampling.top-p", "top_p", "top_p"),
            ("max-tokens", "max_tokens", "max_tokens"),
            ("stop-tokens", "stop_token_ids", "stop_token_ids"),
            ("allowed-tokens", "allowed_token_ids", "allowed_token_ids"),
            (
                "truncate-prompt",
                "truncate_prompt_tokens",
                "truncate_prompt_tokens",
            ),
            ("prompt-logprobs", "prompt_logprobs", "prompt_logprobs"),
            ("prompt", "messages", "prompt"),
            (
                "prompt.messages[3].role",
                "messages[3].role",
                "messages[3].role",
            ),
            ("prompt[1]", "messages[1]", "prompt[1]"),
            ("prompt.tools", "tools", "tools"),
            (
                "prompt.template-kwargs.bos_token",
                "chat_template_kwargs.bos_token",
                "chat_template_kwargs.bos_token",
            ),
            ("prompter", "prompter", "prompter"),
        ];
        for (wit, chat, text) in names {
            assert_eq!(openai_field(wit, "messages"), chat);
            assert_eq!(openai_field(wit, "prompt"), text);
        }
    }
}
