//! Pages of other sites: what their browsers may send here, and what they get to see of the answer.

use super::*;
use std::io::Read;

/// As a browser, or something else, asks for `localhost:8080`.
fn from(origin: Option<&str>, fetch_site: Option<&str>, head: Head) -> Head {
    Head {
        authority: Some("localhost:8080".into()),
        origin: origin.map(str::to_owned),
        fetch_site: fetch_site.map(str::to_owned),
        ..head
    }
}

fn opened_to(origin: Option<&str>) -> Settings {
    Settings {
        cors_origin: origin.map(str::to_owned),
        ..settings()
    }
}

/// Bodies a page may send without a preflight, and one it may not.
const CONTENT_TYPES: [Option<&str>; 4] = [
    None,
    Some("text/plain"),
    Some("application/x-www-form-urlencoded"),
    Some("application/json"),
];

#[test]
fn a_foreign_page_makes_the_server_do_no_work() {
    struct Unread;
    impl Read for Unread {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            panic!("the body was read");
        }
    }
    for (origin, fetch_site) in [
        (Some("https://evil.example"), None),
        (Some("null"), None),
        (Some("http://localhost:3000"), Some("same-site")),
        (None, Some("cross-site")),
    ] {
        for content_type in CONTENT_TYPES {
            for path in [CHAT, TEXT, EMBED, "/v1/models", "/nowhere"] {
                let engine = story();
                let sent = Head {
                    content_type: content_type.map(str::to_owned),
                    ..head("POST", path, b"")
                };
                let sent = from(origin, fetch_site, sent);
                let reply = now(handle(&engine, &settings(), &sent, &mut Unread, STAMP));
                assert_eq!(reply.status, 403, "{origin:?} {content_type:?} {path}");
                assert!(engine.asked.borrow().is_empty());
            }
        }
    }
    let body = hello().to_string();
    let sent = from(Some("null"), None, head("POST", CHAT, body.as_bytes()));
    let (_, code, _) = ask(&story(), &sent, body.as_bytes()).error();
    assert_eq!(code, "origin_not_allowed");
}

#[test]
fn the_servers_own_page_and_programs_are_answered() {
    let body = hello().to_string();
    for (origin, fetch_site) in [
        (None, None),
        (Some("http://localhost:8080"), None),
        (Some("http://localhost:8080"), Some("same-origin")),
        (Some("https://llm.example"), Some("same-origin")),
    ] {
        let sent = from(origin, fetch_site, head("POST", CHAT, body.as_bytes()));
        assert_eq!(
            ask(&story(), &sent, body.as_bytes()).status,
            200,
            "{origin:?}"
        );
    }
}

#[test]
fn what_is_only_read_is_answered_without_being_shown_to_other_pages() {
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/v1/models"),
        ("HEAD", "/v1/models"),
        ("GET", "/nowhere"),
        ("OPTIONS", CHAT),
    ] {
        let sent = from(Some("https://evil.example"), None, head(method, path, b""));
        let got = ask(&story(), &sent, b"");
        assert_ne!(got.status, 403, "{method} {path}");
        let shown = got
            .headers
            .iter()
            .find(|(name, _)| name.starts_with("access-control"));
        assert_eq!(shown, None, "{method} {path}");
    }
}

#[test]
fn the_operator_opens_it_to_an_origin_or_to_all() {
    let (chat, evil) = ("https://chat.example", "https://evil.example");
    let body = hello().to_string();
    for (opened, origin, status) in [
        (chat, chat, 200),
        (chat, evil, 403),
        (chat, "null", 403),
        ("*", evil, 200),
        ("*", "null", 200),
    ] {
        let open = opened_to(Some(opened));
        let site = Some("cross-site");
        let sent = from(Some(origin), site, head("POST", CHAT, body.as_bytes()));
        let got = ask_under(&open, &story(), &sent, body.as_bytes());
        assert_eq!(got.status, status, "{opened} {origin}");
        for (method, path) in [
            ("GET", "/v1/models"),
            ("OPTIONS", CHAT),
            ("GET", "/nowhere"),
        ] {
            let got = ask_under(&open, &story(), &head(method, path, b""), b"");
            assert_eq!(got.header("access-control-allow-origin"), Some(opened));
        }
        let preflight = ask_under(&open, &story(), &head("OPTIONS", CHAT, b""), b"");
        assert_eq!(
            preflight.header("access-control-allow-methods"),
            Some("POST, OPTIONS")
        );
        let headers = preflight.header("access-control-allow-headers");
        assert_eq!(headers, Some("authorization, *"));
    }
}

#[test]
fn the_operator_opens_it_to_the_pages_of_this_machine() {
    let open = opened_to(Some("localhost"));
    let body = hello().to_string();
    for (origin, is_local) in [
        ("http://localhost", true),
        ("http://LOCALHOST:3000", true),
        ("https://chat.localhost", true),
        ("http://127.0.0.1:3000", true),
        ("http://[::1]:3000", true),
        ("http://notlocalhost", false),
        ("http://localhost.evil.example", false),
        ("http://10.0.0.7", false),
        ("file://localhost", false),
        ("http://localhost/x", false),
        ("null", false),
    ] {
        let site = Some("cross-site");
        let sent = from(Some(origin), site, head("POST", CHAT, body.as_bytes()));
        let got = ask_under(&open, &story(), &sent, body.as_bytes());
        assert_eq!(got.status, if is_local { 200 } else { 403 }, "{origin}");
        let asked = from(Some(origin), site, head("OPTIONS", CHAT, b""));
        let preflight = ask_under(&open, &story(), &asked, b"");
        let shown = is_local.then_some(origin);
        assert_eq!(preflight.header("access-control-allow-origin"), shown);
        let methods = preflight.header("access-control-allow-methods");
        assert_eq!((preflight.status, methods.is_some()), (200, is_local));
        assert_eq!(preflight.header("vary"), Some("origin"));
    }
}

#[test]
fn only_listed_names_are_answered_where_there_is_a_list() {
    let listed = Settings {
        allowed_hosts: vec![".llm.example".into()],
        ..settings()
    };
    for (authority, status) in [
        (Some("llm.example"), 200),
        (Some("a.LLM.example:3000"), 200),
        (Some("localhost:3000"), 200),
        (Some("10.0.0.7:80"), 200),
        (Some("evil.example"), 403),
        (Some("evil example"), 403),
        (Some(""), 403),
        (None, 403),
    ] {
        for path in ["/", "/v1/models", "/health"] {
            let sent = Head {
                authority: authority.map(str::to_owned),
                ..head("GET", path, b"")
            };
            let got = ask_under(&listed, &story(), &sent, b"");
            assert_eq!(got.status, status, "{authority:?} {path}");
            let anyones = ask_under(&settings(), &story(), &sent, b"");
            assert_eq!(anyones.status, 200, "{authority:?} {path}");
        }
    }
}
