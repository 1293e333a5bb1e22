//! Errors in the forms of the APIs that are not OpenAI's.

use super::ApiError;
use crate::json::to_json;
use serde_json::{Value, json};
use sterna_http_rules::error_form::{anthropic_type, llama_cpp_type};

/// The form in which an API's clients expect an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `{"error": {"message", "type", "param", "code"}}`
    OpenAi,
    /// `{"type": "error", "error": {"type", "message"}, "request_id"}`
    Anthropic,
    /// `{"error": MESSAGE}`
    Ollama,
    /// `{"error": {"code", "message", "type"}}`, and of a prompt that does not fit its tokens
    LlamaCpp,
}

impl Form {
    /// An error as Anthropic's documents and events have it.
    pub fn anthropic(error: &ApiError) -> Value {
        json!({"type": anthropic_type(error.status), "message": error.message})
    }

    /// An error as the documents and events of llama.cpp's server have it.
    pub fn llama_cpp(error: &ApiError) -> Value {
        let mut document = json!({
            "code": error.status,
            "message": error.message,
            "type": llama_cpp_type(error.status),
            "param": error.param,
        });
        if let Some(overflow) = error.overflow {
            let message = &error.message;
            document["message"] =
                format!("The request exceeds the available context size. {message}").into();
            document["type"] = "exceed_context_size_error".into();
            // One of the positions is the answer's.
            document["n_prompt_tokens"] = overflow.needed.saturating_sub(1).into();
            document["n_ctx"] = overflow.limit.into();
        }
        document
    }

    /// An error in this form, of the request of this name.
    pub fn document(self, error: &ApiError, request_id: &str) -> Vec<u8> {
        match self {
            Form::OpenAi => error.to_json(),
            Form::Anthropic => to_json(&json!({
                "type": "error",
                "error": Form::anthropic(error),
                "request_id": request_id,
            })),
            Form::Ollama => to_json(&json!({ "error": error.message })),
            Form::LlamaCpp => to_json(&json!({ "error": Form::llama_cpp(error) })),
        }
    }
}
