//! `/livez` and `/readyz`: answered here, without component, engine or queue, so that no load
//! delays them.

use hyper::{Response, StatusCode};
use serde_json::json;
use sterna_engine::request::ModelInfo;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::answer;
use super::lifecycle::Phase;
use super::service::Shared;
use crate::engine::handle::EngineHandle;
use crate::engine::health::EngineState;

const JSON: &str = "application/json";
const STOPPED: &str = "engine: it has stopped and does not start again; see the server's log";
const STUCK: &str =
    "engine: it has not come back from a step for longer than --step-timeout; see the server's log";
const RESTING: &str =
    "engine: it failed several times in a row and starts again after a pause; see the server's log";

/// The state that probes report.
pub(super) struct State<'a> {
    server: &'a Shared,
    phase: Phase,
    /// Of all models that are loaded, the default one's first.
    engines: Vec<EngineHandle>,
    /// The default model, once it was loaded.
    model: Option<ModelInfo>,
    /// The probe came on a connection beyond the limit.
    probes_only: bool,
}

impl<'a> State<'a> {
    /// As it is now.
    pub(super) fn of(server: &'a Shared, probes_only: bool) -> Self {
        let models = server.app.get().map(|app| app.api.models());
        State {
            server,
            probes_only,
            phase: server.lifecycle.phase(),
            engines: models.map_or_else(Vec::new, |models| models.loaded()),
            model: models.and_then(|models| models.default_info()),
        }
    }

    /// The state of the engine that is worst off. Where none is loaded, the next request has one
    /// loaded.
    fn worst(&self) -> EngineState {
        let states = self.engines.iter().map(EngineHandle::state);
        states.max().unwrap_or(EngineState::Well)
    }

    /// The reason why requests are not wanted; `None` where they are. The model is there only after
    /// its kernels passed their test.
    pub(super) fn unready(&self) -> Option<&'static str> {
        match self.phase {
            Phase::Loading => return Some("loading: the model is not there yet"),
            Phase::Draining | Phase::Closing => {
                return Some("draining: the server was told to stop");
            }
            Phase::Serving => {}
        }
        match self.worst() {
            EngineState::Well => {}
            EngineState::Resting => return Some(RESTING),
            EngineState::Stuck => return Some(STUCK),
            EngineState::Stopped => return Some(STOPPED),
        }
        if self.engines.iter().any(EngineHandle::model_has_changed) {
            return Some(
                "model_changed: a file of the model was written to or cut short while it is in use; see the \
                 server's log, and start again",
            );
        }
        if self.server.metrics.queue_is_full() {
            return Some("queue_full: as many requests wait as may");
        }
        if self
            .server
            .app
            .get()
            .is_some_and(|app| app.memory.is_full())
        {
            return Some("memory_full: running requests hold all memory there is for requests");
        }
        // A probe that got an ordinary place shows that there was one.
        let busy = self.probes_only && self.server.places.are_all_busy();
        busy.then_some("connections_full: on all connections there may be, a request is running")
    }
}

/// Answers the liveness probe: only a restart brings back an engine that does not start again, or
/// is stuck. A server that loads or drains is worth keeping.
pub(super) fn live(state: &State<'_>) -> Response<HyperOutgoingBody> {
    let reason = match state.worst() {
        EngineState::Stopped => Some(STOPPED),
        EngineState::Stuck => Some(STUCK),
        // It starts again by itself.
        EngineState::Resting | EngineState::Well => None,
    };
    let live = reason.is_none();
    let body = json!({ "live": live, "reason": reason });
    answer::text(status(live), JSON, body.to_string())
}

/// Answers the readiness probe: ready, or the reason why not.
pub(super) fn ready(state: &State<'_>) -> Response<HyperOutgoingBody> {
    let unready = state.unready();
    let (queued, queue_limit) = state.server.metrics.queue();
    let info = state.model.as_ref();
    let body = json!({
        "ready": unready.is_none(),
        "reason": unready,
        "model": info.map(|info| &info.id),
        "isa": info.map(|info| &info.isa),
        "queued": queued,
        "queue_limit": queue_limit,
    });
    answer::text(status(unready.is_none()), JSON, body.to_string())
}

fn status(good: bool) -> StatusCode {
    if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}
