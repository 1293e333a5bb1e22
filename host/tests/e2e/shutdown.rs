//! SIGTERM: what runs finishes, what comes is refused, what takes too long is ended with a last
//! event, and the process ends with 0.

use serde_json::json;

use crate::support::http::{Events, header};
use crate::support::server::Server;
use crate::support::{LILY, LILY_GREEDY, greedy, sampled, wait_until};

/// Streams that run for long: the scalar kernels give a test time.
fn slow_server(options: &[&str]) -> Server {
    Server::start(&[&["--isa", "scalar", "--threads", "1"], options].concat())
}

fn stream(server: &Server, tokens: u32) -> Events {
    server
        .connect()
        .post_stream("/v1/completions", &greedy(LILY, tokens, true))
}

fn drain(server: &Server) {
    server.signal("TERM");
    wait_until("draining", || server.log().contains("stopping"));
}

#[test]
fn sigterm_lets_a_running_stream_finish() {
    let mut server = Server::start(&["--isa", "scalar"]);
    let mut kept_alive = server.connect();
    assert_eq!(kept_alive.request("GET", "/readyz", &[], b"").status, 200);
    let mut events = stream(&server, 48);
    let first = events.next().unwrap()["choices"][0]["text"]
        .as_str()
        .unwrap()
        .to_owned();
    drain(&server);
    let refused = kept_alive.post("/v1/completions", &greedy(LILY, 4, false));
    refused.error(503);
    assert_eq!(header(&refused.head, "connection"), Some("close"));
    kept_alive.wait_closed();
    assert_eq!(first + &events.text(), LILY_GREEDY);
    assert!(server.wait().success());
    assert!(server.log().contains("stopped"), "{}", server.log());
}

#[test]
fn a_draining_server_still_answers_new_connections() {
    let mut server = slow_server(&["--drain-timeout", "3600", "--max-sequences", "1"]);
    let mut events = stream(&server, 400);
    events.next().unwrap();
    // So that the drain does not end before this test.
    let waiting: Vec<_> = (0..4).map(|_| stream(&server, 400)).collect();
    server.wait_metric("sterna_sequences_queued", 4.0);
    drain(&server);
    let ready = server.get("/readyz");
    assert_eq!(ready.status, 503);
    assert!(
        ready.json()["reason"]
            .as_str()
            .unwrap()
            .starts_with("draining")
    );
    assert_eq!(
        server.get("/livez").status,
        200,
        "it must not be killed for draining"
    );
    let refused = server.post("/v1/completions", &greedy(LILY, 4, false));
    assert!(refused.error(503).contains("another one"));
    assert_eq!(header(&refused.head, "connection"), Some("close"));
    assert_eq!(header(&refused.head, "retry-after"), Some("1"));
    assert_eq!(
        server.metric("sterna_requests_rejected_total{reason=\"draining\"}"),
        1.0
    );
    assert_eq!(server.metric("sterna_ready"), 0.0);
    waiting.into_iter().for_each(Events::kill);
    events.kill();
    assert!(server.wait().success());
}

#[test]
fn an_idle_server_stops_at_once() {
    let mut server = Server::start(&["--drain-timeout", "3600"]);
    let mut idle = server.connect();
    assert_eq!(idle.request("GET", "/livez", &[], b"").status, 200);
    server.signal("INT");
    assert!(server.wait().success());
    idle.wait_closed();
}

#[test]
fn the_drain_timeout_ends_what_is_left_with_a_last_event() {
    let mut server = slow_server(&["--drain-timeout", "0", "--max-sequences", "1"]);
    let mut running = stream(&server, 400);
    let first = running.next().unwrap()["choices"][0]["text"]
        .as_str()
        .unwrap()
        .to_owned();
    let queued = stream(&server, 4);
    server.wait_metric("sterna_sequences_queued", 1.0);
    let mut whole = server.connect();
    let body = greedy(LILY, 4, false).to_string();
    let json = ["Content-Type: application/json"];
    whole.send_request("POST", "/v1/completions", &json, body.as_bytes());
    server.wait_metric("sterna_sequences_queued", 2.0);
    server.signal("TERM");
    let (rest, error) = running.until_error();
    let text = first + &rest;
    assert_eq!(
        (&error["type"], &error["code"]),
        (&json!("server_error"), &json!("unavailable"))
    );
    assert!(
        error["message"].as_str().unwrap().contains("stopping"),
        "{error}"
    );
    let resume = &error["resume"];
    let sent = resume["completion_tokens"].as_u64().unwrap();
    assert_eq!(resume["tokens"].as_array().unwrap().len() as u64, sent);
    assert!(sent >= 1 && resume["seed"].is_u64(), "{resume}");
    // One that has not begun ends alike, and one that wants a whole answer gets a refusal.
    let (nothing, error) = queued.until_error();
    assert_eq!(
        (nothing.as_str(), &error["resume"]["completion_tokens"]),
        ("", &json!(0))
    );
    whole.answer().error(503);
    assert!(server.wait().success());
    assert!(server.log().contains("cut off"), "{}", server.log());
    // Another server gives the same tokens, and so the rest.
    let other = Server::start(&[]);
    let again = other
        .post("/v1/completions", &greedy(LILY, 400, false))
        .completion();
    assert!(again.starts_with(&text), "{text:?} of {again:?}");
}

/// The seed is drawn by the server, told with the cut, and good for the same text elsewhere.
#[test]
fn a_cut_stream_can_be_resumed_by_its_seed() {
    let mut server = slow_server(&["--drain-timeout", "0"]);
    let mut body = sampled(LILY, 0, 400, true);
    body.as_object_mut().unwrap().remove("seed");
    let mut events = server.connect().post_stream("/v1/completions", &body);
    let mut text = String::new();
    for _ in 0..10 {
        let event = events.next().unwrap();
        text += event["choices"][0]["text"].as_str().unwrap();
    }
    server.signal("TERM");
    let (rest, error) = events.until_error();
    text += &rest;
    let resume = &error["resume"];
    assert!(server.wait().success());
    let other = Server::start(&[]);
    body["stream"] = json!(false);
    body["seed"] = resume["seed"].clone();
    let again = other.post("/v1/completions", &body);
    assert!(
        again.completion().starts_with(&text),
        "{text:?} of {:?}",
        again.completion()
    );
    body["max_tokens"] = resume["completion_tokens"].clone();
    let sent = other.post("/v1/completions", &body);
    assert_eq!(
        sent.json()["usage"]["completion_tokens"],
        resume["completion_tokens"]
    );
}

#[test]
fn a_second_signal_exits_at_once() {
    let mut server = slow_server(&["--drain-timeout", "3600"]);
    let mut events = stream(&server, 400);
    events.next().unwrap();
    drain(&server);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(130));
    assert!(server.log().contains("second signal"), "{}", server.log());
}
