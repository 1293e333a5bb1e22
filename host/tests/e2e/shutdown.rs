//! SIGTERM: what runs finishes, what comes is refused, and the process ends with 0.

use crate::support::server::Server;
use crate::support::{LILY, LILY_GREEDY, greedy, wait_until};

#[test]
fn sigterm_lets_a_running_stream_finish() {
    let mut server = Server::start(&["--isa", "scalar"]);
    let mut kept_alive = server.connect();
    assert_eq!(kept_alive.request("GET", "/readyz", &[], b"").status, 200);
    let mut events = server
        .connect()
        .post_stream("/v1/completions", &greedy(LILY, 48, true));
    let first = events.next().unwrap()["choices"][0]["text"]
        .as_str()
        .unwrap()
        .to_owned();
    server.signal("TERM");
    wait_until("draining", || server.log().contains("stopping"));
    let refused = kept_alive.post("/v1/completions", &greedy(LILY, 4, false));
    refused.error(503);
    assert!(
        refused.head.contains("connection: close"),
        "{}",
        refused.head
    );
    kept_alive.wait_closed();
    assert_eq!(first + &events.text(), LILY_GREEDY);
    assert!(server.wait().success());
    assert!(server.log().contains("stopped"), "{}", server.log());
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
fn the_drain_timeout_cuts_what_is_left() {
    let mut server = Server::start(&["--isa", "scalar", "--threads", "1", "--drain-timeout", "0"]);
    let mut events = server
        .connect()
        .post_stream("/v1/completions", &greedy(LILY, 400, true));
    events.next().unwrap();
    server.signal("TERM");
    assert!(server.wait().success());
    assert!(server.log().contains("cut off"), "{}", server.log());
}

#[test]
fn a_second_signal_exits_at_once() {
    let mut server = Server::start(&[
        "--isa",
        "scalar",
        "--threads",
        "1",
        "--drain-timeout",
        "3600",
    ]);
    let mut events = server
        .connect()
        .post_stream("/v1/completions", &greedy(LILY, 400, true));
    events.next().unwrap();
    server.signal("TERM");
    wait_until("draining", || server.log().contains("stopping"));
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(130));
}
