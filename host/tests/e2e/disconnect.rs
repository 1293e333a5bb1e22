//! A client that leaves stops its generation, wherever that is: in the queue, in prefill, in
//! decode. The scalar kernels give the tests time to leave at the right moment.

use crate::support::server::Server;
use crate::support::{LILY, LILY_GREEDY, greedy, wait_until};

const CANCELLED: &str = "sterna_generations_cancelled_total";

fn slow_server() -> Server {
    Server::start(&["--isa", "scalar", "--threads", "1", "--max-sequences", "1"])
}

/// A prompt that nearly fills the context of 512.
fn long_prompt() -> String {
    [LILY; 36].join(" ")
}

#[test]
fn in_the_queue() {
    let server = slow_server();
    let mut running = server
        .connect()
        .post_stream("/v1/completions", &greedy(LILY, 200, true));
    running.next().unwrap();
    let waiting = server
        .connect()
        .post_stream("/v1/completions", &greedy(LILY, 48, true));
    server.wait_metric("sterna_sequences_queued", 1.0);
    waiting.kill();
    server.wait_metric(CANCELLED, 1.0);
    assert_eq!(server.metric("sterna_sequences_queued"), 0.0);
    assert_eq!(
        server.metric("sterna_sequences_running"),
        1.0,
        "the running one goes on"
    );
    running.kill();
    server.wait_metric(CANCELLED, 2.0);
}

#[test]
fn in_prefill() {
    let server = slow_server();
    let client = server
        .connect()
        .post_stream("/v1/completions", &greedy(&long_prompt(), 20, true));
    server.wait_metric("sterna_generations_started_total", 1.0);
    client.kill();
    server.wait_metric(CANCELLED, 1.0);
    assert_eq!(
        server.metric("sterna_generated_tokens_total"),
        0.0,
        "it was cancelled before its first token"
    );
    server.wait_metric("sterna_sequences_running", 0.0);
}

#[test]
fn in_decode() {
    let server = slow_server();
    let mut events = server
        .connect()
        .post_stream("/v1/completions", &greedy(LILY, 200, true));
    events.next().unwrap();
    events.kill();
    server.wait_metric(CANCELLED, 1.0);
    server.wait_metric("sterna_sequences_running", 0.0);
    let generated = server.metric("sterna_generated_tokens_total");
    assert!(
        (1.0..150.0).contains(&generated),
        "{generated} tokens were generated for a client that had left"
    );
    wait_until("the log line", || {
        server.log().contains("generation cancelled")
    });
    assert_eq!(
        server
            .post("/v1/completions", &greedy(LILY, 48, false))
            .completion(),
        LILY_GREEDY
    );
}

#[test]
fn while_waiting_for_a_whole_answer() {
    let server = slow_server();
    let mut client = server.connect();
    client.send_request(
        "POST",
        "/v1/completions",
        &["Content-Type: application/json"],
        greedy(LILY, 200, false).to_string().as_bytes(),
    );
    wait_until("the first token", || {
        server.metric("sterna_generated_tokens_total") > 0.0
    });
    client.kill();
    server.wait_metric(CANCELLED, 1.0);
    server.wait_metric("sterna_sequences_running", 0.0);
    assert_eq!(
        server.metric("sterna_http_requests_total{route=\"/v1/completions\",status=\"499\"}"),
        1.0
    );
}
