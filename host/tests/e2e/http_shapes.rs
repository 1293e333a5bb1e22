//! Heads and bodies that no ordinary client sends: each gets a sensible answer or none, means one
//! thing only, and ends nothing but its own connection.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::server::Server;
use crate::support::{DEADLINE, LILY, LILY_GREEDY, greedy};

const BODY: &str = r#"{"prompt":"Once","max_tokens":2}"#;

/// A server that soon gives up what never comes to an end, so that all answers are there when it
/// closes.
fn impatient() -> Server {
    Server::start(&[
        "--idle-timeout",
        "1",
        "--header-timeout",
        "1",
        "--body-idle-timeout",
        "1",
    ])
}

/// The statuses of all answers to these bytes, go-aheads left out.
fn statuses(server: &Server, bytes: &[u8]) -> Vec<u16> {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    // The server may refuse and close before it has read all.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let end = stream.read_to_end(&mut answer);
    let timed_out = |error: std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
    assert!(
        !end.is_err_and(timed_out),
        "no end: {:?}",
        String::from_utf8_lossy(bytes)
    );
    let answer = String::from_utf8_lossy(&answer);
    let heads = answer.split("HTTP/1.").skip(1);
    let statuses = heads.filter_map(|head| head.get(2..5)?.parse().ok());
    statuses.filter(|status| *status != 100).collect()
}

fn get(target: &str, headers: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\n{headers}\r\n").into_bytes()
}

fn post(headers: &str, body: &str) -> Vec<u8> {
    let start =
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    format!("{start}{headers}\r\n{body}").into_bytes()
}

fn chunked(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

const HOST: &str = "Host: localhost\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
const LENGTH: &str = "Content-Length: 32\r\n";

/// One answer with one of these statuses, or, where the list has 0, none at all.
type Shape = (&'static str, Vec<u8>, &'static [u16]);

const REFUSED: &[u16] = &[400, 408, 0];

fn heads() -> Vec<Shape> {
    let get = |target: &str, headers: &str| get(target, &format!("{HOST}{headers}"));
    let host = |host: &str| self::get("/livez", host);
    let first_line = |line: &str| format!("{line}\r\n{HOST}\r\n").into_bytes();
    vec![
        ("no Host", host(""), &[400]),
        ("two Hosts", host(&HOST.repeat(2)), &[400]),
        ("an empty Host", host("Host:\r\n"), &[400]),
        ("Host with a space", host("Host: a b\r\n"), &[400]),
        ("Host with a user", host("Host: a@localhost\r\n"), &[400]),
        ("Host with a path", host("Host: localhost/x\r\n"), &[400]),
        (
            "Host with no port",
            host("Host: localhost:99999\r\n"),
            &[400],
        ),
        (
            "Host with two names",
            host("Host: localhost,evil.example\r\n"),
            &[400],
        ),
        ("HTTP/1.0", b"GET /livez HTTP/1.0\r\n\r\n".to_vec(), &[200]),
        (
            "HTTP/1.0, two Hosts",
            first_line("GET /livez HTTP/1.0\r\nHost: a"),
            &[400],
        ),
        ("HTTP/0.9", b"GET /livez\r\n\r\n".to_vec(), REFUSED),
        (
            "HTTP/2.0",
            first_line("GET /livez HTTP/2.0"),
            &[400, 505, 0],
        ),
        (
            "HTTP/9.9",
            first_line("GET /livez HTTP/9.9"),
            &[400, 505, 0],
        ),
        (
            "HTTP/2's preface",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            &[400, 505, 0],
        ),
        (
            "TLS",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc".to_vec(),
            REFUSED,
        ),
        (
            "an upgrade to h2c",
            get("/livez", "Connection: Upgrade\r\nUpgrade: h2c\r\n"),
            &[200],
        ),
        (
            "a folded line",
            get("/livez", "X-A: b\r\n c\r\n"),
            &[200, 400, 0],
        ),
        (
            "a folded first line",
            first_line("GET /livez HTTP/1.1\r\n X: y"),
            REFUSED,
        ),
        ("a line without a colon", get("/livez", "Xabc\r\n"), REFUSED),
        ("a header without a name", get("/livez", ": x\r\n"), REFUSED),
        ("a name with a space", get("/livez", "A B: x\r\n"), REFUSED),
        ("a zero byte", get("/livez", "X: a\0b\r\n"), REFUSED),
        (
            "a head of a megabyte",
            get("/livez", &format!("X: {}\r\n", "a".repeat(1 << 20))),
            &[431, 400, 0],
        ),
        (
            "5000 lines",
            get("/livez", &"X: y\r\n".repeat(5000)),
            &[431, 400, 0],
        ),
        (
            "a target of 70 kB",
            get(&format!("/{}", "a".repeat(70_000)), ""),
            &[414, 431, 400, 0],
        ),
        (
            "a method that is none",
            first_line("G\u{1}T /livez HTTP/1.1"),
            REFUSED,
        ),
        (
            "a method in small letters",
            first_line("get /livez HTTP/1.1"),
            &[405],
        ),
        (
            "a method of nobody's",
            first_line("FOO /v1/models HTTP/1.1"),
            &[405],
        ),
        ("TRACE", first_line("TRACE / HTTP/1.1"), &[405]),
        (
            "CONNECT",
            first_line("CONNECT localhost:80 HTTP/1.1"),
            &[405],
        ),
        (
            "CONNECT to a path",
            first_line("CONNECT /livez HTTP/1.1"),
            &[405, 400, 0],
        ),
        ("a whole URL", get("http://localhost/v1/models", ""), &[200]),
        (
            "a whole URL without a path",
            get("http://localhost", ""),
            &[200],
        ),
        (
            "a whole URL of another",
            get("http://evil.example/v1/models", ""),
            &[403],
        ),
        (
            "a URL with a user",
            get("http://a:b@localhost/livez", ""),
            &[400],
        ),
        ("a target without a slash", get("livez", ""), &[400, 404, 0]),
        ("a star", first_line("OPTIONS * HTTP/1.1"), &[200, 404]),
        ("two slashes", get("//v1/models", ""), &[200]),
        ("a slash at the end", get("/readyz/", ""), &[200]),
        ("an encoded letter", get("/%6civez", ""), &[200]),
        ("an encoding of nothing", get("/%zz", ""), &[404]),
        ("an encoded zero", get("/livez%00", ""), &[404]),
        ("dots", get("/v1/../livez", ""), &[404]),
        ("a fragment", get("/livez#x", ""), &[200, 400, 404, 0]),
        (
            "empty lines first",
            [b"\r\n\r\n".to_vec(), get("/livez", "")].concat(),
            &[200, 400, 0],
        ),
        (
            "a key that is no text",
            [
                get("/livez", "Authorization: x"),
                vec![0xff, 13, 10, 13, 10],
            ]
            .concat(),
            REFUSED,
        ),
        ("zeros", vec![0; 1000], REFUSED),
        (
            "every byte",
            (0..=255).cycle().take(10_000).collect(),
            REFUSED,
        ),
    ]
}

fn bodies() -> Vec<Shape> {
    vec![
        ("a length", post(LENGTH, BODY), &[200]),
        ("chunks", post(CHUNKED, &chunked(BODY)), &[200]),
        (
            "chunks of a byte",
            post(
                CHUNKED,
                &(BODY
                    .chars()
                    .map(|c| format!("1\r\n{c}\r\n"))
                    .collect::<String>()
                    + "0\r\n\r\n"),
            ),
            &[200],
        ),
        (
            "both, chunks after the length",
            post(&format!("{LENGTH}{CHUNKED}"), &chunked(BODY)),
            &[200, 400, 0],
        ),
        (
            "two lengths",
            post(&format!("{LENGTH}Content-Length: 3\r\n"), BODY),
            REFUSED,
        ),
        (
            "a list of lengths",
            post("Content-Length: 32, 3\r\n", BODY),
            REFUSED,
        ),
        (
            "a length below nothing",
            post("Content-Length: -1\r\n", BODY),
            REFUSED,
        ),
        (
            "a length with a sign",
            post("Content-Length: +32\r\n", BODY),
            REFUSED,
        ),
        (
            "a length in hexadecimal",
            post("Content-Length: 0x20\r\n", BODY),
            REFUSED,
        ),
        (
            "an empty length",
            post("Content-Length:\r\n", BODY),
            REFUSED,
        ),
        (
            "a length beyond numbers",
            post("Content-Length: 99999999999999999999\r\n", BODY),
            REFUSED,
        ),
        (
            "the largest length",
            post("Content-Length: 18446744073709551615\r\n", BODY),
            &[400, 413, 431, 0],
        ),
        (
            "a terabyte",
            post("Content-Length: 1000000000000\r\n", BODY),
            &[413],
        ),
        (
            "a longer length",
            post("Content-Length: 40\r\n", BODY),
            REFUSED,
        ),
        (
            "gzip as the transfer",
            post("Transfer-Encoding: gzip\r\n", BODY),
            REFUSED,
        ),
        (
            "chunked, then gzip",
            post("Transfer-Encoding: chunked, gzip\r\n", &chunked(BODY)),
            REFUSED,
        ),
        (
            "something like chunked",
            post("Transfer-Encoding: xchunked\r\n", &chunked(BODY)),
            REFUSED,
        ),
        (
            "a space before the colon",
            post("Transfer-Encoding : chunked\r\n", &chunked(BODY)),
            REFUSED,
        ),
        (
            "chunks of no size",
            post(CHUNKED, "zz\r\n{}\r\n0\r\n\r\n"),
            REFUSED,
        ),
        (
            "a chunk below nothing",
            post(CHUNKED, "-1\r\n{}\r\n0\r\n\r\n"),
            REFUSED,
        ),
        (
            "a chunk beyond numbers",
            post(CHUNKED, "fffffffffffffffff\r\n{}"),
            REFUSED,
        ),
        (
            "the largest chunk",
            post(CHUNKED, "ffffffffffffffff\r\n{}"),
            REFUSED,
        ),
        (
            "a chunk without its end",
            post(CHUNKED, &format!("20\r\n{BODY}0\r\n\r\n")),
            REFUSED,
        ),
        (
            "a long extension",
            post(
                CHUNKED,
                &format!("20;{}\r\n{BODY}\r\n0\r\n\r\n", "a".repeat(100_000)),
            ),
            REFUSED,
        ),
        (
            "many trailers",
            post(
                CHUNKED,
                &format!("20\r\n{BODY}\r\n0\r\n{}\r\n", "X: y\r\n".repeat(20_000)),
            ),
            &[200, 400, 431, 0],
        ),
        (
            "an extension",
            post(CHUNKED, &format!("20;a=b\r\n{BODY}\r\n0\r\n\r\n")),
            &[200],
        ),
        (
            "a go-ahead that is not needed",
            post(&format!("{LENGTH}Expect: 100-continue\r\n"), BODY),
            &[200],
        ),
        (
            "an expectation of nobody's",
            post(&format!("{LENGTH}Expect: tea\r\n"), BODY),
            &[200, 417],
        ),
        (
            "gzip inside",
            post(&format!("{LENGTH}Content-Encoding: gzip\r\n"), BODY),
            &[200, 415],
        ),
    ]
}

#[test]
fn each_shape_gets_a_sensible_answer_or_none() {
    let server = impatient();
    let shapes: Vec<Shape> = heads().into_iter().chain(bodies()).collect();
    assert!(shapes.len() >= 75, "{}", shapes.len());
    std::thread::scope(|scope| {
        for some in shapes.chunks(5) {
            scope.spawn(|| some.iter().for_each(|shape| check(&server, shape)));
        }
    });
    let whole = greedy(LILY, 48, false);
    assert_eq!(
        server.post("/v1/completions", &whole).completion(),
        LILY_GREEDY
    );
    // The one that asks is left.
    server.wait_metric("sterna_http_requests_in_flight", 1.0);
}

fn check(server: &Server, (what, bytes, expected): &Shape) {
    match statuses(server, bytes).as_slice() {
        [] => assert!(expected.contains(&0), "{what}: no answer"),
        [status] => assert!(expected.contains(status), "{what}: {status}"),
        // What is left of a refused request is not taken for another one.
        several => panic!("{what}: {several:?}"),
    }
    assert_eq!(server.get("/livez").status, 200, "after {what}");
}

#[test]
fn requests_sent_ahead_are_answered_in_order() {
    let server = impatient();
    let one = get("/livez", HOST);
    assert_eq!(statuses(&server, &one.repeat(100)), [200; 100]);
    let post = post(LENGTH, BODY);
    let mixed = [post, one.clone(), get("/nowhere", HOST), one].concat();
    assert_eq!(statuses(&server, &mixed), [200, 200, 404, 200]);
}
