//! Decides who answers a request: the host (probes, metrics, while stopping) or the component.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ACCEPT, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::answer::{self, Answer};
use super::body::TimedBody;
use super::lifecycle::Lifecycle;
use super::request_log::RequestLog;
use crate::api_component::{ApiComponent, GuestTask};
use crate::metrics::{Exposition, Metrics};

/// One per server; clones are handed to the connections.
#[derive(Clone)]
pub(super) struct Service {
    api: ApiComponent,
    metrics: Arc<Metrics>,
    lifecycle: Arc<Lifecycle>,
    body_timeout: Duration,
}

type Answered = (Response<HyperOutgoingBody>, Option<GuestTask>);

impl Service {
    pub(super) fn new(
        api: ApiComponent,
        metrics: Arc<Metrics>,
        lifecycle: Arc<Lifecycle>,
        body_timeout: Duration,
    ) -> Self {
        Service {
            api,
            metrics,
            lifecycle,
            body_timeout,
        }
    }

    async fn answer(&self, request: Request<Incoming>, log: &RequestLog) -> Answered {
        if let Some(response) = self.host_route(&request) {
            return (response, None);
        }
        if !self.lifecycle.is_serving() {
            return (answer::stopping(), None);
        }
        self.component(request, log).await
    }

    /// What operators ask; it works without the component.
    fn host_route(&self, request: &Request<Incoming>) -> Option<Response<HyperOutgoingBody>> {
        let path = request.uri().path();
        if !matches!(path, "/livez" | "/readyz" | "/metrics") {
            return None;
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return Some(answer::error(
                status,
                "method_not_allowed",
                &format!("{path} takes GET"),
            ));
        }
        Some(match path {
            "/metrics" => {
                let accept = request.headers().get(ACCEPT);
                let accept = accept.and_then(|accept| accept.to_str().ok());
                let exposition = Exposition::accepted(accept);
                let text = self.metrics.render(exposition);
                answer::text(StatusCode::OK, exposition.content_type(), text)
            }
            _ if !self.api.engine().is_running() => {
                let message =
                    "the engine has stopped and does not start again; see the server's log";
                answer::error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
            }
            _ if self.lifecycle.is_serving() => {
                answer::text(StatusCode::OK, "text/plain", "ok\n".into())
            }
            _ => answer::stopping(),
        })
    }

    async fn component(&self, mut request: Request<Incoming>, log: &RequestLog) -> Answered {
        // WASI wants an authority; HTTP/1.0 clients may name none.
        let host = request
            .headers_mut()
            .entry(HOST)
            .or_insert(HeaderValue::from_static("localhost"));
        if host.to_str().is_err() {
            return (
                answer::error(
                    StatusCode::BAD_REQUEST,
                    "invalid_host",
                    "the Host header is no text",
                ),
                None,
            );
        }
        let request = request.map(|body| TimedBody::new(body, self.body_timeout));
        match self.api.handle(request, log.tokens()).await {
            Ok((response, guest)) => (response, Some(guest)),
            Err(error) => {
                tracing::error!("{error:#}");
                let message = "the server failed; its log says why";
                (
                    answer::error(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message),
                    None,
                )
            }
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let in_flight = service.lifecycle.enter_request();
            let log = RequestLog::new(&request, Arc::clone(&service.metrics), in_flight);
            let (response, guest) = service.answer(request, &log).await;
            Ok(Answer::new(response, guest, log))
        })
    }
}
