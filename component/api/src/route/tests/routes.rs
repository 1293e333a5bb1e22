//! The routes besides the completions, and what is none.

use super::*;

#[test]
fn models_and_their_facts() {
    let engine = story();
    let fact = json!({
        "id": "org/demo", "object": "model", "created": 1_700_000_000, "owned_by": "sterna",
        "state": "loaded",
        "architecture": "bitnet-b1.58", "parameters": 5_800_000, "context_length": 512, "vocab_size": 4096,
        "head_type": "f16", "kv_type": "f16", "isa": "scalar", "max_sequences": 4,
        "embedding_size": 4,
    });
    assert_eq!(
        send(&engine, "GET", "/v1/models", b"").json(),
        json!({"object": "list", "data": [fact]})
    );
    for path in ["/v1/models/org/demo", "/v1/models/org%2Fdemo?x=1"] {
        assert_eq!(send(&engine, "GET", path, b"").json(), fact);
    }
    let (status, code, _) = send(&engine, "GET", "/v1/models/gpt-4", b"").error();
    assert_eq!((status, code.as_str()), (404, "model_not_found"));
}

#[test]
fn health_index_head_and_preflight() {
    let engine = story();
    assert_eq!(
        send(&engine, "GET", "/health", b"").json(),
        json!({"status": "ok"})
    );
    let head = send(&engine, "HEAD", "/health", b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    let index = send(&engine, "GET", "/", b"");
    assert_eq!(
        index.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    let index = String::from_utf8(index.body).unwrap();
    assert!(
        index.contains("POST /v1/chat/completions")
            && index.contains("POST /v1/embeddings")
            && index.contains("curl "),
        "{index}"
    );
    let preflight = send(&engine, "OPTIONS", CHAT, b"");
    assert_eq!((preflight.status, preflight.body.len()), (200, 0));
    assert_eq!(preflight.header("allow"), Some("POST, OPTIONS"));
}

#[test]
fn probes_tell_life_from_readiness() {
    let engine = story();
    assert_eq!(
        send(&engine, "GET", "/livez", b"").json(),
        json!({"live": true})
    );
    let ready = send(&engine, "GET", "/readyz", b"").json();
    let model = engine.models[0].clone();
    assert_eq!(
        ready,
        json!({"ready": true, "model": model.id, "isa": model.isa})
    );
    let (status, code, _) = send(&engine, "GET", "/metrics", b"").error();
    assert_eq!((status, code.as_str()), (404, "no_metrics"));
}

#[test]
fn slashes_too_many_make_no_difference() {
    let engine = story();
    for (path, same) in [
        ("//v1/models", "/v1/models"),
        ("/v1/models/", "/v1/models"),
        ("///v1//models//?x=/", "/v1/models"),
        ("/%76%31/models", "/v1/models"),
        ("//health", "/health"),
        ("/livez/", "/livez"),
        ("/readyz//", "/readyz"),
        ("//", "/"),
        ("//style.css", "/style.css"),
        ("/v1/models/org/demo/", "/v1/models/org/demo"),
        ("/v1/models//org//demo", "/v1/models/org/demo"),
    ] {
        let (got, plain) = (
            send(&engine, "GET", path, b""),
            send(&engine, "GET", same, b""),
        );
        assert_eq!((got.status, got.body), (200, plain.body), "{path}");
    }
    for path in ["//v1/chat/completions", "/v1/chat/completions/"] {
        assert_eq!(post(&engine, path, &hello()).status, 200, "{path}");
        assert_eq!(send(&engine, "GET", path, b"").error().0, 405, "{path}");
    }
    let (status, code, _) = send(&engine, "GET", "//metrics/", b"").error();
    assert_eq!((status, code.as_str()), (404, "no_metrics"));
}

#[test]
fn paths_are_found_with_and_without_v1() {
    let engine = story();
    for (path, same) in [
        ("/models", "/v1/models"),
        ("/models/org/demo/", "/v1/models/org/demo"),
        ("/v1/health", "/health"),
        ("/v1/openapi.json", "/openapi.json"),
    ] {
        let (got, plain) = (
            send(&engine, "GET", path, b""),
            send(&engine, "GET", same, b""),
        );
        assert_eq!((got.status, got.body), (200, plain.body), "{path}");
    }
    for (path, body) in [
        ("/chat/completions", hello()),
        ("/completions", json!({"prompt": "x"})),
        ("/embeddings/", json!({"input": "x"})),
        ("/v1/tokenize", json!({"content": "x"})),
        ("/v1/detokenize", json!({"tokens": [80]})),
        ("/v1/apply-template", hello()),
    ] {
        assert_eq!(post(&engine, path, &body).status, 200, "{path}");
    }
    for path in ["/v1/livez", "/v1/style.css", "/v1/v1/models"] {
        assert_eq!(send(&engine, "GET", path, b"").error().0, 404, "{path}");
    }
}

#[test]
fn every_route_has_its_methods() {
    let engine = story();
    for (path, route) in table::ROUTES {
        let path = path.replace("{id}", "org/demo");
        let options = send(&engine, "OPTIONS", &path, b"");
        assert_eq!(options.status, 200, "{path}");
        let allow = options.header("allow").unwrap().to_owned();
        assert_eq!(allow, route.allow());
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"] {
            let got = send(&engine, method, &path, b"");
            let allowed = allow.split(", ").any(|it| it == method);
            assert_eq!(got.status != 405, allowed, "{method} {path}");
            if !allowed {
                assert_eq!(got.header("allow"), Some(allow.as_str()));
            }
            assert!(method != "HEAD" || got.body.is_empty(), "{path}");
        }
    }
}

#[test]
fn every_answer_bears_the_requests_name() {
    let engine = story();
    for (path, body) in [
        ("/v1/models", Value::Null),
        ("/none", Value::Null),
        (CHAT, hello()),
        (CHAT, json!({})),
        (
            CHAT,
            json!({"messages": hello()["messages"], "stream": true}),
        ),
    ] {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let method = if body.is_empty() { "GET" } else { "POST" };
        for (given, expected) in [
            (Some("my-request.1"), "my-request.1"),
            (None, "req_00000000000000000000000000000001"),
            (
                Some("bad\r\nname: x"),
                "req_00000000000000000000000000000001",
            ),
        ] {
            let head = Head {
                request_id: given.map(str::to_owned),
                ..head(method, path, body.as_bytes())
            };
            let got = ask(&engine, &head, body.as_bytes());
            assert_eq!(got.header("x-request-id"), Some(expected), "{path}");
        }
    }
}

#[test]
fn unknown_routes_and_wrong_methods() {
    let engine = story();
    for path in [
        "/v1",
        "/v2/models",
        "",
        "*",
        "v1/models",
        "/v1%2Fmodels",
        "/v1/./models",
        "/v1/../v1/models",
        "/v1/models%00",
        "/v1/chat/completions/x",
    ] {
        let (status, code, _) = send(&engine, "GET", path, b"").error();
        assert_eq!((status, code.as_str()), (404, "unknown_url"), "{path}");
    }
    for (method, path, allow) in [
        ("GET", CHAT, "POST, OPTIONS"),
        ("DELETE", TEXT, "POST, OPTIONS"),
        ("POST", "/v1/models", "GET, HEAD, OPTIONS"),
        ("PUT", "/health", "GET, HEAD, OPTIONS"),
        ("get", "/", "GET, HEAD, OPTIONS"),
    ] {
        let got = send(&engine, method, path, b"");
        assert_eq!(
            (got.error().0, got.header("allow")),
            (405, Some(allow)),
            "{method} {path}"
        );
    }
    let head = send(&engine, "HEAD", CHAT, b"");
    assert_eq!((head.status, head.body.len()), (405, 0));
}

#[test]
fn the_host_gives_errors_in_the_same_forms() {
    for (path, route) in table::ROUTES {
        let host = sterna_http_rules::ErrorForm::of(path);
        assert_eq!(format!("{host:?}"), format!("{:?}", route.form()), "{path}");
    }
}
