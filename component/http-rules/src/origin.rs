//! Which pages may make a browser send a request that changes something, or costs something.
//!
//! A page may send a "simple" POST (a form's, or one without `Content-Type`) to any server without
//! asking it first, and only the answer is kept from it. So the server has to look where such a
//! request comes from. Browsers say it in two headers that no page can set: `Sec-Fetch-Site` (Fetch
//! Metadata; to servers with TLS and on localhost) and `Origin` (Fetch, 3.2; with every POST).
//! Clients that are no browser send neither.

use crate::Authority;

/// The headers that tell the page which sent a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sender<'a> {
    /// `Origin`, if sent.
    pub origin: Option<&'a str>,
    /// `Sec-Fetch-Site`, if sent.
    pub fetch_site: Option<&'a str>,
}

/// The setting by which the operator opens the server to the pages of this machine.
pub const LOCAL: &str = "localhost";

impl Sender<'_> {
    /// True if a request that may change something is taken: of no page, of the server's own one at
    /// `authority`, or of the origin the operator has opened the server to (`*`: all, [`LOCAL`]:
    /// those of this machine).
    #[must_use]
    pub fn may_change(&self, authority: Option<&str>, opened_to: Option<&str>) -> bool {
        match (opened_to, self.origin, self.fetch_site) {
            (Some("*"), ..) => true,
            (Some(LOCAL), Some(origin), _) if is_local(origin) => true,
            (Some(opened), Some(origin), _) if origin.eq_ignore_ascii_case(opened) => true,
            // The browser has compared it with the address it knows the server by, which a proxy
            // may have hidden from us; `none` is the person at the browser.
            (_, _, Some("same-origin" | "none")) => true,
            (_, Some(origin), _) => authority.is_some_and(|to| is_origin_of(origin, to)),
            (_, None, Some(_)) => false,
            (_, None, None) => true,
        }
    }
}

/// The origin whose pages may read an answer, as `Access-Control-Allow-Origin` has it: the setting,
/// or with [`LOCAL`] that of the request, if it is one of this machine.
#[must_use]
pub fn shown_to<'a>(opened_to: Option<&'a str>, origin: Option<&'a str>) -> Option<&'a str> {
    match opened_to {
        Some(LOCAL) => origin.filter(|origin| is_local(origin)),
        other => other,
    }
}

/// True of an origin on this machine, whatever its port: `localhost`, a name below it, or a
/// loopback address.
fn is_local(origin: &str) -> bool {
    let from = match origin.split_once("://") {
        Some(("http" | "https", rest)) => Authority::parse(rest),
        _ => None,
    };
    from.is_some_and(|from| match from.address() {
        Some(address) => address.is_loopback(),
        None => {
            let last = from.host.rsplit('.').next().unwrap_or_default();
            last.eq_ignore_ascii_case(LOCAL)
        }
    })
}

/// True if pages of this origin were served under this authority. The scheme may differ, since a
/// proxy may take off the TLS; the port of a scheme may be left out. `null`, which pages in a
/// sandbox send, is nobody's.
fn is_origin_of(origin: &str, authority: &str) -> bool {
    let Some((scheme, rest)) = origin.split_once("://") else {
        return false;
    };
    let own_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    match (Authority::parse(rest), Authority::parse(authority)) {
        (Some(from), Some(to)) => {
            let port = |port: Option<u16>| port.unwrap_or(own_port);
            from.host.eq_ignore_ascii_case(to.host) && port(from.port) == port(to.port)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(origin: Option<&str>, fetch_site: Option<&str>, opened: Option<&str>) -> bool {
        let sender = Sender { origin, fetch_site };
        sender.may_change(Some("localhost:8080"), opened)
    }

    #[test]
    fn the_servers_own_page_and_clients_without_a_page_may() {
        for (origin, fetch_site) in [
            (None, None),
            (Some("http://localhost:8080"), None),
            (Some("https://LOCALHOST:8080"), None),
            (Some("http://localhost:8080"), Some("same-origin")),
            (None, Some("same-origin")),
            (None, Some("none")),
            // Behind a proxy that puts its own name for the server into Host.
            (Some("https://llm.example"), Some("same-origin")),
        ] {
            assert!(may(origin, fetch_site, None), "{origin:?} {fetch_site:?}");
        }
    }

    #[test]
    fn other_pages_may_not() {
        for (origin, fetch_site) in [
            (Some("https://evil.example"), None),
            (Some("https://evil.example"), Some("cross-site")),
            (Some("null"), None),
            (Some("null"), Some("cross-site")),
            (Some(""), None),
            (Some("http://localhost"), None),
            (Some("http://localhost:3000"), Some("same-site")),
            (Some("http://localhost:8080.evil.example"), None),
            (Some("http://localhost:8080@evil.example"), None),
            (Some("http://evil.example/http://localhost:8080"), None),
            (Some("chrome-extension://localhost:8080"), None),
            (Some("localhost:8080"), None),
            (None, Some("cross-site")),
            (None, Some("same-site")),
            (None, Some("anything")),
        ] {
            assert!(!may(origin, fetch_site, None), "{origin:?} {fetch_site:?}");
        }
    }

    #[test]
    fn the_operator_may_open_it_to_one_origin_or_to_all() {
        let chat = Some("https://chat.example");
        assert!(may(chat, Some("cross-site"), chat));
        assert!(!may(Some("https://evil.example"), None, chat));
        assert!(!may(Some("null"), None, chat));
        assert!(may(Some("null"), Some("cross-site"), Some("*")));
    }

    #[test]
    fn the_schemes_port_may_be_left_out() {
        for (origin, authority, same) in [
            ("http://llm.example", "llm.example:80", true),
            ("https://llm.example", "llm.example:443", true),
            ("https://llm.example", "llm.example", true),
            ("https://llm.example:8443", "llm.example", false),
            ("http://llm.example", "llm.example:8080", false),
            ("http://[::1]:8080", "[::1]:8080", true),
        ] {
            assert_eq!(
                is_origin_of(origin, authority),
                same,
                "{origin} {authority}"
            );
        }
        let unknown = Sender {
            origin: Some("http://a"),
            fetch_site: None,
        };
        assert!(!unknown.may_change(None, None));
    }
}
