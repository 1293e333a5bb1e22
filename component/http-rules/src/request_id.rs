//! `x-request-id`: the name of a request, by which a client, a proxy and the log speak of it.

/// The header, as HTTP/2 writes it.
pub const HEADER: &str = "x-request-id";

/// Bytes of a name.
pub const MAX_BYTES: usize = 128;

/// The name that a client gave its request, if it may be sent back and logged: letters, digits and
/// `-_.:/+=@` only, [`MAX_BYTES`] at most.
#[must_use]
pub fn valid(given: Option<&str>) -> Option<&str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&byte);
    given.filter(|id| (1..=MAX_BYTES).contains(&id.len()) && id.bytes().all(allowed))
}

/// The name of a request that has none, of 128 random bits.
#[must_use]
pub fn drawn(bits: u128) -> String {
    format!("req_{bits:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_can_do_no_harm_are_kept() {
        let long = "x".repeat(MAX_BYTES);
        for id in ["a", "4f0e-b1", "Root=1-67891233-abc", "x/y:z@1.0+2", &long] {
            assert_eq!(valid(Some(id)), Some(id));
        }
        let longer = "x".repeat(MAX_BYTES + 1);
        for id in ["", " ", "a b", "a\r\nb", "a\"b", "a,b", "\u{f6}", &longer] {
            assert_eq!(valid(Some(id)), None, "{id}");
        }
        assert_eq!(valid(None), None);
        let drawn = drawn(10);
        assert_eq!(
            valid(Some(&drawn)),
            Some("req_0000000000000000000000000000000a")
        );
    }
}
