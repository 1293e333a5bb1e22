//! Connections that ask for nothing, for part of something, or do not read: however many there are,
//! probes are answered within a second, and requests are served.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::server::Server;
use crate::support::{LILY, greedy, holds_in_time, wait_until};

/// The time a kubelet waits by default.
const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// Each probe in time, and a request served.
fn assert_alive(server: &Server, what: &str) {
    for path in ["/livez", "/readyz", "/metrics"] {
        let start = Instant::now();
        let answer = server.get(path);
        assert_eq!(answer.status, 200, "{what}: {path}: {}", answer.text());
        let took = start.elapsed();
        assert!(took < PROBE_LIMIT, "{what}: {path} took {took:?}");
    }
    let body = greedy(LILY, 2, false);
    assert_eq!(server.post("/v1/completions", &body).status, 200, "{what}");
}

/// So many connections on which these bytes were sent, and nothing else.
fn crowd(server: &Server, n: usize, bytes: &[u8]) -> Vec<TcpStream> {
    let open = |_| {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream
            .set_write_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        // The server may have closed it already, or read only a part.
        let _ = stream.write_all(bytes);
        stream
    };
    (0..n).map(open).collect()
}

const ASK: &[u8] = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn silent_connections_make_room() {
    let server = Server::start(&["--max-connections", "64"]);
    for (what, bytes) in [
        ("nothing sent", &b""[..]),
        ("a line end", b"\r\n"),
        (
            "half a head",
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nX",
        ),
        ("kept for a further request", ASK),
        (
            "a body that does not come",
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30\r\n\r\n{",
        ),
        (
            "a refused request whose body does not come",
            b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30\r\n\r\n",
        ),
    ] {
        let crowd = crowd(&server, 400, bytes);
        assert_alive(&server, what);
        drop(crowd);
    }
    let open = || server.metric("sterna_http_connections");
    assert!(
        holds_in_time(|| open() <= 2.0),
        "{} connections are left",
        open()
    );
    assert!(holds_in_time(|| server
        .metric("sterna_http_requests_in_flight")
        == 1.0));
}

#[test]
fn clients_that_read_nothing_make_room() {
    let server = Server::start(&["--max-connections", "8"]);
    // More answers than the sockets' buffers hold, none of them read. Until those are full, the
    // server has work.
    let crowd = crowd(&server, 8, &ASK.repeat(40_000));
    let body = greedy(LILY, 2, false);
    wait_until("a place", || {
        server.post("/v1/completions", &body).status == 200
    });
    assert_alive(&server, "answers that are not read");
    drop(crowd);
}

#[test]
fn probes_get_through_to_a_server_whose_connections_are_all_busy() {
    let server = Server::start(&[
        "--isa",
        "scalar",
        "--max-connections",
        "2",
        "--max-sequences",
        "2",
    ]);
    let mut streams: Vec<_> = (0..2)
        .map(|_| {
            let body = greedy(LILY, 400, true);
            server.connect().post_stream("/v1/completions", &body)
        })
        .collect();
    for stream in &mut streams {
        stream.next().unwrap();
    }
    let crowd = crowd(&server, 200, b"GET /livez HTTP/1.1\r\n");
    for _ in 0..3 {
        let start = Instant::now();
        assert_eq!(server.get("/livez").status, 200);
        let took = start.elapsed();
        assert!(took < PROBE_LIMIT, "/livez took {took:?}");
    }
    for stream in &mut streams {
        assert!(stream.next().is_some(), "a running stream goes on");
    }
    drop(crowd);
    streams
        .into_iter()
        .for_each(crate::support::http::Events::kill);
}

#[test]
fn a_kept_connection_has_a_limit_of_its_own() {
    let server = Server::start(&["--header-timeout", "1", "--idle-timeout", "3"]);
    let mut kept = server.connect();
    assert_eq!(kept.request("GET", "/livez", &[], b"").status, 200);
    let mut fresh = server.connect();
    let mut half = server.connect();
    half.send(b"GET /livez HTTP/1.1\r\nHost: local").unwrap();
    let began = Instant::now();
    half.wait_closed();
    let took = began.elapsed();
    assert!(
        took < Duration::from_secs(3),
        "half a head was kept for {took:?}"
    );
    // The header limit has passed.
    assert_eq!(kept.request("GET", "/livez", &[], b"").status, 200);
    assert_eq!(fresh.request("GET", "/livez", &[], b"").status, 200);
    let began = Instant::now();
    kept.wait_closed();
    fresh.wait_closed();
    assert!(
        began.elapsed() >= Duration::from_secs(2),
        "closed before its time"
    );
}

#[test]
fn a_head_may_begin_late_and_then_has_its_whole_time() {
    let server = Server::start(&["--header-timeout", "2"]);
    let mut client = server.connect();
    let began = Instant::now();
    // Longer than the limit for a head.
    while began.elapsed() < Duration::from_millis(2200) {
        assert_eq!(server.get("/livez").status, 200);
    }
    client.send(b"GET /livez HTTP/1.1\r\n").unwrap();
    assert_eq!(server.get("/livez").status, 200);
    client.send(b"Host: localhost\r\n\r\n").unwrap();
    assert_eq!(client.answer().status, 200);
}
