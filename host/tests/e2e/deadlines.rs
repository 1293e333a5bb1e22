//! The time of a request: what is late ends, waiting or running, and leaves its place.

use serde_json::json;

use crate::support::server::Server;
use crate::support::{LILY, LILY_GREEDY, greedy};

const LATE: &str = "sterna_generations_finished_total{reason=\"timeout\"}";

/// One sequence at a time, and slow: a long answer takes longer than the times below.
fn slow_server(options: &[&str]) -> Server {
    let slow = [
        "--isa",
        "scalar",
        "--threads",
        "1",
        "--max-sequences",
        "1",
        "--max-step-ms",
        "0",
    ];
    Server::start(&[&slow, options].concat())
}

#[test]
fn who_waits_in_vain_gets_504_and_its_place_is_free() {
    let server = slow_server(&[]);
    let mut running = server
        .connect()
        .post_stream("/v1/completions", &greedy(LILY, 400, true));
    running.next().unwrap();
    let mut body = greedy(LILY, 8, false);
    body["timeout"] = json!(0.001);
    for stream in [false, true] {
        body["stream"] = json!(stream);
        let late = server.connect().post("/v1/completions", &body);
        assert!(late.error(504).contains("in the time"));
        assert_eq!(late.json()["error"]["code"], "timeout");
    }
    assert_eq!(server.metric("sterna_sequences_queued"), 0.0);
    assert_eq!(server.metric("sterna_sequences_running"), 1.0);
    drop(running);
}

#[test]
fn a_stream_that_has_begun_ends_with_the_error() {
    let server = slow_server(&["--request-timeout", "0.5"]);
    let mut events = server.connect().post_stream("/v1/completions", &long());
    // No [DONE] follows the error.
    let last = events.find(|event| event.get("error").is_some());
    assert_eq!(last.unwrap()["error"]["code"], "timeout");
    assert_eq!(server.metric(LATE), 1.0);
    assert_eq!(server.metric("sterna_sequences_running"), 0.0);
    // Nothing is left of it.
    let answer = server
        .connect()
        .post("/v1/completions", &greedy(LILY, 1, false));
    assert!(matches!(answer.status, 200 | 504), "{}", answer.status);
}

/// As much as fits the context.
fn long() -> serde_json::Value {
    let mut body = greedy(LILY, 480, true);
    body["ignore_eos"] = json!(true);
    body
}

#[test]
fn who_has_time_gets_the_same_answer() {
    let server = Server::start(&["--request-timeout", "600"]);
    let mut body = greedy(LILY, 48, false);
    body["timeout"] = json!(300);
    let answer = server.connect().post("/v1/completions", &body);
    assert_eq!(answer.json()["choices"][0]["text"], LILY_GREEDY);
    assert_eq!(server.metric(LATE), 0.0);
}

#[test]
fn a_wrong_time_is_refused_by_the_headers_name() {
    let server = Server::start(&[]);
    let body = greedy(LILY, 1, false).to_string();
    let headers = ["Content-Type: application/json", "X-Request-Timeout: soon"];
    let mut client = server.connect();
    let refused = client.request("POST", "/v1/completions", &headers, body.as_bytes());
    assert!(refused.error(400).contains("x-request-timeout"));
    assert_eq!(refused.json()["error"]["param"], "x-request-timeout");
}
