//! Who may ask: a key in `Authorization: Bearer KEY`, if the operator has set any.

use crate::error::ApiError;
use subtle::{Choice, ConstantTimeEq};

/// Whether a request with this `Authorization` may be answered; `keys` empty lets everyone in.
///
/// Every key is compared to its end, so that the time taken tells nothing but lengths.
pub fn check(keys: &[String], authorization: Option<&str>) -> Result<(), ApiError> {
    if keys.is_empty() {
        return Ok(());
    }
    let given = authorization
        .and_then(bearer)
        .ok_or_else(ApiError::missing_key)?;
    let known = keys.iter().fold(Choice::from(0), |known, key| {
        known | key.as_bytes().ct_eq(given.as_bytes())
    });
    if known.into() {
        Ok(())
    } else {
        Err(ApiError::wrong_key())
    }
}

/// The key after the scheme, which is written in any case (RFC 9110, 11.1).
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, key) = authorization.trim().split_once(' ')?;
    let key = key.trim_start();
    (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_the_keys_opens() {
        let keys = ["first".to_owned(), "second".to_owned()];
        for good in [
            "Bearer first",
            "bearer second",
            "BEARER   second",
            " Bearer first ",
        ] {
            assert_eq!(check(&keys, Some(good)), Ok(()), "{good}");
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
            let error = check(&keys, bad).unwrap_err();
            assert_eq!((error.status, error.code), (401, Some(code)), "{bad:?}");
        }
    }

    #[test]
    fn without_keys_everyone_may_ask() {
        for any in [None, Some("Bearer x"), Some("nonsense")] {
            assert_eq!(check(&[], any), Ok(()));
        }
    }
}
