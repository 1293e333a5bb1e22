//! `x-request-id`: the client's name for its request, or one that is drawn here. The component, the
//! log line and every answer have the same.

use std::hash::{BuildHasher, Hasher, RandomState};

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Request, Response};
use sterna_http_rules::request_id;

const NAME: HeaderName = HeaderName::from_static(request_id::HEADER);

/// The request's name, which it bears from then on.
pub(super) fn name<B>(request: &mut Request<B>) -> HeaderValue {
    let given = request.headers().get(NAME);
    let given = given.and_then(|value| value.to_str().ok());
    let valid = request_id::valid(given).map(HeaderValue::from_str);
    let name = match valid {
        Some(Ok(name)) => name,
        // Letters and digits are always a value.
        _ => HeaderValue::from_str(&request_id::drawn(random())).unwrap_or(UNKNOWN),
    };
    request.headers_mut().insert(NAME, name.clone());
    name
}

const UNKNOWN: HeaderValue = HeaderValue::from_static("unknown");

/// Put the name into the answer, unless it has one.
pub(super) fn put<B>(response: &mut Response<B>, name: HeaderValue) {
    response.headers_mut().entry(NAME).or_insert(name);
}

/// Random enough to tell requests apart; it keeps no secret.
fn random() -> u128 {
    let half = || u128::from(RandomState::new().build_hasher().finish());
    half() << 64 | half()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(given: &[&str]) -> (String, usize) {
        let mut request = Request::builder();
        for id in given {
            request = request.header(NAME, *id);
        }
        let mut request = request.body(()).unwrap();
        let name = name(&mut request);
        assert_eq!(request.headers().get(NAME), Some(&name));
        let several = request.headers().get_all(NAME).iter().count();
        (name.to_str().unwrap().to_owned(), several)
    }

    #[test]
    fn a_valid_name_is_kept_and_others_are_replaced() {
        assert_eq!(named(&["a-1"]), ("a-1".into(), 1));
        assert_eq!(named(&["a-1", "b-2"]), ("a-1".into(), 1));
        for given in [&[][..], &["a b"], &["a\"b"]] {
            let (name, several) = named(given);
            assert!(name.starts_with("req_") && several == 1, "{name}");
            assert_ne!(named(given).0, name);
        }
    }
}
