//! The time of a request: what the engine is told of it, and what becomes of one that is late.

use super::*;
use crate::engine::Error;

fn timed(path: &str, timeout: &str, body: &Value) -> (Head, Vec<u8>) {
    let body = body.to_string().into_bytes();
    let head = Head {
        timeout: Some(timeout.to_owned()),
        ..head("POST", path, &body)
    };
    (head, body)
}

fn ask_timed(engine: &ScriptedEngine, path: &str, timeout: &str, body: &Value) -> Got {
    let (head, body) = timed(path, timeout, body);
    ask(engine, &head, &body)
}

fn with(mut body: Value, name: &str, value: Value) -> Value {
    body[name] = value;
    body
}

/// Every path that generates or embeds, and a body for it.
fn all_paths() -> Vec<(&'static str, Value)> {
    let messages = json!([{"role": "user", "content": "Hello"}]);
    vec![
        (CHAT, hello()),
        (TEXT, json!({"prompt": "x"})),
        (EMBED, json!({"input": "x"})),
        ("/v1/responses", json!({"input": "x"})),
        (
            "/v1/messages",
            json!({"messages": messages, "max_tokens": 9}),
        ),
        (
            "/api/chat",
            json!({"model": "org/demo", "messages": messages, "stream": false}),
        ),
        (
            "/api/generate",
            json!({"model": "org/demo", "prompt": "x", "stream": false}),
        ),
        ("/api/embed", json!({"model": "org/demo", "input": "x"})),
    ]
}

#[test]
fn the_engine_is_told_the_shortest_of_the_times() {
    let told = |header: Option<&str>, field: Option<f64>, limit: Option<u32>| {
        let engine = story();
        let settings = Settings {
            request_timeout_ms: limit,
            ..settings()
        };
        let body = match field {
            Some(seconds) => with(hello(), "timeout", json!(seconds)),
            None => hello(),
        };
        let (mut head, body) = timed(CHAT, "", &body);
        head.timeout = header.map(str::to_owned);
        assert_eq!(ask_under(&settings, &engine, &head, &body).status, 200);
        engine.asked.borrow()[0].timeout_ms
    };
    assert_eq!(told(None, None, None), None);
    assert_eq!(told(Some("2.5"), None, None), Some(2500));
    assert_eq!(told(None, Some(1.5), None), Some(1500));
    assert_eq!(told(None, None, Some(4000)), Some(4000));
    assert_eq!(told(Some("2"), Some(1.0), Some(3000)), Some(1000));
    assert_eq!(told(Some("1"), Some(2.0), Some(3000)), Some(1000));
    assert_eq!(told(Some("9"), Some(8.0), Some(3000)), Some(3000));
}

#[test]
fn every_api_tells_it_and_answers_504_in_its_own_form() {
    for (path, body) in all_paths() {
        let engine = story();
        assert_eq!(ask_timed(&engine, path, "7", &body).status, 200, "{path}");
        assert_eq!(engine.asked.borrow()[0].timeout_ms, Some(7000), "{path}");
        let late = ScriptedEngine::new(Err(Error::TimedOut));
        let got = ask_timed(&late, path, "7", &body);
        assert_eq!(got.status, 504, "{path}");
        let document = got.json();
        match path {
            "/v1/messages" => assert_eq!(document["error"]["type"], "timeout_error"),
            _ if path.starts_with("/api") => {
                assert!(document["error"].as_str().unwrap().contains("in the time"));
            }
            _ => assert_eq!(got.error(), (504, "timeout".into(), None), "{path}"),
        }
    }
}

#[test]
fn what_is_no_time_is_refused_by_the_headers_name_or_the_fields() {
    for (path, body) in all_paths() {
        for bad in ["soon", "0", "-3", ""] {
            let engine = story();
            let got = ask_timed(&engine, path, bad, &body);
            assert_eq!(got.status, 400, "{path} {bad}");
            let told = String::from_utf8_lossy(&got.body).into_owned();
            assert!(told.contains("x-request-timeout"), "{path}: {told}");
            assert!(engine.asked.borrow().is_empty(), "{path}");
        }
    }
    for bad in [json!(0), json!(-1), json!("soon"), json!([1])] {
        let got = post(&story(), CHAT, &with(hello(), "timeout", bad.clone()));
        let (status, _, param) = got.error();
        assert_eq!((status, param.as_deref()), (400, Some("timeout")), "{bad}");
    }
}

#[test]
fn a_late_stream_that_named_a_time_is_504_and_one_that_has_begun_ends_with_the_error() {
    let streamed = || with(hello(), "stream", json!(true));
    let late = ScriptedEngine::new(Ok(vec![Err(Error::TimedOut)]));
    assert_eq!(ask_timed(&late, CHAT, "1", &streamed()).status, 504);
    let by_field = with(streamed(), "timeout", json!(1));
    assert_eq!(post(&late, CHAT, &by_field).status, 504);
    // By the server's limit alone: the status is sent before there is a token.
    let got = post(&late, CHAT, &streamed());
    assert_eq!(got.status, 200);
    assert_eq!(events(&got).last().unwrap()["error"]["code"], "timeout");
    // In the middle.
    let cut = ScriptedEngine::new(Ok(vec![text("Once"), Err(Error::TimedOut)]));
    let got = ask_timed(&cut, CHAT, "1", &streamed());
    assert_eq!(got.status, 200);
    let told = events(&got);
    let texts = told
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
    assert_eq!(texts.collect::<String>(), "Once");
    assert_eq!(told.last().unwrap()["error"]["code"], "timeout");
    assert_eq!(cut.alive(), 0, "nothing goes on");
}

#[test]
fn a_stream_that_named_a_time_tells_the_same() {
    for body in [
        with(hello(), "stream", json!(true)),
        json!({"prompt": ["a", "b"], "stream": true, "n": 2,
               "stream_options": {"include_usage": true, "continuous_usage_stats": true}}),
    ] {
        let path = if body.get("prompt").is_some() {
            TEXT
        } else {
            CHAT
        };
        let plain = post(&story(), path, &body);
        let held = ask_timed(&story(), path, "60", &body);
        assert_eq!(plain.body, held.body);
    }
}

#[test]
fn what_has_passed_before_the_engine_is_asked_counts() {
    // No place: each pause gives one back, and time goes by.
    let engine = story();
    engine.now_ms.set(1_000);
    let (head, body) = timed(CHAT, "2", &hello());
    let settings = settings();
    let mut source = SlowSource {
        now_ms: engine.now_ms.clone(),
        body: body.clone(),
    };
    let reply = now(handle(&engine, &settings, &head, &mut source, STAMP));
    assert_eq!(reply.status, 200);
    assert_eq!(engine.asked.borrow()[0].timeout_ms, Some(500));
    engine.now_ms.set(1_000);
    let (head, body) = timed(CHAT, "1.5", &hello());
    let mut source = SlowSource {
        now_ms: engine.now_ms.clone(),
        body,
    };
    let reply = now(handle(&engine, &settings, &head, &mut source, STAMP));
    assert_eq!(reply.status, 504);
    assert_eq!(engine.asked.borrow().len(), 1, "it was not asked at all");
}

/// A body that takes a second and a half.
struct SlowSource {
    now_ms: std::rc::Rc<std::cell::Cell<u64>>,
    body: Vec<u8>,
}

impl Source for SlowSource {
    async fn read(&mut self, bytes: &mut Vec<u8>, _: usize) -> std::io::Result<bool> {
        if self.body.is_empty() {
            return Ok(false);
        }
        bytes.append(&mut self.body);
        self.now_ms.set(self.now_ms.get() + 1_500);
        Ok(true)
    }
}

#[test]
fn the_engine_is_told_whose_request_it_is() {
    let engine = story();
    let settings = Settings {
        api_keys: vec!["first".into(), "second".into()],
        ..settings()
    };
    for key in ["second", "first", "second"] {
        let body = hello().to_string().into_bytes();
        let head = Head {
            authorization: Some(format!("Bearer {key}")),
            ..head("POST", CHAT, &body)
        };
        assert_eq!(ask_under(&settings, &engine, &head, &body).status, 200);
    }
    post(&engine, CHAT, &hello());
    let clients: Vec<u64> = engine
        .asked
        .borrow()
        .iter()
        .map(|asked| asked.client)
        .collect();
    assert_eq!(clients, [2, 1, 2, 0]);
}
