//! Access control: pages of other sites are refused, and, if the operator has set keys, so is
//! whoever sends none of them as `Authorization: Bearer KEY` or, as Anthropic's clients do, as
//! `x-api-key: KEY`.

use crate::{error::ApiError, http::Head, settings::Settings};
use sterna_http_rules::{Addresses, AllowedHosts, Authority, Sender, keys as rules};

/// Checks the origin of the request (`component/http-rules` has the rules).
pub fn check_site(settings: &Settings, head: &Head) -> Result<(), ApiError> {
    let authority = head.authority.as_deref();
    let hosts = &settings.allowed_hosts;
    // Which addresses are the server's own, a component cannot know.
    let hosts = AllowedHosts::of_setting(hosts, Addresses::Any, AllowedHosts::Any);
    let parsed = authority.and_then(Authority::parse);
    if hosts != AllowedHosts::Any && !parsed.is_some_and(|at| hosts.allow(&at)) {
        return Err(ApiError::foreign_host(authority));
    }
    let sender = Sender {
        origin: head.origin.as_deref(),
        fetch_site: head.fetch_site.as_deref(),
    };
    // What is only read, a browser keeps from other pages by itself.
    let reads = matches!(head.method.as_str(), "GET" | "HEAD" | "OPTIONS");
    if reads || sender.may_change(authority, settings.cors_origin.as_deref()) {
        Ok(())
    } else {
        Err(ApiError::foreign_origin(sender.origin))
    }
}

/// Checks a request's `Authorization` and `x-api-key`, of which one has to hold a key; `keys` empty
/// lets everyone in. Returns the client's number: of its key, or 0 where there are none.
pub fn check(
    keys: &[String],
    authorization: Option<&str>,
    api_key: Option<&str>,
) -> Result<u64, ApiError> {
    if keys.is_empty() {
        return Ok(0);
    }
    let given = rules::given(authorization, api_key);
    if given.is_empty() {
        return Err(ApiError::missing_key());
    }
    match rules::known(keys, &given) {
        Some(place) => Ok(place as u64 + 1),
        None => Err(ApiError::wrong_key()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_the_keys_opens() {
        let keys = ["first".to_owned(), "second".to_owned()];
        for (good, client) in [
            ("Bearer first", 1),
            ("bearer second", 2),
            ("BEARER   second", 2),
            (" Bearer first ", 1),
        ] {
            assert_eq!(check(&keys, Some(good), None), Ok(client), "{good}");
        }
        for (bad, code) in [
            (None, "missing_api_key"),
            (Some(""), "missing_api_key"),
            (Some("first"), "missing_api_key"),
            (Some("Bearer"), "missing_api_key"),
            (Some("Bearer "), "missing_api_key"),
            (Some("Basic first"), "missing_api_key"),
            (Some("Bearer firs"), "invalid_api_key"),
            (Some("Bearer firstt"), "invalid_api_key"),
            (Some("Bearer FIRST"), "invalid_api_key"),
            (Some("Bearer first,second"), "invalid_api_key"),
            (Some("Bearer first second"), "invalid_api_key"),
        ] {
            let error = check(&keys, bad, None).unwrap_err();
            assert_eq!((error.status, error.code), (401, Some(code)), "{bad:?}");
        }
    }

    #[test]
    fn either_header_may_hold_the_key() {
        let keys = ["first".to_owned()];
        for (authorization, api_key, code) in [
            (None, Some("first"), None),
            (None, Some(" first "), None),
            (Some("Bearer unused"), Some("first"), None),
            (Some("Bearer first"), Some("unused"), None),
            (None, Some(""), Some("missing_api_key")),
            (None, Some("Bearer first"), Some("invalid_api_key")),
            (Some("Bearer x"), Some("y"), Some("invalid_api_key")),
        ] {
            let checked = check(&keys, authorization, api_key);
            assert_eq!(checked.err().and_then(|error| error.code), code);
        }
    }

    #[test]
    fn without_keys_everyone_may_ask() {
        for any in [None, Some("Bearer x"), Some("nonsense")] {
            assert_eq!(check(&[], any, None), Ok(0));
        }
    }
}
