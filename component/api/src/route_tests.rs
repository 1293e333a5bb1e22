//! Whole requests against a scripted engine: what each status is for, and what each route answers.

use super::*;
use crate::{
    body::LIMIT_BYTES,
    engine::{ContextOverflow, InvalidRequest, Message, Prompt},
    testing::{ScriptedEngine, end, text},
};
use proptest::prelude::*;
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";
const STAMP: Stamp = Stamp {
    id: 1,
    created: 1_700_000_000,
};

fn story() -> ScriptedEngine {
    ScriptedEngine::new(Ok(vec![text("Once"), text(""), end(" upon")]))
}

struct Got {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| value.as_str())
    }

    /// Status, `code` and `param` of an error, after checking its shape.
    fn error(&self) -> (u16, String, Option<String>) {
        let document = self.json();
        let error = document["error"].as_object().unwrap();
        let keys: Vec<&str> = error.keys().map(String::as_str).collect();
        assert_eq!(keys, ["code", "message", "param", "type"]);
        assert!(!error["message"].as_str().unwrap().is_empty());
        assert!(error["type"].as_str().unwrap().ends_with("_error"));
        assert_eq!(self.header("content-type"), Some("application/json"));
        (
            self.status,
            error["code"].as_str().unwrap().to_owned(),
            error["param"].as_str().map(str::to_owned),
        )
    }
}

fn ask(engine: &ScriptedEngine, head: &Head, mut body: &[u8]) -> Got {
    let reply = handle(engine, head, &mut body, STAMP);
    Got {
        status: reply.status,
        headers: reply
            .headers
            .iter()
            .map(|header| (header.name, header.value()))
            .collect(),
        body: match reply.body {
            Body::Whole(bytes) => bytes,
            Body::Events(events) => events.flatten().collect(),
        },
    }
}

fn send(engine: &ScriptedEngine, method: &str, path: &str, body: &[u8]) -> Got {
    let content_type = (!body.is_empty()).then(|| "application/json; charset=utf-8".to_owned());
    let head = Head {
        method: method.into(),
        path: path.into(),
        content_type,
        ..Head::default()
    };
    ask(engine, &head, body)
}

fn post(engine: &ScriptedEngine, path: &str, body: &Value) -> Got {
    send(engine, "POST", path, body.to_string().as_bytes())
}

fn hello() -> Value {
    json!({"messages": [{"role": "user", "content": "Hello"}]})
}

#[test]
fn a_chat_is_answered_whole() {
    let engine = story();
    let got = post(&engine, CHAT, &hello());
    assert_eq!(
        (got.status, got.header("content-type")),
        (200, Some("application/json"))
    );
    assert_eq!(
        got.json(),
        json!({
            "id": "chatcmpl-00000000000000000000000000000001",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": "org/demo",
            "system_fingerprint": concat!("sterna-", env!("CARGO_PKG_VERSION")),
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": "Once upon", "refusal": null},
                "logprobs": null,
                "finish_reason": "length",
            }],
            "usage": {
                "prompt_tokens": 3,
                "completion_tokens": 2,
                "total_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 1},
            },
        })
    );
    let asked = engine.asked.borrow();
    assert_eq!(asked[0].model, "org/demo", "the first model is the default");
    let turn = Message {
        role: "user".into(),
        content: "Hello".into(),
    };
    assert_eq!(asked[0].prompt, Prompt::Messages(vec![turn]));
}

#[test]
fn a_completion_is_answered_whole() {
    let engine = story();
    let body =
        json!({"model": "org/demo", "prompt": [1, 2], "max_tokens": 2, "stop": "x", "seed": 1});
    let document = post(&engine, TEXT, &body).json();
    assert_eq!(document["object"], "text_completion");
    assert_eq!(
        document["choices"],
        json!([{"index": 0, "text": "Once upon", "logprobs": null, "finish_reason": "length"}])
    );
    let asked = engine.asked.borrow();
    assert_eq!(asked[0].prompt, Prompt::Tokens(vec![1, 2]));
    assert_eq!(
        (asked[0].max_tokens, asked[0].sampling.seed),
        (Some(2), Some(1))
    );
    assert_eq!(asked[0].stop, ["x"]);
}

#[test]
fn streams_are_events() {
    let mut body = hello();
    body["stream"] = json!(true);
    let got = post(&story(), CHAT, &body);
    assert_eq!(
        got.header("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    assert_eq!(got.header("cache-control"), Some("no-cache"));
    let sent = String::from_utf8(got.body).unwrap();
    assert!(sent.ends_with("data: [DONE]\n\n"));
    assert_eq!(
        sent.matches("data: ").count(),
        5,
        "role, two texts, finish, end: {sent}"
    );
}

#[test]
fn models_and_their_facts() {
    let engine = story();
    let fact = json!({
        "id": "org/demo", "object": "model", "created": 1_700_000_000, "owned_by": "sterna",
        "architecture": "bitnet-b1.58", "parameters": 5_800_000, "context_length": 512, "vocab_size": 4096,
        "head_type": "f16", "isa": "scalar", "max_sequences": 4,
    });
    assert_eq!(
        send(&engine, "GET", "/v1/models", b"").json(),
        json!({"object": "list", "data": [fact]})
    );
    for path in ["/v1/models/org/demo", "/v1/models/org%2Fdemo?x=1"] {
        assert_eq!(send(&engine, "GET", path, b"").json(), fact);
    }
    let (status, code, _) = send(&engine, "GET", "/v1/models/gpt-4", b"").error();
    assert_eq!((status, code.as_str()), (404, "model_not_found"));
}

#[test]
fn health_index_head_and_preflight() {
    let engine = story();
    assert_eq!(
        send(&engine, "GET", "/health", b"").json(),
        json!({"status": "ok"})
    );
    let head = send(&engine, "HEAD", "/health", b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    let index = send(&engine, "GET", "/", b"");
    assert_eq!(
        index.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    let index = String::from_utf8(index.body).unwrap();
    assert!(
        index.contains("POST /v1/chat/completions") && index.contains("curl "),
        "{index}"
    );
    let preflight = send(&engine, "OPTIONS", CHAT, b"");
    assert_eq!((preflight.status, preflight.body.len()), (204, 0));
    assert_eq!(
        preflight.header("access-control-allow-methods"),
        Some("POST, OPTIONS")
    );
    assert_eq!(
        preflight.header("access-control-allow-headers"),
        Some("authorization, *")
    );
}

/// As Chromium sends it.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

fn browse(method: &str, path: &str, if_none_match: Option<&str>) -> Got {
    let head = Head {
        method: method.into(),
        path: path.into(),
        accept: Some(BROWSER.into()),
        if_none_match: if_none_match.map(str::to_owned),
        ..Head::default()
    };
    ask(&story(), &head, b"")
}

#[test]
fn browsers_get_a_page() {
    for (path, content_type, inside) in [
        ("/", "text/html; charset=utf-8", "<!doctype html>"),
        ("/?from=x", "text/html; charset=utf-8", "<!doctype html>"),
        (
            "/style.css",
            "text/css; charset=utf-8",
            "prefers-color-scheme",
        ),
        (
            "/chat.js",
            "text/javascript; charset=utf-8",
            "v1/chat/completions",
        ),
    ] {
        let got = browse("GET", path, None);
        assert_eq!(
            (got.status, got.header("content-type")),
            (200, Some(content_type))
        );
        let policy = got.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(
            !policy.contains("unsafe") && !policy.contains("http"),
            "{policy}"
        );
        assert_eq!(got.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(got.header("cache-control"), Some("no-cache"));
        assert!(
            String::from_utf8(got.body.clone())
                .unwrap()
                .contains(inside)
        );

        let head = browse("HEAD", path, None);
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.headers, got.headers, "HEAD {path}");

        let again = browse("GET", path, got.header("etag"));
        assert_eq!((again.status, again.body.len()), (304, 0));
        assert_eq!(again.header("etag"), got.header("etag"));
        assert_eq!(again.header("content-type"), None);

        let post = browse("POST", path, None);
        assert_eq!(
            (post.error().0, post.header("allow")),
            (405, Some("GET, HEAD, OPTIONS"))
        );
    }
}

#[test]
fn the_index_depends_on_accept() {
    for (accept, html) in [
        (None, false),
        (Some("*/*"), false),
        (Some("application/json"), false),
        (Some("TEXT/HTML"), true),
        (Some(BROWSER), true),
    ] {
        let head = Head {
            method: "GET".into(),
            path: "/".into(),
            accept: accept.map(str::to_owned),
            ..Head::default()
        };
        let got = ask(&story(), &head, b"");
        let is_html = got.header("content-type").unwrap().starts_with("text/html");
        assert_eq!(
            (is_html, got.header("vary")),
            (html, Some("accept")),
            "{accept:?}"
        );
    }
}

#[test]
fn every_reply_allows_every_origin() {
    let engine = story();
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/v1/models"),
        ("POST", CHAT),
        ("GET", "/nowhere"),
        ("OPTIONS", "/"),
    ] {
        assert_eq!(
            send(&engine, method, path, b"").header("access-control-allow-origin"),
            Some("*"),
            "{path}"
        );
    }
}

#[test]
fn unknown_routes_and_wrong_methods() {
    let engine = story();
    for path in [
        "/v1",
        "/v2/models",
        "/v1/models/",
        "//",
        "",
        "*",
        "/v1/chat/completions/",
    ] {
        let (status, code, _) = send(&engine, "GET", path, b"").error();
        assert_eq!((status, code.as_str()), (404, "unknown_url"), "{path}");
    }
    for (method, path, allow) in [
        ("GET", CHAT, "POST, OPTIONS"),
        ("DELETE", TEXT, "POST, OPTIONS"),
        ("POST", "/v1/models", "GET, HEAD, OPTIONS"),
        ("PUT", "/health", "GET, HEAD, OPTIONS"),
        ("get", "/", "GET, HEAD, OPTIONS"),
    ] {
        let got = send(&engine, method, path, b"");
        assert_eq!(
            (got.error().0, got.header("allow")),
            (405, Some(allow)),
            "{method} {path}"
        );
    }
    let head = send(&engine, "HEAD", CHAT, b"");
    assert_eq!((head.status, head.body.len()), (405, 0));
}

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
    let declared = Head {
        method: "POST".into(),
        path: TEXT.into(),
        content_length: Some(LIMIT_BYTES + 1),
        ..Head::default()
    };
    assert_eq!(ask(&engine, &declared, b"{}").error().0, 413);
    let long = vec![b' '; LIMIT_BYTES as usize + 1];
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
        (CHAT, "n", json!(2), "n"),
        (
            CHAT,
            "messages",
            json!([{"role": "wizard", "content": "x"}]),
            "messages[0].role",
        ),
        (TEXT, "logprobs", json!(5), "logprobs"),
        (TEXT, "prompt", json!(["a", "b"]), "prompt"),
    ] {
        let mut body = hello();
        body["prompt"] = json!("x");
        body[field] = value;
        let (status, _, named) = post(&engine, path, &body).error();
        assert_eq!((status, named.as_deref()), (400, Some(param)));
    }
}

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

#[test]
fn models_by_name() {
    let mut body = hello();
    body["model"] = json!("gpt-4\r\nx: y");
    let (status, code, param) = post(&story(), CHAT, &body).error();
    assert_eq!(
        (status, code.as_str(), param.as_deref()),
        (404, "model_not_found", Some("model"))
    );
    let mut none = story();
    none.models.clear();
    assert_eq!(post(&none, CHAT, &hello()).error().0, 503);
}

/// JSON that has the right field names often enough to reach every reader.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["user", "system", "text", "none", ""]).prop_map(Value::from),
    ];
    let names = vec![
        "model",
        "messages",
        "prompt",
        "role",
        "content",
        "type",
        "text",
        "stop",
        "stream",
        "stream_options",
        "include_usage",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "seed",
        "repetition_penalty",
        "n",
        "tools",
        "response_format",
        "logprobs",
        "logit_bias",
        "tool_calls",
        "x",
    ];
    leaf.prop_recursive(4, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(names.clone()), inner), 0..7)
                .prop_map(|fields| fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

/// Whatever the engine answers, a reply is an answer, a stream, or an error in OpenAI's shape.
fn check(engine: &ScriptedEngine, method: &str, path: &str, body: &[u8]) {
    let got = send(engine, method, path, body);
    match got.status {
        200 | 204 => {}
        _ if method == "HEAD" => {}
        _ => assert_eq!(got.error().0, got.status),
    }
}

proptest! {
    #[test]
    fn any_json_gets_an_answer(body in any_json(), chat: bool) {
        check(&story(), "POST", if chat { CHAT } else { TEXT }, body.to_string().as_bytes());
    }

    #[test]
    fn one_wrong_field_gets_an_answer(value in any_json(), field in "messages|prompt|stop|n|seed|model|stream") {
        let mut body = hello();
        body["prompt"] = json!("x");
        body[field] = value;
        let bytes = body.to_string();
        check(&story(), "POST", CHAT, bytes.as_bytes());
        check(&story(), "POST", TEXT, bytes.as_bytes());
    }

    #[test]
    fn any_bytes_get_an_answer(body: Vec<u8>, method in "GET|HEAD|POST|OPTIONS|PUT|.{0,3}", path in "/v1/(chat/)?completions|/v1/models/.{0,9}|.{0,9}") {
        check(&story(), &method, &path, &body);
    }
}
