//! Decides who answers a request: the host (probes, metrics, refusals) or the component.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONNECTION, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::answer::{self, Answer, Held};
use super::body::TimedBody;
use super::lifecycle::Lifecycle;
use super::request_log::RequestLog;
use super::request_memory::RequestMemory;
use super::{probes, refusal};
use crate::api_component::ApiComponent;
use crate::engine_actor::EngineHandle;
use crate::metrics::{Exposition, Metrics, Reject};

/// What answers requests once the model is there.
pub(super) struct App {
    pub(super) api: ApiComponent,
    pub(super) memory: RequestMemory,
}

/// One per server; clones are handed to the connections.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) app: Arc<OnceLock<App>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) lifecycle: Arc<Lifecycle>,
    pub(super) body_timeout: Duration,
    /// The connection is one too many: it may probe and nothing else.
    pub(super) probes_only: bool,
}

type Answered = (Response<HyperOutgoingBody>, Held);

impl Service {
    fn engine(&self) -> Option<&EngineHandle> {
        self.app.get().map(|app| app.api.engine())
    }

    async fn answer(&self, request: Request<Incoming>, log: &mut RequestLog) -> Answered {
        if let Some(response) = self.host_route(&request) {
            return (response, Held::default());
        }
        match self.admit(&request) {
            Ok((app, held)) => self.component(app, request, log, held).await,
            Err(reason) => {
                log.refused(reason);
                (refusal::refuse(reason), Held::default())
            }
        }
    }

    /// Whether the component may have this request, and what it holds meanwhile.
    fn admit(&self, request: &Request<Incoming>) -> Result<(&App, Held), Reject> {
        let in_flight = self.lifecycle.enter_request().map_err(refusal::of_phase)?;
        if self.probes_only {
            return Err(Reject::Connections);
        }
        // The phase says that it is there.
        let app = self.app.get().ok_or(Reject::Loading)?;
        let promise = app.memory.promise(request, app.api.max_body_bytes());
        let held = Held {
            in_flight: Some(in_flight),
            memory: Some(promise.ok_or(Reject::Memory)?),
            guest: None,
        };
        Ok((app, held))
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
        let (phase, engine) = (self.lifecycle.phase(), self.engine());
        Some(match path {
            "/livez" => probes::live(engine),
            "/readyz" => probes::ready(phase, engine, &self.metrics),
            _ => {
                let accept = request.headers().get(ACCEPT);
                let accept = accept.and_then(|accept| accept.to_str().ok());
                let exposition = Exposition::accepted(accept);
                let unready = probes::unready(phase, engine, &self.metrics);
                self.metrics.ready(unready.is_none());
                let text = self.metrics.render(exposition);
                answer::text(StatusCode::OK, exposition.content_type(), text)
            }
        })
    }

    async fn component(
        &self,
        app: &App,
        mut request: Request<Incoming>,
        log: &RequestLog,
        held: Held,
    ) -> Answered {
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
                held,
            );
        }
        let request = request.map(|body| TimedBody::new(body, self.body_timeout));
        match app.api.handle(request, log.tokens()).await {
            Ok((response, guest)) => {
                let guest = Some(guest);
                (response, Held { guest, ..held })
            }
            Err(error) => {
                tracing::error!("{error:#}");
                let message = "the server failed; its log says why";
                (
                    answer::error(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message),
                    held,
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
            let mut log = RequestLog::new(&request, Arc::clone(&service.metrics));
            let (mut response, held) = service.answer(request, &mut log).await;
            if service.probes_only {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            Ok(Answer::new(response, held, log))
        })
    }
}
