//! Why a request is refused before the component sees it, as an answer and as a count.

use hyper::header::{CONNECTION, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::key_limits::Exceeded;
use super::lifecycle::Phase;
use super::{Limits, answer};
use crate::metrics::Reject;

/// Seconds after which to try again. Another server can be asked at once; here a place may be free
/// after any of the running requests. The queue's own refusal, which the engine makes, has an
/// estimate.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

/// A refusal in OpenAI's shape. It ends the connection where that is the point.
pub(super) fn refuse(reason: Reject) -> Response<HyperOutgoingBody> {
    let (status, message) = match reason {
        Reject::Loading => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the model is being loaded; GET /readyz says when it is there",
        ),
        Reject::Draining => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the server is stopping; send the request to another one",
        ),
        Reject::Connections => (
            StatusCode::SERVICE_UNAVAILABLE,
            "all connections are taken (--max-connections)",
        ),
        Reject::Memory => (
            StatusCode::TOO_MANY_REQUESTS,
            "no memory is left for another request, or for one of this size; try again",
        ),
        _ => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the engine has stopped and does not start again; see the server's log",
        ),
    };
    let code = match reason {
        Reject::Memory => "overloaded",
        _ => "unavailable",
    };
    let mut response = answer::error(status, code, message);
    response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S);
    if matches!(reason, Reject::Draining | Reject::Connections) {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

/// The request's key has no more.
pub(super) fn of_key(exceeded: Exceeded) -> Response<HyperOutgoingBody> {
    let (message, seconds) = match exceeded {
        Exceeded::Running(most) => (
            format!("{most} requests with this API key are being answered, as many as may be"),
            1,
        ),
        Exceeded::PerMinute { wait, .. } => (
            "as many requests with this API key began within a minute as may".to_owned(),
            wait.as_secs() + 1,
        ),
    };
    let message = format!("{message}; try again after {seconds} s");
    let status = StatusCode::TOO_MANY_REQUESTS;
    let mut response = answer::error(status, "rate_limit_exceeded", &message);
    response.headers_mut().insert(RETRY_AFTER, seconds.into());
    if let Exceeded::PerMinute { allowance, .. } = exceeded {
        allowance.tell(&mut response);
    }
    response
}

/// A body did not come in time. The connection ends, since the rest of the body would be taken for
/// a request.
pub(super) fn too_slow(limits: &Limits) -> Response<HyperOutgoingBody> {
    let message = format!(
        "the body did not come in time: {} s without a byte (--body-idle-timeout), or {} s in all \
         (--body-timeout)",
        limits.body_idle_timeout.as_secs(),
        limits.body_timeout.as_secs(),
    );
    let mut response = answer::error(StatusCode::REQUEST_TIMEOUT, "request_timeout", &message);
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}

/// Why no request is taken in this phase.
pub(super) fn of_phase(phase: Phase) -> Reject {
    match phase {
        Phase::Loading => Reject::Loading,
        _ => Reject::Draining,
    }
}
