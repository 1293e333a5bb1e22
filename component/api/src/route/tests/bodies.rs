//! Bodies that are no request, and fields that are wrong.

use super::*;

#[test]
fn bodies_that_are_no_request() {
    let engine = story();
    let deep = "[".repeat(100_000);
    for (body, status, code) in [
        ("", 400, "invalid_json"),
        ("{", 400, "invalid_json"),
        ("{\"messages\": NaN}", 400, "invalid_json"),
        ("{\"temperature\": 1e999}", 400, "invalid_json"),
        ("{} {}", 400, "invalid_json"),
        (deep.as_str(), 400, "invalid_json"),
        ("[]", 422, "invalid_type"),
        ("\"hi\"", 422, "invalid_type"),
        ("null", 422, "invalid_type"),
        ("{}", 400, "missing_required_parameter"),
    ] {
        let (got_status, got_code, _) = send(&engine, "POST", CHAT, body.as_bytes()).error();
        assert_eq!(
            (got_status, got_code.as_str()),
            (status, code),
            "{}",
            &body[..body.len().min(40)]
        );
    }
    let (status, ..) = send(&engine, "POST", CHAT, b"{\"messages\": \"\xff\"}").error();
    assert_eq!(status, 400);
    assert!(engine.asked.borrow().is_empty(), "the engine was bothered");
}

#[test]
fn bodies_that_are_too_long() {
    let engine = story();
    let limit = u64::from(settings().max_body_bytes);
    let declared = Head {
        method: "POST".into(),
        path: TEXT.into(),
        content_length: Some(limit + 1),
        ..Head::default()
    };
    assert_eq!(ask(&engine, &declared, b"{}").error().0, 413);
    let long = vec![b' '; limit as usize + 1];
    assert_eq!(send(&engine, "POST", TEXT, &long).error().0, 413);
}

#[test]
fn content_types() {
    let engine = story();
    let body = hello().to_string();
    for (content_type, status) in [
        (None, 200),
        (Some("application/json"), 200),
        (Some("Application/JSON ; charset=utf-8"), 200),
        (Some("application/vnd.api+json"), 200),
        (Some("application/x-www-form-urlencoded"), 415),
        (Some("text/plain"), 415),
        (Some(""), 415),
    ] {
        let content_type = content_type.map(str::to_owned);
        let head = Head {
            method: "POST".into(),
            path: CHAT.into(),
            content_type,
            ..Head::default()
        };
        assert_eq!(
            ask(&engine, &head, body.as_bytes()).status,
            status,
            "{:?}",
            head.content_type
        );
    }
}

#[test]
fn fields_are_named() {
    let engine = story();
    for (path, field, value, param) in [
        (CHAT, "temperature", json!(-1), "temperature"),
        (CHAT, "max_tokens", json!(0), "max_tokens"),
        (CHAT, "n", json!(129), "n"),
        (
            CHAT,
            "messages",
            json!([{"role": "wizard", "content": "x"}]),
            "messages[0].role",
        ),
        (TEXT, "logprobs", json!(21), "logprobs"),
        (TEXT, "prompt", json!(["a", []]), "prompt[1]"),
        (CHAT, "prompt", json!("a"), "prompt"),
        (TEXT, "messages", json!([]), "messages"),
        (CHAT, "colour", json!(1), "colour"),
        (TEXT, "colour", json!(false), "colour"),
    ] {
        let mut body = if path == CHAT {
            hello()
        } else {
            json!({"prompt": "x"})
        };
        body[field] = value;
        let (status, _, named) = post(&engine, path, &body).error();
        assert_eq!((status, named.as_deref()), (400, Some(param)));
    }
}
