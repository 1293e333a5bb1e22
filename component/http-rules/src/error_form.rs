//! The form in which the clients of a path expect errors.

use crate::path;

/// The form of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorForm {
    /// `{"error": {"message", "type", "param", "code"}}`
    OpenAi,
    /// `{"type": "error", "error": {"type", "message"}, "request_id"}`
    Anthropic,
    /// `{"error": MESSAGE}`
    Ollama,
    /// `{"error": {"code", "message", "type", "param"}}`
    LlamaCpp,
}

impl ErrorForm {
    /// Of a request to this path, without its query.
    #[must_use]
    pub fn of(path: &str) -> Self {
        let normal = path::normal(path);
        match normal.strip_prefix("/v1").unwrap_or(&normal) {
            "/messages" | "/messages/count_tokens" => ErrorForm::Anthropic,
            _ if normal.starts_with("/api/") => ErrorForm::Ollama,
            _ if matches!(normal.as_str(), "/completion" | "/props") => ErrorForm::LlamaCpp,
            _ => ErrorForm::OpenAi,
        }
    }
}

/// The type that OpenAI's errors of a status have.
#[must_use]
pub fn openai_type(status: u16) -> &'static str {
    match status {
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

/// The type that Anthropic's errors of a status have.
#[must_use]
pub fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        504 => "timeout_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

/// The type that errors of a status have in llama.cpp's server.
#[must_use]
pub fn llama_cpp_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        501 => "not_supported_error",
        503 => "unavailable_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_api_has_its_form() {
        for (path, form) in [
            ("/v1/messages", ErrorForm::Anthropic),
            ("//messages/", ErrorForm::Anthropic),
            ("/v1/messages/count_tokens", ErrorForm::Anthropic),
            ("/v1/messages/batches", ErrorForm::OpenAi),
            ("/api/chat", ErrorForm::Ollama),
            ("/api", ErrorForm::OpenAi),
            ("/completion", ErrorForm::LlamaCpp),
            ("/v1/completion", ErrorForm::OpenAi),
            ("/v1/chat/completions", ErrorForm::OpenAi),
            ("/", ErrorForm::OpenAi),
        ] {
            assert_eq!(ErrorForm::of(path), form, "{path}");
        }
    }
}
