//! The API key of a request, and which of an operator's keys it is.

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// The keys that a request bears: in `Authorization` behind `Bearer`, and in `x-api-key` as
/// Anthropic's clients send it.
#[must_use]
pub fn given<'a>(authorization: Option<&'a str>, api_key: Option<&'a str>) -> Vec<&'a str> {
    let api_key = api_key.map(str::trim).filter(|key| !key.is_empty());
    let given = [authorization.and_then(bearer), api_key];
    given.into_iter().flatten().collect()
}

/// The place among `keys` of one that is among `given`.
///
/// Every key is compared to its end, so that the time taken tells nothing but lengths.
#[must_use]
pub fn known(keys: &[String], given: &[&str]) -> Option<usize> {
    let (mut found, mut place) = (Choice::from(0), 0);
    for (index, key) in (0_u64..).zip(keys) {
        for given in given {
            let same = key.as_bytes().ct_eq(given.as_bytes());
            place = u64::conditional_select(&place, &index, same & !found);
            found |= same;
        }
    }
    bool::from(found)
        .then(|| usize::try_from(place).ok())
        .flatten()
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
    fn either_header_may_hold_the_key() {
        let keys = ["first".to_owned(), "second".to_owned()];
        for (authorization, api_key, place) in [
            (Some("Bearer first"), None, Some(0)),
            (Some(" bearer   second "), None, Some(1)),
            (None, Some(" second "), Some(1)),
            (Some("Bearer unused"), Some("first"), Some(0)),
            (Some("Bearer second"), Some("unused"), Some(1)),
            (Some("Bearer second"), Some("first"), Some(0)),
            (Some("Basic first"), None, None),
            (Some("Bearer first,second"), Some(""), None),
            (Some("Bearer firs"), Some("firstt"), None),
            (Some("Bearer FIRST"), None, None),
            (Some("first"), None, None),
            (None, None, None),
        ] {
            let given = given(authorization, api_key);
            assert_eq!(known(&keys, &given), place, "{authorization:?} {api_key:?}");
        }
        assert_eq!(known(&[], &["first"]), None);
    }
}
