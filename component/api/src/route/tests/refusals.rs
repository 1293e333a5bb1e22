//! The engine's refusals and faults as HTTP statuses.

use super::*;
use crate::engine::{ContextOverflow, Error, InvalidRequest};

#[test]
fn the_engines_refusals() {
    let invalid = InvalidRequest {
        field: "sampling.top-k".into(),
        message: "too large".into(),
    };
    for (error, status, code, param, retry_after) in [
        (
            Error::InvalidRequest(invalid),
            400,
            "invalid_value",
            Some("top_k"),
            None,
        ),
        (
            Error::ContextOverflow(ContextOverflow {
                limit: 512,
                requested: 600,
            }),
            400,
            "context_length_exceeded",
            Some("messages"),
            None,
        ),
        (
            Error::UnknownModel("org/demo".into()),
            404,
            "model_not_found",
            Some("model"),
            None,
        ),
        (Error::Overloaded(2500), 429, "overloaded", None, Some("3")),
        (
            Error::Unavailable("draining".into()),
            503,
            "unavailable",
            None,
            Some("1"),
        ),
        (
            Error::Internal("NaN".into()),
            500,
            "internal_error",
            None,
            None,
        ),
    ] {
        for stream in [false, true] {
            let mut body = hello();
            body["stream"] = json!(stream);
            let got = post(&ScriptedEngine::new(Err(error.clone())), CHAT, &body);
            assert_eq!(
                got.error(),
                (status, code.into(), param.map(str::to_owned)),
                "stream: {stream}"
            );
            assert_eq!(got.header("retry-after"), retry_after);
        }
    }
}

#[test]
fn faults_midway_fail_a_whole_answer() {
    let broken = ScriptedEngine::new(Ok(vec![text("a"), Err(Error::Internal("NaN".into()))]));
    assert_eq!(post(&broken, CHAT, &hello()).error().0, 500);
    let unfinished = ScriptedEngine::new(Ok(vec![text("a")]));
    assert_eq!(post(&unfinished, CHAT, &hello()).error().0, 500);
}
