//! Decides who answers a request: the host (probes, metrics, refusals) or the component.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use hyper::body::{Body, Incoming};
use hyper::header::{ACCEPT, CONNECTION, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use sterna_http_rules::{AllowedHosts, ErrorForm, path};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::answer::{self, Answer, Held};
use super::body::{ClientBody, Cut};
use super::client::Client;
use super::key_limits::KeyLimits;
use super::lifecycle::Lifecycle;
use super::places::Places;
use super::probes::{self, State};
use super::request_log::RequestLog;
use super::request_memory::{Promise, RequestMemory};
use super::{Limits, refusal, request_id, target};
use crate::api_component::{AnswerRoom, ApiComponent};
use crate::metrics::{Exposition, Metrics, Reject};

/// The application, which answers requests once the model is loaded.
pub(super) struct App {
    pub(super) api: ApiComponent,
    pub(super) memory: RequestMemory,
}

/// The state shared by all connections of a server.
pub(super) struct Shared {
    pub(super) app: OnceLock<App>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) lifecycle: Arc<Lifecycle>,
    pub(super) places: Arc<Places>,
    pub(super) limits: Limits,
    pub(super) hosts: AllowedHosts,
    pub(super) keys: KeyLimits,
}

/// One per connection.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) shared: Arc<Shared>,
    pub(super) client: Arc<Client>,
    /// The connection is one too many: it may probe and nothing else.
    pub(super) probes_only: bool,
}

type Answered = (Response<HyperOutgoingBody>, Held);

impl Service {
    async fn answer(&self, mut request: Request<Incoming>, log: &mut RequestLog) -> Answered {
        if let Err(why) = target::check(&mut request, &self.shared.hosts) {
            return (target::refuse(why), Held::default());
        }
        if let Some(response) = self.host_route(&request) {
            return (response, Held::default());
        }
        let (of_key, allowance) = match self.shared.keys.enter(&request, Instant::now()) {
            Ok(entered) => entered,
            Err(exceeded) => {
                log.refused(Reject::KeyLimit);
                return (refusal::of_key(exceeded), Held::default());
            }
        };
        let (mut response, held) = match self.admit().await {
            Ok((app, promise, held)) => {
                let held = Held { of_key, ..held };
                self.component(app, promise, request, log, held).await
            }
            Err(reason) => {
                log.refused(reason);
                (refusal::refuse(reason), Held::default())
            }
        };
        if let Some(allowance) = allowance {
            allowance.tell(&mut response);
        }
        (response, held)
    }

    /// Admits a request to the component, with the resources it holds meanwhile.
    async fn admit(&self) -> Result<(&App, Promise, Held), Reject> {
        let shared = &self.shared;
        let in_flight = shared
            .lifecycle
            .enter_request()
            .map_err(refusal::of_phase)?;
        if self.probes_only {
            return Err(Reject::Connections);
        }
        // The phase says that it is there.
        let app = shared.app.get().ok_or(Reject::Loading)?;
        let promise = app.memory.promise().await.ok_or(Reject::Memory)?;
        let held = Held {
            in_flight: Some(in_flight),
            memory: Some(promise.clone()),
            guest: None,
            of_key: None,
        };
        Ok((app, promise, held))
    }

    /// The routes for operators, which work without the component.
    fn host_route(&self, request: &Request<Incoming>) -> Option<Response<HyperOutgoingBody>> {
        let path = path::normal(request.uri().path());
        if !matches!(path.as_str(), "/livez" | "/readyz" | "/metrics") {
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
        let state = State::of(&self.shared, self.probes_only);
        Some(match path.as_str() {
            "/livez" => probes::live(&state),
            "/readyz" => probes::ready(&state),
            _ => {
                let accept = request.headers().get(ACCEPT);
                let accept = accept.and_then(|accept| accept.to_str().ok());
                let exposition = Exposition::accepted(accept);
                let metrics = &self.shared.metrics;
                metrics.ready(state.unready().is_none());
                let text = metrics.render(exposition);
                answer::text(StatusCode::OK, exposition.content_type(), text)
            }
        })
    }

    async fn component(
        &self,
        app: &App,
        promise: Promise,
        request: Request<Incoming>,
        log: &mut RequestLog,
        held: Held,
    ) -> Answered {
        let longest = app.api.max_body_bytes();
        let growth = app.memory.growth(&promise, self.client.clone(), longest);
        let limits = &self.shared.limits;
        let request = request.map(|body| {
            let client = self.client.clone();
            ClientBody::new(body, client, growth, limits)
        });
        let cut = request.body().cut();
        // What is told once the answer has begun is sent, and not collected.
        let begun = Arc::new(AtomicBool::new(false));
        let has_begun = Arc::clone(&begun);
        let room: AnswerRoom = Arc::new(move |bytes| {
            let (promise, is_sent) = (promise.clone(), has_begun.load(Relaxed));
            Box::pin(async move { is_sent || promise.more(bytes).await })
        });
        let answer = app.api.handle(request, log.tokens(), Some(room)).await;
        begun.store(true, Relaxed);
        match answer {
            // The guest sees only that the body broke off.
            Ok((response, _))
                if response.status() == StatusCode::BAD_REQUEST && cut.get().is_some() =>
            {
                let response = match cut.get() {
                    Some(Cut::Memory) => {
                        log.refused(Reject::Memory);
                        refusal::refuse(Reject::Memory)
                    }
                    _ => refusal::too_slow(limits),
                };
                (response, held)
            }
            Ok((response, guest)) => {
                let guest = Some(guest);
                (response, Held { guest, ..held })
            }
            Err(error) => {
                tracing::error!("{}", sterna_errors::chain(error.as_ref()));
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

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let service = self.clone();
        self.client.sent_head(!request.body().is_end_stream());
        Box::pin(async move {
            let id = request_id::name(&mut request);
            let mut log = RequestLog::new(&request, &id, Arc::clone(&service.shared.metrics));
            let form = ErrorForm::of(request.uri().path());
            let (response, held) = service.answer(request, &mut log).await;
            let mut response = answer::in_form(response, form, &id);
            request_id::put(&mut response, id);
            if service.probes_only {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            Ok(Answer::new(response, held, log, service.client))
        })
    }
}
