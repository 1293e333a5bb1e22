//! Wrong requests get a clear answer, and the server lives on.

use serde_json::{Value, json};

use crate::support::server::Server;
use crate::support::{LILY, LILY_GREEDY, greedy};

#[test]
fn each_fault_is_named() {
    let server = Server::start(&[]);
    let with = |field: &str, value: Value| {
        let mut body = greedy(LILY, 4, false);
        body[field] = value;
        body
    };
    let cases = [
        (with("max_tokens", json!(0)), 400, "max_tokens"),
        (with("temperature", json!(-1)), 400, "temperature"),
        (with("top_p", json!(2)), 400, "top_p"),
        (with("prompt", json!(LILY.repeat(100))), 400, "512"),
        (with("prompt", json!([999_999])), 400, "prompt"),
        (with("model", json!("absent")), 404, "absent"),
    ];
    for (body, status, named) in cases {
        let answer = server.post("/v1/completions", &body);
        let (message, param) = (
            answer.error(status),
            answer.json()["error"]["param"].clone(),
        );
        assert!(
            message.contains(named) || param == named,
            "{body} gave {}",
            answer.text()
        );
    }
    let role = json!({ "model": "demo", "messages": [{ "role": "ghost", "content": "boo" }] });
    let message = server.post("/v1/chat/completions", &role).error(400);
    assert!(
        message.contains("role") || message.contains("ghost"),
        "{message}"
    );
    let json = ["Content-Type: application/json"];
    server
        .connect()
        .request("POST", "/v1/completions", &json, b"{\"prompt\": ")
        .error(400);
    server
        .connect()
        .request("POST", "/v1/completions", &json, b"")
        .error(400);
    server
        .connect()
        .request("GET", "/v1/completions", &[], b"")
        .error(405);
    server
        .connect()
        .request("POST", "/metrics", &[], b"")
        .error(405);
    server.get("/v1/absent").error(404);
    assert_eq!(
        server
            .post("/v1/completions", &greedy(LILY, 48, false))
            .completion(),
        LILY_GREEDY
    );
}

#[test]
fn a_body_of_100_mb_is_413_before_it_has_all_arrived() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let head = "POST /v1/completions HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n\
        Content-Length: 104857600\r\n\r\n";
    client.send(head.as_bytes()).unwrap();
    let block = vec![b' '; 1 << 20];
    // The server may refuse and close before the whole has been sent; the answer must arrive
    // nonetheless.
    for _ in 0..100 {
        if client.send(&block).is_err() {
            break;
        }
    }
    client.answer().error(413);
}

#[test]
fn a_body_without_a_length_is_413_too() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let head = "POST /v1/completions HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n\
        Transfer-Encoding: chunked\r\n\r\n";
    client.send(head.as_bytes()).unwrap();
    let mut block = b"100000\r\n".to_vec();
    block.extend(vec![b' '; 1 << 20]);
    block.extend(b"\r\n");
    for _ in 0..100 {
        if client.send(&block).is_err() {
            break;
        }
    }
    client.answer().error(413);
}

#[test]
fn bytes_that_are_no_http_end_their_connection_only() {
    let server = Server::start(&[]);
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..],
        b"NOT HTTP\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ] {
        let mut client = server.connect();
        client.send(garbage).unwrap();
        drop(client);
    }
    // HTTP/1.0 without a Host header is old, not wrong.
    let mut client = server.connect();
    client.send(b"GET /health HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(client.answer().status, 200);
}

#[test]
fn a_client_that_is_too_slow_is_dropped() {
    let server = Server::start(&["--header-timeout", "1", "--body-timeout", "1"]);
    let mut head = server.connect();
    head.send(b"POST /v1/completions HTTP/1.1\r\nHost: te")
        .unwrap();
    head.wait_closed();
    let mut body = server.connect();
    body.send(b"POST /v1/completions HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n{")
        .unwrap();
    body.answer().error(408);
}
