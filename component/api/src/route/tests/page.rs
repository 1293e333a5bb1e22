//! The chat page and its files.

use super::*;

/// As Chromium sends it.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

fn browse(method: &str, path: &str, if_none_match: Option<&str>) -> Got {
    let head = Head {
        method: method.into(),
        path: path.into(),
        accept: Some(BROWSER.into()),
        if_none_match: if_none_match.map(str::to_owned),
        ..Head::default()
    };
    ask(&story(), &head, b"")
}

#[test]
fn browsers_get_a_page() {
    for (path, content_type, inside) in [
        ("/", "text/html; charset=utf-8", "<!doctype html>"),
        ("/?from=x", "text/html; charset=utf-8", "<!doctype html>"),
        (
            "/style.css",
            "text/css; charset=utf-8",
            "prefers-color-scheme",
        ),
        (
            "/chat.js",
            "text/javascript; charset=utf-8",
            "v1/chat/completions",
        ),
    ] {
        let got = browse("GET", path, None);
        assert_eq!(
            (got.status, got.header("content-type")),
            (200, Some(content_type))
        );
        let policy = got.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(
            !policy.contains("unsafe") && !policy.contains("http"),
            "{policy}"
        );
        assert_eq!(got.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(got.header("cache-control"), Some("no-cache"));
        assert!(
            String::from_utf8(got.body.clone())
                .unwrap()
                .contains(inside)
        );

        let head = browse("HEAD", path, None);
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.headers, got.headers, "HEAD {path}");

        let again = browse("GET", path, got.header("etag"));
        assert_eq!((again.status, again.body.len()), (304, 0));
        assert_eq!(again.header("etag"), got.header("etag"));
        assert_eq!(again.header("content-type"), None);

        let post = browse("POST", path, None);
        assert_eq!(
            (post.error().0, post.header("allow")),
            (405, Some("GET, HEAD, OPTIONS"))
        );
    }
}

#[test]
fn the_index_depends_on_accept() {
    for (accept, html) in [
        (None, false),
        (Some("*/*"), false),
        (Some("application/json"), false),
        (Some("TEXT/HTML"), true),
        (Some(BROWSER), true),
    ] {
        let head = Head {
            method: "GET".into(),
            path: "/".into(),
            accept: accept.map(str::to_owned),
            ..Head::default()
        };
        let got = ask(&story(), &head, b"");
        let is_html = got.header("content-type").unwrap().starts_with("text/html");
        assert_eq!(
            (is_html, got.header("vary")),
            (html, Some("accept")),
            "{accept:?}"
        );
    }
}
