//! `/livez` and `/readyz`: answered here, without component, engine or queue, so that no load delays them.

use hyper::{Response, StatusCode};
use serde_json::json;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::answer;
use super::lifecycle::Phase;
use crate::engine_actor::EngineHandle;
use crate::metrics::Metrics;

const JSON: &str = "application/json";

/// Whether the process is worth keeping: only a restart brings back an engine that does not start again. A server that
/// loads or drains is worth keeping.
pub(super) fn live(engine: Option<&EngineHandle>) -> Response<HyperOutgoingBody> {
    let live = engine.is_none_or(EngineHandle::is_running);
    let body = json!({ "live": live, "reason": (!live).then_some("the engine has stopped and does not start again; see the server's log") });
    answer::text(status(live), JSON, body.to_string())
}

/// Whether requests are wanted, and if not, why not.
pub(super) fn ready(
    phase: Phase,
    engine: Option<&EngineHandle>,
    metrics: &Metrics,
) -> Response<HyperOutgoingBody> {
    let unready = unready(phase, engine, metrics);
    let (queued, queue_limit) = metrics.queue();
    let info = engine.map(EngineHandle::info);
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

/// What keeps requests away; `None` where they are wanted. The model is there only after its kernels passed their test.
pub(super) fn unready(
    phase: Phase,
    engine: Option<&EngineHandle>,
    metrics: &Metrics,
) -> Option<&'static str> {
    match phase {
        Phase::Loading => return Some("loading: the model is not there yet"),
        Phase::Draining | Phase::Closing => return Some("draining: the server was told to stop"),
        Phase::Serving => {}
    }
    if !engine.is_some_and(EngineHandle::is_running) {
        return Some("engine: it has stopped and does not start again; see the server's log");
    }
    metrics
        .queue_is_full()
        .then_some("queue_full: as many requests wait as may")
}

fn status(good: bool) -> StatusCode {
    if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}
