//! Settings from the environment.

use crate::apps::App;
use crate::support::{LILY, LILY_GREEDY, greedy};

#[test]
fn a_key_in_the_environment_locks_the_api() {
    for app in [App::DEMO, App::DEMO_P3] {
        let server = app.serve(&[
            "--env",
            "STERNA_API_KEY=sesame",
            "--env",
            "STERNA_MODEL_ALIAS=small",
        ]);
        let mut body = greedy(LILY, 48, false);
        body["model"] = "small".into();
        server.post("/v1/completions", &body).error(401);
        server.get("/v1/models").error(401);
        assert_eq!(server.get("/health").status, 200);
        let headers = [
            "Content-Type: application/json",
            "Authorization: Bearer sesame",
        ];
        let answer = server.connect().request(
            "POST",
            "/v1/completions",
            &headers,
            body.to_string().as_bytes(),
        );
        assert_eq!(answer.completion(), LILY_GREEDY);
    }
}

#[test]
fn a_wrong_value_is_told_to_clients_and_in_the_log() {
    for app in [App::DEMO, App::DEMO_P3] {
        let server = app.serve(&["--env", "STERNA_MAX_TOKENS=many"]);
        for path in ["/health", "/v1/models"] {
            let message = server.get(path).error(500);
            assert!(message.contains("STERNA_MAX_TOKENS"), "{message}");
        }
        crate::support::wait_until("the line in the log", || {
            server.log().contains("STERNA_MAX_TOKENS cannot be used")
        });
    }
}

#[test]
fn foreign_pages_and_names_are_kept_out() {
    // By which name a server was asked, wasmtime does not tell a WASI 0.3 component.
    for (app, tells) in [(App::DEMO, true), (App::DEMO_P3, false)] {
        let server = app.serve(&["--env", "STERNA_ALLOWED_HOSTS=llm.example"]);
        let body = greedy(LILY, 4, false).to_string();
        let ask = |method: &str, host: &str, origin: &str| {
            let length = body.len();
            let mut client = server.connect();
            let head = format!(
                "{method} /v1/completions HTTP/1.1\r\nHost: {host}\r\n{origin}Content-Length: {length}\r\n\r\n"
            );
            client.send((head + &body).as_bytes()).unwrap();
            client.answer()
        };
        if !tells {
            let message = ask("POST", "llm.example", "").error(403);
            assert!(message.contains("cannot be checked"), "{message}");
            continue;
        }
        for origin in ["", "Origin: https://llm.example\r\n"] {
            assert_eq!(ask("POST", "llm.example", origin).status, 200, "{origin}");
        }
        for origin in ["Origin: https://evil.example\r\n", "Origin: null\r\n"] {
            ask("POST", "llm.example", origin).error(403);
            let preflight = ask("OPTIONS", "llm.example", origin);
            assert!(
                !preflight.head.contains("access-control"),
                "{}",
                preflight.head
            );
        }
        ask("POST", "evil.example", "").error(403);
    }
}
