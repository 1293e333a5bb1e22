//! Whom a request is for: its `Host`, as HTTP wants it (RFC 9112, 3.2), and a name that is
//! answered.

use hyper::header::{HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};
use sterna_http_rules::{AllowedHosts, Authority};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::answer;

/// A request that is not for this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misdirected {
    NoHost,
    SeveralHosts,
    NoAuthority,
    Foreign,
    Tunnel,
}

/// Check, and give old requests that may come without one a `Host`.
pub(super) fn check<B>(
    request: &mut Request<B>,
    allowed: &AllowedHosts,
) -> Result<(), Misdirected> {
    if request.method() == Method::CONNECT {
        return Err(Misdirected::Tunnel);
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return Err(Misdirected::SeveralHosts),
        (Some(host), None) => host.to_str().map_err(|_| Misdirected::NoAuthority)?,
        (None, _) if request.version() < Version::HTTP_11 => {
            // WASI wants one.
            let local = HeaderValue::from_static("localhost");
            request.headers_mut().insert(HOST, local);
            return match request.uri().authority() {
                Some(target) => of_this_server(target.as_str(), allowed),
                None => Ok(()),
            };
        }
        (None, _) => return Err(Misdirected::NoHost),
    };
    // RFC 9112, 3.2.2: the target's authority is the one that counts, and Host has to be right all
    // the same.
    if let Some(target) = request.uri().authority() {
        of_this_server(target.as_str(), allowed)?;
    }
    of_this_server(host, allowed)
}

fn of_this_server(authority: &str, allowed: &AllowedHosts) -> Result<(), Misdirected> {
    let authority = Authority::parse(authority).ok_or(Misdirected::NoAuthority)?;
    if allowed.allow(&authority) {
        Ok(())
    } else {
        Err(Misdirected::Foreign)
    }
}

/// The answer to such a request.
pub(super) fn refuse(why: Misdirected) -> Response<HyperOutgoingBody> {
    let (status, code, message) = match why {
        Misdirected::NoHost => (
            StatusCode::BAD_REQUEST,
            "invalid_host",
            "HTTP/1.1 wants a Host header, and there is none",
        ),
        Misdirected::SeveralHosts => (
            StatusCode::BAD_REQUEST,
            "invalid_host",
            "there is more than one Host header",
        ),
        Misdirected::NoAuthority => (
            StatusCode::BAD_REQUEST,
            "invalid_host",
            "the Host header or the request's target has no name or address, with a port or without",
        ),
        Misdirected::Foreign => (
            StatusCode::FORBIDDEN,
            "host_not_allowed",
            "this server does not answer by the name in the Host header. On 127.0.0.1 it answers by local names \
             and addresses, so that no web page can reach it by a name of its own; --allowed-hosts \
             (STERNA_ALLOWED_HOSTS) adds names, for example a proxy's, or all of them by '*'",
        ),
        Misdirected::Tunnel => (
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "this server is no proxy",
        ),
    };
    answer::error(status, code, message)
}

#[cfg(test)]
mod tests {
    use sterna_http_rules::Addresses;

    use super::*;

    fn of(version: Version, target: &str, hosts: &[&str]) -> Result<(), Misdirected> {
        let mut request = Request::builder().version(version).uri(target);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let local = AllowedHosts::Names(Vec::new(), Addresses::Loopback);
        check(&mut request.body(()).unwrap(), &local)
    }

    #[test]
    fn a_request_has_one_host() {
        for (hosts, expected) in [
            (&["localhost:8080"][..], Ok(())),
            (&[], Err(Misdirected::NoHost)),
            (&["localhost", "localhost"], Err(Misdirected::SeveralHosts)),
            (&[""], Err(Misdirected::NoAuthority)),
            (&["a b"], Err(Misdirected::NoAuthority)),
            (&["localhost, localhost"], Err(Misdirected::NoAuthority)),
            (&["user@localhost"], Err(Misdirected::NoAuthority)),
            (&["h\u{f6}st"], Err(Misdirected::NoAuthority)),
            (&["evil.example"], Err(Misdirected::Foreign)),
        ] {
            assert_eq!(of(Version::HTTP_11, "/livez", hosts), expected, "{hosts:?}");
        }
    }

    #[test]
    fn an_old_request_may_have_none() {
        for (target, hosts, expected) in [
            ("/livez", &[][..], Ok(())),
            ("/livez", &["evil.example"], Err(Misdirected::Foreign)),
            ("/livez", &["a", "a"], Err(Misdirected::SeveralHosts)),
            ("http://evil.example/", &[], Err(Misdirected::Foreign)),
        ] {
            assert_eq!(
                of(Version::HTTP_10, target, hosts),
                expected,
                "{target} {hosts:?}"
            );
        }
    }

    #[test]
    fn the_targets_authority_counts_too() {
        for (target, host, expected) in [
            ("http://localhost:8080/livez", "localhost:8080", Ok(())),
            (
                "http://evil.example/livez",
                "localhost",
                Err(Misdirected::Foreign),
            ),
            (
                "http://localhost/livez",
                "evil.example",
                Err(Misdirected::Foreign),
            ),
            (
                "http://user@localhost/",
                "localhost",
                Err(Misdirected::NoAuthority),
            ),
        ] {
            assert_eq!(
                of(Version::HTTP_11, target, &[host]),
                expected,
                "{target} {host}"
            );
        }
    }
}
