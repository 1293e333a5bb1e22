//! The operator's settings and their effect on clients.

use super::*;
use crate::engine::Request;
use std::io::Read;

/// A request with a key.
fn keyed(settings: &Settings, method: &str, path: &str, body: &[u8], key: Option<&str>) -> Got {
    let head = Head {
        authorization: key.map(|key| format!("Bearer {key}")),
        ..head(method, path, body)
    };
    ask_under(settings, &story(), &head, body)
}

fn locked() -> Settings {
    Settings {
        api_keys: vec!["one".into(), "two".into()],
        ..settings()
    }
}

#[test]
fn a_key_opens_the_api() {
    let body = hello().to_string();
    for (method, path, body) in [
        ("POST", CHAT, body.as_bytes()),
        ("POST", TEXT, br#"{"prompt": "x"}"#.as_slice()),
        ("POST", EMBED, br#"{"input": "x"}"#.as_slice()),
        ("GET", "/v1/models", b""),
        ("HEAD", "/v1/models", b""),
        ("GET", "/v1/models/org/demo", b""),
    ] {
        for key in ["one", "two"] {
            assert_eq!(keyed(&locked(), method, path, body, Some(key)).status, 200);
        }
        for (key, code, challenge) in [
            (None, "missing_api_key", r#"Bearer realm="sterna""#),
            (
                Some("three"),
                "invalid_api_key",
                r#"Bearer realm="sterna", error="invalid_token""#,
            ),
        ] {
            let got = keyed(&locked(), method, path, body, key);
            assert_eq!(got.status, 401, "{path}");
            assert_eq!(got.header("www-authenticate"), Some(challenge));
            if method != "HEAD" {
                assert_eq!(got.error(), (401, code.into(), None));
            }
        }
    }
}

#[test]
fn without_a_key_the_body_is_not_read() {
    struct Unread;
    impl Read for Unread {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            panic!("the body was read");
        }
    }
    let reply = now(handle(
        &story(),
        &locked(),
        &head("POST", CHAT, b"x"),
        &mut Unread,
        STAMP,
    ));
    assert_eq!(reply.status, 401);
}

#[test]
fn probes_page_and_preflight_need_no_key() {
    for (method, path, status) in [
        ("GET", "/health", 200),
        ("GET", "/", 200),
        ("GET", "/style.css", 200),
        ("GET", "/chat.js", 200),
        ("OPTIONS", CHAT, 200),
        ("OPTIONS", "/v1/models", 200),
        ("GET", "/nowhere", 404),
    ] {
        assert_eq!(
            keyed(&locked(), method, path, b"", None).status,
            status,
            "{path}"
        );
    }
}

/// Ask for a completion; what the engine was asked and what came of it.
fn complete(settings: &Settings, fields: &Value) -> (Vec<Request>, Got) {
    let engine = story();
    let mut body = json!({"prompt": "x"});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    let body = body.to_string();
    let got = ask_under(
        settings,
        &engine,
        &head("POST", TEXT, body.as_bytes()),
        body.as_bytes(),
    );
    (engine.asked.take(), got)
}

#[test]
fn tokens_by_default_and_at_most() {
    let limits = |default_max_tokens, max_tokens| Settings {
        default_max_tokens,
        max_tokens,
        ..settings()
    };
    for (settings, fields, asked) in [
        (limits(None, None), json!({}), None),
        (limits(Some(16), None), json!({}), Some(16)),
        (
            limits(Some(16), None),
            json!({"max_tokens": 500}),
            Some(500),
        ),
        (limits(Some(16), Some(32)), json!({}), Some(16)),
        (limits(None, Some(32)), json!({}), Some(32)),
        (limits(None, Some(32)), json!({"max_tokens": 32}), Some(32)),
    ] {
        let (requests, got) = complete(&settings, &fields);
        assert_eq!(
            (got.status, requests[0].max_tokens),
            (200, asked),
            "{fields}"
        );
    }
    for field in ["max_tokens", "max_completion_tokens"] {
        let (requests, got) = complete(&limits(None, Some(32)), &json!({field: 33}));
        assert_eq!(
            got.error(),
            (400, "invalid_value".into(), Some(field.into()))
        );
        assert!(String::from_utf8_lossy(&got.body).contains("at most 32 tokens"));
        assert!(requests.is_empty());
    }
}

#[test]
fn prompts_and_conversations_have_a_limit() {
    let short = Settings {
        max_prompt_tokens: Some(2),
        ..settings()
    };
    let (_, got) = complete(&short, &json!({}));
    let refused = (400, "context_length_exceeded".into(), Some("prompt".into()));
    assert_eq!(got.error(), refused, "the script's prompt has 3 tokens");
    let enough = Settings {
        max_prompt_tokens: Some(3),
        ..settings()
    };
    assert_eq!(complete(&enough, &json!({})).1.status, 200);

    let single = Settings {
        max_messages: 1,
        ..settings()
    };
    let turn = json!({"role": "user", "content": "x"});
    for (turns, status) in [(json!([turn]), 200), (json!([turn, turn]), 400)] {
        let body = json!({ "messages": turns }).to_string();
        let got = keyed(&single, "POST", CHAT, body.as_bytes(), None);
        assert_eq!(got.status, status, "{turns}");
    }

    let small = Settings {
        max_body_bytes: 1024,
        ..settings()
    };
    for (length, status) in [(900, 200), (1024, 413)] {
        let (_, got) = complete(&small, &json!({"prompt": "x".repeat(length)}));
        assert_eq!(got.status, status);
    }
}

#[test]
fn a_model_may_have_a_second_name() {
    let named = Settings {
        model_alias: Some("gpt-small".into()),
        ..settings()
    };
    let list = keyed(&named, "GET", "/v1/models", b"", None).json();
    let ids: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| &model["id"])
        .collect();
    assert_eq!(ids, ["gpt-small", "org/demo"]);
    let one = keyed(&named, "GET", "/v1/models/gpt-small", b"", None).json();
    assert_eq!(
        (&one["id"], &one["context_length"]),
        (&json!("gpt-small"), &json!(512))
    );
    for (fields, shown) in [
        (json!({}), "gpt-small"),
        (json!({"model": "gpt-small"}), "gpt-small"),
        (json!({"model": "org/demo"}), "org/demo"),
    ] {
        let (requests, got) = complete(&named, &fields);
        assert_eq!(requests[0].model, "org/demo");
        assert_eq!(got.json()["model"], shown, "{fields}");
    }
    let (_, got) = complete(&named, &json!({"model": "gpt-large"}));
    assert_eq!(got.error().0, 404);

    // The model's own name is no second one.
    let same = Settings {
        model_alias: Some("org/demo".into()),
        ..settings()
    };
    let list = keyed(&same, "GET", "/v1/models", b"", None).json();
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
}

#[test]
fn a_wrong_setting_is_told_by_name() {
    let invalid = crate::settings::InvalidSetting {
        name: "STERNA_MAX_TOKENS".into(),
        message: "expected a whole number".into(),
    };
    let error = ApiError::misconfigured(&invalid);
    assert_eq!((error.status, error.code), (500, Some("misconfigured")));
    assert!(
        error
            .message
            .contains("STERNA_MAX_TOKENS cannot be used: expected")
    );
}
