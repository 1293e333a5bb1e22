//! Right answers over a real socket: whole and streamed, and streamed as they are made.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::server::Server;
use crate::support::{LILY, LILY_GREEDY, greedy};

#[test]
fn a_completion_is_what_it_is_on_any_machine() {
    let server = Server::start(&[]);
    let answer = server.post("/v1/completions", &greedy(LILY, 48, false));
    assert_eq!(answer.completion(), LILY_GREEDY);
    let body = answer.json();
    assert_eq!(body["choices"][0]["finish_reason"], "length");
    assert_eq!(
        body["usage"],
        json!({ "prompt_tokens": 14, "completion_tokens": 48, "total_tokens": 62,
        "prompt_tokens_details": { "cached_tokens": body["usage"]["prompt_tokens_details"]["cached_tokens"] } })
    );
}

/// Transformers' keys and values are f32.
#[test]
fn in_f32_completions_are_the_references() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fixture = fixture.join("../tests/fixtures/demo-expected.json");
    let stories: Value = serde_json::from_slice(&std::fs::read(fixture).unwrap()).unwrap();
    let server = Server::start(&["--kv-type", "f32"]);
    for story in stories.as_array().unwrap() {
        let request = greedy(story["prompt"].as_str().unwrap(), 48, false);
        let text = server.post("/v1/completions", &request).completion();
        assert_eq!(text, story["text"].as_str().unwrap());
    }
}

#[test]
fn a_stream_gives_the_same_text_in_pieces() {
    let server = Server::start(&[]);
    let events: Vec<_> = server
        .connect()
        .post_stream("/v1/completions", &greedy(LILY, 48, true))
        .collect();
    let text: String = events
        .iter()
        .map(|event| event["choices"][0]["text"].as_str().unwrap())
        .collect();
    assert_eq!(text, LILY_GREEDY);
    assert!(
        events.len() >= 40,
        "48 tokens came in {} events",
        events.len()
    );
    assert_eq!(
        events.last().unwrap()["choices"][0]["finish_reason"],
        "length"
    );
}

/// The server must still be generating when the first piece arrives. The scalar kernels make the
/// completion long enough to see that.
#[test]
fn pieces_arrive_while_the_rest_is_generated() {
    let server = Server::start(&["--isa", "scalar"]);
    let mut events = server
        .connect()
        .post_stream("/v1/completions", &greedy(LILY, 200, true));
    events.next().unwrap();
    let generated = server.metric("sterna_generated_tokens_total");
    assert!(
        (1.0..150.0).contains(&generated),
        "{generated} of 200 tokens were made before the first arrived"
    );
    assert_eq!(server.metric("sterna_sequences_running"), 1.0);
    let rest = events.text();
    assert!(
        LILY_GREEDY.ends_with(&rest) || rest.contains("shiny box"),
        "{rest}"
    );
}

#[test]
fn a_chat_is_answered_and_streamed() {
    let server = Server::start(&[]);
    let mut request = json!({
        "model": "demo", "messages": [{ "role": "user", "content": LILY }], "max_tokens": 48, "temperature": 0,
    });
    let body = server.post("/v1/chat/completions", &request).json();
    assert_eq!(
        body["choices"][0]["message"]["content"], LILY_GREEDY,
        "{body}"
    );
    request["stream"] = true.into();
    request["stream_options"] = json!({ "include_usage": true });
    let events: Vec<_> = server
        .connect()
        .post_stream("/v1/chat/completions", &request)
        .collect();
    let text: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, LILY_GREEDY);
    assert_eq!(
        events.last().unwrap()["usage"]["completion_tokens"],
        48,
        "{:?}",
        events.last()
    );
}

#[test]
fn one_connection_carries_many_requests() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for _ in 0..5 {
        assert_eq!(
            client
                .post("/v1/completions", &greedy(LILY, 48, false))
                .completion(),
            LILY_GREEDY
        );
        assert_eq!(client.request("GET", "/health", &[], b"").status, 200);
    }
}

#[test]
fn models_probes_and_metrics_are_served() {
    let server = Server::start(&["--model-name", "lily"]);
    assert_eq!(server.get("/v1/models").json()["data"][0]["id"], "lily");
    for path in ["/health", "/livez", "/readyz"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    let metrics = server.get("/metrics");
    assert!(
        metrics.text().contains("sterna_model_info{id=\"lily\""),
        "{}",
        metrics.text()
    );
    assert!(
        metrics
            .text()
            .contains("sterna_http_requests_total{route=\"/health\",status=\"200\"} 1")
    );
}
