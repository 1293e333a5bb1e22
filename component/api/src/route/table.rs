//! The routes there are, in one list: what is found by a path, and what a document of the API
//! names.

use crate::{
    error::Form,
    kind::Kind,
    llama_cpp, ollama,
    page::{self, File},
    tokens,
};
use sterna_http_rules::path;

/// The resource that a path names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Route {
    Index,
    Page(&'static File),
    OpenApi,
    Health,
    Live,
    Ready,
    Models,
    Model,
    Complete(Kind),
    Embed,
    Responses,
    Messages,
    CountTokens,
    Ollama(ollama::Asked),
    Tokens(tokens::Asked),
    CountChat,
    CountResponse,
    LlamaCpp(llama_cpp::Asked),
}

/// Paths, and what they name. `{id}` is all of the rest: published names hold slashes.
///
/// A path below `/v1` is found without it too, and one of [`ALSO_UNDER_V1`] with it.
pub(crate) const ROUTES: &[(&str, Route)] = &[
    ("/", Route::Index),
    ("/style.css", Route::Page(&page::STYLE)),
    ("/chat.js", Route::Page(&page::SCRIPT)),
    ("/openapi.json", Route::OpenApi),
    ("/health", Route::Health),
    ("/livez", Route::Live),
    ("/readyz", Route::Ready),
    ("/v1/models", Route::Models),
    ("/v1/models/{id}", Route::Model),
    ("/v1/chat/completions", Route::Complete(Kind::Chat)),
    ("/v1/completions", Route::Complete(Kind::Text)),
    ("/v1/embeddings", Route::Embed),
    ("/v1/responses", Route::Responses),
    ("/v1/messages", Route::Messages),
    ("/v1/messages/count_tokens", Route::CountTokens),
    ("/api/version", Route::Ollama(ollama::Asked::Version)),
    ("/api/tags", Route::Ollama(ollama::Asked::Tags)),
    ("/api/ps", Route::Ollama(ollama::Asked::Running)),
    ("/api/show", Route::Ollama(ollama::Asked::Show)),
    (
        "/api/chat",
        Route::Ollama(ollama::Asked::Answer(ollama::Kind::Chat)),
    ),
    (
        "/api/generate",
        Route::Ollama(ollama::Asked::Answer(ollama::Kind::Prompt)),
    ),
    ("/api/embed", Route::Ollama(ollama::Asked::Embed)),
    ("/api/embeddings", Route::Ollama(ollama::Asked::EmbedOne)),
    ("/tokenize", Route::Tokens(tokens::Asked::Tokenize)),
    ("/detokenize", Route::Tokens(tokens::Asked::Detokenize)),
    (
        "/apply-template",
        Route::Tokens(tokens::Asked::ApplyTemplate),
    ),
    ("/v1/chat/completions/input_tokens", Route::CountChat),
    ("/v1/responses/input_tokens", Route::CountResponse),
    ("/completion", Route::LlamaCpp(llama_cpp::Asked::Completion)),
    ("/props", Route::LlamaCpp(llama_cpp::Asked::Props)),
];

/// Routes of other servers that clients look for below their base address, which ends with `/v1`.
const ALSO_UNDER_V1: [&str; 5] = [
    "/openapi.json",
    "/health",
    "/tokenize",
    "/detokenize",
    "/apply-template",
];

impl Route {
    /// The route of a path, and the `{id}` in it.
    pub(crate) fn find(path: &str) -> Option<(Self, String)> {
        if !path.starts_with('/') {
            return None;
        }
        let segments = path::segments(path);
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        ROUTES.iter().find_map(|&(pattern, route)| {
            let mut patterns = vec![pattern.to_owned()];
            if let Some(short) = pattern.strip_prefix("/v1") {
                patterns.push(short.to_owned());
            }
            if ALSO_UNDER_V1.contains(&pattern) {
                patterns.push(format!("/v1{pattern}"));
            }
            let id = patterns.iter().find_map(|it| fits(it, &segments))?;
            Some((route, id))
        })
    }

    /// True if the route needs a key: the API does, but neither the page that asks for the key nor
    /// the probe.
    pub(crate) fn needs_key(self) -> bool {
        !matches!(
            self,
            Route::Index
                | Route::Page(_)
                | Route::OpenApi
                | Route::Health
                | Route::Live
                | Route::Ready
        )
    }

    /// True if it is asked with a body.
    pub(crate) fn posts(self) -> bool {
        match self {
            Route::Ollama(asked) => return asked.posts(),
            Route::LlamaCpp(asked) => return asked.posts(),
            _ => {}
        }
        matches!(
            self,
            Route::Complete(_)
                | Route::Embed
                | Route::Responses
                | Route::Messages
                | Route::CountTokens
                | Route::CountChat
                | Route::CountResponse
                | Route::Tokens(_)
        )
    }

    /// The methods it takes.
    pub(crate) fn allow(self) -> &'static str {
        if self.posts() {
            "POST, OPTIONS"
        } else {
            "GET, HEAD, OPTIONS"
        }
    }

    /// The form of its errors.
    pub(crate) fn form(self) -> Form {
        match self {
            Route::Messages | Route::CountTokens => Form::Anthropic,
            Route::Ollama(_) => Form::Ollama,
            Route::LlamaCpp(_) => Form::LlamaCpp,
            _ => Form::OpenAi,
        }
    }
}

/// The `{id}` of a path that fits the pattern, empty where it has none.
fn fits(pattern: &str, segments: &[&str]) -> Option<String> {
    let wanted: Vec<&str> = pattern.split('/').filter(|it| !it.is_empty()).collect();
    match wanted.split_last() {
        Some((&"{id}", before)) => {
            let id = segments.strip_prefix(before)?;
            (!id.is_empty()).then(|| id.join("/"))
        }
        _ => (wanted == segments).then(String::new),
    }
}
