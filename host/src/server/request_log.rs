//! One log line and one count per request, written when its answer is over, however it ended.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use hyper::header::HeaderValue;
use hyper::{Method, Request, StatusCode};
use sterna_http_rules::path;

use crate::engine_import::TokenCount;
use crate::metrics::{Metrics, Reject, RequestLabels};

/// Paths that get a label of their own in the metrics.
const ROUTES: [&str; 23] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/models",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/api/version",
    "/api/tags",
    "/api/ps",
    "/api/show",
    "/api/chat",
    "/api/generate",
    "/api/embed",
    "/api/embeddings",
    "/tokenize",
    "/detokenize",
    "/apply-template",
    "/openapi.json",
    "/health",
    "/livez",
    "/readyz",
    "/metrics",
];

/// nginx's status for a client that left before it was answered.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The label of a path; with `/v1` and without it are one route.
fn label(normal: &str) -> &'static str {
    let bare = |path: &str| path.strip_prefix("/v1").unwrap_or(path).to_owned();
    let found = ROUTES.into_iter().find(|route| *route == normal);
    let found = found.or_else(|| ROUTES.into_iter().find(|route| bare(route) == bare(normal)));
    found.unwrap_or("other")
}

/// Lives as long as its request; its drop writes the line.
pub(super) struct RequestLog {
    method: Method,
    path: String,
    /// Checked; see `request_id.rs`.
    id: String,
    route: &'static str,
    started: Instant,
    status: Option<StatusCode>,
    complete: bool,
    tokens: Arc<TokenCount>,
    metrics: Arc<Metrics>,
    refused: Option<Reject>,
}

impl RequestLog {
    pub(super) fn new<B>(request: &Request<B>, id: &HeaderValue, metrics: Arc<Metrics>) -> Self {
        let path = request.uri().path();
        let normal = path::normal(path);
        metrics.in_flight.inc();
        RequestLog {
            method: request.method().clone(),
            route: label(&normal),
            id: id.to_str().unwrap_or_default().to_owned(),
            // A hostile path may be long; a log line need not.
            path: path.chars().take(128).collect(),
            started: Instant::now(),
            status: None,
            complete: false,
            tokens: Arc::default(),
            metrics,
            refused: None,
        }
    }

    /// The counter of the request's tokens.
    pub(super) fn tokens(&self) -> Arc<TokenCount> {
        Arc::clone(&self.tokens)
    }

    /// The status is decided.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// It does not reach the component.
    pub(super) fn refused(&mut self, reason: Reject) {
        self.refused = Some(reason);
    }

    /// The answer's last byte was handed over.
    pub(super) fn completed(&mut self) {
        self.complete = true;
    }
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        let elapsed = self.started.elapsed();
        let status = self
            .status
            .map_or(CLIENT_CLOSED_REQUEST, |status| status.as_u16());
        if let Some(reason) = self.refused.or(Reject::of_status(status)) {
            self.metrics.rejected(reason);
        }
        self.metrics.request(
            RequestLabels {
                route: self.route,
                status,
            },
            elapsed.as_secs_f64(),
        );
        let ms = elapsed.as_millis();
        let prompt_tokens = self.tokens.prompt.load(Relaxed);
        let completion_tokens = self.tokens.completion.load(Relaxed);
        let (method, path, id) = (&self.method, &self.path, &self.id);
        if !self.complete {
            tracing::info!(%method, path, status, ms, prompt_tokens, completion_tokens, id, "request cut short");
        } else if matches!(self.route, "/livez" | "/readyz" | "/health" | "/metrics") {
            // Probes come every few seconds, from every node.
            tracing::debug!(%method, path, status, ms, id, "request");
        } else {
            tracing::info!(%method, path, status, ms, prompt_tokens, completion_tokens, id, "request");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_label_with_v1_and_without_it() {
        for (path, expected) in [
            ("/v1/chat/completions", "/v1/chat/completions"),
            ("/chat/completions", "/v1/chat/completions"),
            ("/tokenize", "/tokenize"),
            ("/v1/tokenize", "/tokenize"),
            ("/v1/health", "/health"),
            ("/v1", "other"),
            ("", "other"),
            ("/chat", "other"),
        ] {
            assert_eq!(label(path), expected, "{path}");
        }
    }
}
