//! Web pages of others, which make their reader's browser ask a server on the reader's own machine.

use crate::support::http::{Answer, header};
use crate::support::server::Server;
use crate::support::{LILY, greedy};

fn ask(server: &Server, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let mut client = server.connect();
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nContent-Length: {length}\r\n{headers}\r\n");
    client.send((head + body).as_bytes()).unwrap();
    client.answer()
}

#[test]
fn a_page_of_another_site_gets_nothing_done() {
    let server = Server::start(&[]);
    let body = greedy(LILY, 4, false).to_string();
    for from in [
        "Origin: https://evil.example\r\n",
        "Origin: null\r\n",
        "Origin: http://localhost:1\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
    ] {
        for kind in [
            "",
            "Content-Type: text/plain\r\n",
            "Content-Type: application/json\r\n",
        ] {
            let headers = format!("Host: localhost\r\n{from}{kind}");
            ask(&server, "POST", "/v1/completions", &headers, &body).error(403);
        }
        let headers = format!("Host: localhost\r\n{from}");
        let models = ask(&server, "GET", "/v1/models", &headers, "");
        assert!(!models.head.contains("access-control"), "{}", models.head);
        let preflight = ask(&server, "OPTIONS", "/v1/completions", &headers, "");
        assert!(
            !preflight.head.contains("access-control"),
            "{}",
            preflight.head
        );
    }
    assert_eq!(server.metric("sterna_generations_started_total"), 0.0);
    let own = "Host: localhost:8080\r\nOrigin: http://localhost:8080\r\nContent-Type: application/json\r\n";
    assert_eq!(
        ask(&server, "POST", "/v1/completions", own, &body).status,
        200
    );
}

#[test]
fn a_name_of_somebody_else_is_not_answered() {
    let server = Server::start(&[]);
    let port = server.address().rsplit(':').next().unwrap();
    let body = greedy(LILY, 4, false).to_string();
    for host in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "10.0.0.1",
    ] {
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/v1/models"),
            ("GET", "/livez"),
            ("GET", "/metrics"),
            ("POST", "/v1/completions"),
        ] {
            let headers = format!("Host: {host}:{port}\r\nContent-Type: application/json\r\n");
            let message = ask(&server, method, path, &headers, &body).error(403);
            assert!(message.contains("--allowed-hosts"), "{message}");
        }
        let target = format!("http://{host}/v1/models");
        ask(&server, "GET", &target, "Host: localhost\r\n", "").error(403);
    }
    for host in [
        "localhost",
        "LocalHost:1",
        "127.0.0.1",
        "127.9.9.9",
        "[::1]:80",
        "test",
    ] {
        let headers = format!("Host: {host}\r\n");
        assert_eq!(
            ask(&server, "GET", "/v1/models", &headers, "").status,
            200,
            "{host}"
        );
    }
}

#[test]
fn the_operator_opens_what_should_be_open() {
    let server = Server::start_with(
        &["--allowed-hosts", "llm.example"],
        &[("STERNA_CORS_ORIGIN", "https://chat.example")],
    );
    let body = greedy(LILY, 4, false).to_string();
    let json = "Content-Type: application/json\r\n";
    for (origin, host, status) in [
        ("https://chat.example", "llm.example", 200),
        ("https://llm.example", "llm.example", 200),
        ("https://evil.example", "llm.example", 403),
        ("https://chat.example", "evil.example", 403),
    ] {
        let headers = format!("Host: {host}\r\nOrigin: {origin}\r\n{json}");
        let answer = ask(&server, "POST", "/v1/completions", &headers, &body);
        assert_eq!(answer.status, status, "{origin} {host}");
        if status == 200 {
            let shown = header(&answer.head, "access-control-allow-origin");
            assert_eq!(shown, Some("https://chat.example"));
        }
    }
}

/// As in a pod, where clients and probes use whatever name or address the cluster gave it.
#[test]
fn a_server_for_other_machines_is_asked_by_any_name() {
    let mut command = crate::support::server::sterna();
    command.args(["serve", "--listen", "0.0.0.0:0"]);
    let server = Server::announced_anywhere(&mut command);
    for host in [
        "10.1.2.3:8080",
        "sterna.default.svc.cluster.local",
        "llm.example",
    ] {
        for path in ["/livez", "/readyz", "/metrics", "/v1/models"] {
            let headers = format!("Host: {host}\r\n");
            assert_eq!(
                ask(&server, "GET", path, &headers, "").status,
                200,
                "{host}"
            );
        }
    }
}
