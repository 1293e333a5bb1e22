//! Models that are not there yet, and those that never come.

use super::*;
use crate::engine::Error;

const OLLAMA: &str = "/api/chat";
const MESSAGES: &str = "/v1/messages";

fn loading(times: usize) -> ScriptedEngine {
    let engine = story();
    engine.loads.set(times);
    engine
}

fn failing(after: usize) -> ScriptedEngine {
    ScriptedEngine {
        load_fault: Some(Error::Unavailable("the model is damaged".into())),
        ..loading(after)
    }
}

fn chat(path: &str, stream: bool) -> Value {
    let mut body = json!({
        "model": "org/demo", "stream": stream,
        "messages": [{"role": "user", "content": "Hello"}],
    });
    if path == MESSAGES {
        body["max_tokens"] = 9.into();
    }
    body
}

#[test]
fn a_stream_waits_for_its_model_and_tells_the_same() {
    let at_once = events(&post(&story(), CHAT, &chat(CHAT, true)));
    let late = loading(1);
    let taken = std::rc::Rc::clone(&late.taken);
    taken.set(5);
    assert_eq!(events(&post(&late, CHAT, &chat(CHAT, true))), at_once);
    assert_eq!(taken.get(), 4, "its head went out before it waited");
    assert_eq!(late.asked.borrow().len(), 1);
}

#[test]
fn a_load_that_fails_is_a_503_in_each_form() {
    for (path, kind) in [
        (CHAT, "unavailable"),
        (MESSAGES, "overloaded_error"),
        (OLLAMA, ""),
    ] {
        for stream in [false, true] {
            let got = post(&failing(0), path, &chat(path, stream));
            let body = String::from_utf8_lossy(&got.body).into_owned();
            assert_eq!(got.status, 503, "{path} {body}");
            assert!(
                body.contains("the model is damaged") && body.contains(kind),
                "{body}"
            );
            assert_eq!(got.header("retry-after"), Some("1"));
        }
    }
}

#[test]
fn one_that_fails_after_the_answer_began_is_its_last_event() {
    for path in [CHAT, TEXT, MESSAGES, "/v1/responses", OLLAMA] {
        let body = match path {
            TEXT => json!({"prompt": "x", "stream": true}),
            "/v1/responses" => json!({"input": "x", "stream": true}),
            _ => chat(path, true),
        };
        let engine = failing(1);
        let got = post(&engine, path, &body);
        let text = String::from_utf8_lossy(&got.body).into_owned();
        assert_eq!(got.status, 200, "{path} {text}");
        assert!(text.contains("the model is damaged"), "{path} {text}");
        assert!(engine.asked.borrow().is_empty());
    }
}

#[test]
fn a_model_is_listed_before_anything_is_known_of_it() {
    let engine = loading(1);
    let listed = send(&engine, "GET", "/v1/models", b"").json();
    assert_eq!(
        listed["data"],
        json!([{"id": "org/demo", "object": "model", "created": 1_700_000_000, "owned_by": "sterna",
                "state": "loading"}])
    );
    assert_eq!(
        send(&engine, "GET", "/api/ps", b"").json(),
        json!({"models": []})
    );
    let tags = send(&engine, "GET", "/api/tags", b"").json();
    assert_eq!(tags["models"][0]["name"], "org/demo");
    let show = post(&engine, "/api/show", &json!({"model": "org/demo:latest"}));
    assert_eq!(show.json()["model_info"], json!({}));
    assert_eq!(engine.loads.get(), 1, "nothing is loaded for that");
}

#[test]
fn the_refusal_of_a_name_lists_those_there_are() {
    let mut engine = story();
    let mut other = engine.models[0].clone();
    other.id = "other".into();
    engine.models.push(other);
    for (path, body) in [
        (CHAT, chat(CHAT, false)),
        (CHAT, chat(CHAT, true)),
        (EMBED, json!({"input": "x"})),
        (MESSAGES, chat(MESSAGES, false)),
        (OLLAMA, chat(OLLAMA, false)),
        ("/tokenize", json!({"content": "x"})),
        ("/api/show", json!({})),
    ] {
        let mut body = body;
        body["model"] = "gpt-4".into();
        let got = post(&engine, path, &body);
        let text = String::from_utf8_lossy(&got.body).into_owned();
        assert_eq!(got.status, 404, "{path} {text}");
        assert!(
            text.contains("There are: 'org/demo', 'other'."),
            "{path} {text}"
        );
    }
    for i in 0..20 {
        let mut more = engine.models[0].clone();
        more.id = format!("model-{i}");
        engine.models.push(more);
    }
    let got = send(&engine, "GET", "/v1/models/gpt-4", b"");
    let text = String::from_utf8_lossy(&got.body).into_owned();
    assert!(text.contains("'model-13', more."), "{text}");
}

#[test]
fn the_time_that_a_body_gives_bounds_the_load() {
    for (path, mut body) in [
        (CHAT, chat(CHAT, false)),
        (CHAT, chat(CHAT, true)),
        (MESSAGES, chat(MESSAGES, true)),
        ("/v1/embeddings", json!({"input": "x"})),
    ] {
        body["timeout"] = json!(2);
        let engine = loading(1);
        assert_eq!(post(&engine, path, &body).status, 504, "{path}");
        assert!(engine.asked.borrow().is_empty(), "{path}");
    }
}
