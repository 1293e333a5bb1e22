//! Bodies that do not come: memory is charged for what has come, and a request whose client is
//! silent keeps no other from being answered.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::server::Server;
use crate::support::{LILY, LILY_GREEDY, greedy, holds_in_time, wait_until};

/// Connections on which these bytes of a request were sent.
fn begun(server: &Server, n: usize, head: &str, body: &[u8]) -> Vec<TcpStream> {
    let open = |_| {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        let head = format!("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n");
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        stream
    };
    (0..n).map(open).collect()
}

const CHUNKED: &str = "Transfer-Encoding: chunked";

fn assert_served(server: &Server, what: &str) {
    assert_eq!(server.get("/readyz").status, 200, "{what}");
    let answer = server.post("/v1/completions", &greedy(LILY, 48, false));
    assert_eq!(answer.completion(), LILY_GREEDY, "{what}");
}

#[test]
fn bodies_that_do_not_come_deny_nobody() {
    let server = Server::start(&["--max-connections", "4096"]);
    let mebibyte = vec![b' '; 1 << 20];
    for (what, n, head, body) in [
        (
            "a chunk of six bytes",
            400,
            CHUNKED,
            &b"6\r\n{\"a\":1\r\n"[..],
        ),
        ("nothing of thirty bytes", 400, "Content-Length: 30", b""),
        (
            "one of four million bytes",
            400,
            "Content-Length: 4000000",
            b"{",
        ),
        (
            "asked whether to send",
            400,
            "Content-Length: 9\r\nExpect: 100-continue",
            b"",
        ),
        (
            "a mebibyte of four",
            60,
            "Content-Length: 4000000",
            &mebibyte,
        ),
    ] {
        let bodies = begun(&server, n, head, body);
        assert_served(&server, what);
        drop(bodies);
        let running = || server.metric("sterna_http_requests_in_flight");
        assert!(
            holds_in_time(|| running() == 1.0),
            "{what}: {} run on",
            running()
        );
    }
}

#[test]
fn a_body_that_stops_is_told_so_soon() {
    let server = Server::start(&["--body-idle-timeout", "1"]);
    for (head, body) in [
        ("Content-Length: 30", &b"{"[..]),
        ("Content-Length: 30", b""),
        (CHUNKED, b"1\r\n{\r\n"),
        (CHUNKED, b""),
    ] {
        let mut client = server.connect();
        let head = format!("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n");
        client.send(&[head.as_bytes(), body].concat()).unwrap();
        let message = client.answer().error(408);
        assert!(message.contains("--body-idle-timeout"), "{message}");
        client.wait_closed();
    }
}

#[test]
fn a_body_that_dribbles_has_an_end() {
    let server = Server::start(&["--body-timeout", "2", "--body-idle-timeout", "60"]);
    let mut client = begun(&server, 1, "Content-Length: 4000000", b"{").remove(0);
    let began = Instant::now();
    let mut answer = [0; 12];
    client.set_nonblocking(true).unwrap();
    wait_until("the answer", || {
        // Closed for reading at the other end, in time.
        let _ = client.write(b" ");
        client.peek(&mut answer).is_ok_and(|n| n == answer.len())
    });
    client.set_nonblocking(false).unwrap();
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    assert!(began.elapsed() >= Duration::from_secs(2));
}

/// 64 MiB for requests at most, and bodies that would take more, all of which come whole in the
/// end.
#[test]
fn long_bodies_that_come_are_answered_or_told_to_wait() {
    let server = Server::start(&[]);
    let long = serde_json::json!({ "prompt": LILY, "user": "y".repeat(3 << 20), "max_tokens": 1 });
    let answers: Vec<_> = std::thread::scope(|scope| {
        let post = || scope.spawn(|| server.post("/v1/completions", &long).status);
        let clients: Vec<_> = (0..16).map(|_| post()).collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect()
    });
    assert!(
        answers.iter().all(|status| [200, 429].contains(status)),
        "{answers:?}"
    );
    assert!(answers.contains(&200), "{answers:?}");
    assert_served(&server, "afterwards");
}
