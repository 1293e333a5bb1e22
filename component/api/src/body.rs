//! Reading a request's body without ever holding more than the limits: of its bytes, and of what
//! they become in memory.

use crate::error::ApiError;
use serde_json::Value;
use std::io::{self, Read};

/// The largest weight of a body; see [`weight`]. Enough for a prompt of half a million token ids.
pub(crate) const WEIGHT_LIMIT: usize = 1 << 19;

/// The source of a body's bytes.
#[allow(
    async_fn_in_trait,
    reason = "a component has one thread, so no future of it has to be `Send`"
)]
pub trait Source {
    /// Wait for more and append it to `bytes`, `most` bytes at most; false where there is no more.
    async fn read(&mut self, bytes: &mut Vec<u8>, most: usize) -> io::Result<bool>;
}

/// One that blocks while it waits.
impl<R: Read> Source for R {
    async fn read(&mut self, bytes: &mut Vec<u8>, most: usize) -> io::Result<bool> {
        self.take(most as u64).read_to_end(bytes).map(|n| n > 0)
    }
}

/// The whole body. Longer than `limit_bytes` is refused unread if `content_length` says so, else
/// once the limit is passed.
pub async fn read(
    body: &mut impl Source,
    content_length: Option<u64>,
    limit_bytes: u32,
) -> Result<Vec<u8>, ApiError> {
    let too_large = || ApiError::body_too_large(limit_bytes);
    if content_length.is_some_and(|length| length > u64::from(limit_bytes)) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    loop {
        // One byte more than is allowed shows that it is too long.
        let left = (limit_bytes as usize + 1).saturating_sub(bytes.len());
        if left == 0 {
            return Err(too_large());
        }
        if !body
            .read(&mut bytes, left)
            .await
            .map_err(|e| ApiError::unreadable_body(&e))?
        {
            return Ok(bytes);
        }
    }
}

/// The body as JSON, if it does not become too large in memory.
pub fn parse(body: &[u8]) -> Result<Value, ApiError> {
    if weight(body) > WEIGHT_LIMIT {
        return Err(ApiError::too_many_values());
    }
    serde_json::from_slice(body).map_err(|e| ApiError::invalid_json(&e))
}

/// About how many times 16 bytes the values of a JSON text take once they are parsed, beyond its
/// own length.
///
/// A text of 4 MiB can hold 600 000 objects of one field each, and an object takes 300 bytes
/// whatever is in it: without this check one request could ask for 200 MB.
pub(crate) fn weight(json: &[u8]) -> usize {
    let (mut weight, mut in_string, mut escaped) = (0, false, false);
    for &byte in json {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        weight += match byte {
            b'{' => 20,
            b'[' => 5,
            b',' => 1,
            _ => 0,
        };
        in_string = byte == b'"';
    }
    weight
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT_BYTES: u32 = 1 << 16;

    fn read(
        body: &mut impl Read,
        content_length: Option<u64>,
        limit_bytes: u32,
    ) -> Result<Vec<u8>, ApiError> {
        crate::now(super::read(body, content_length, limit_bytes))
    }

    /// Zeros without end that count how many were taken.
    struct Endless(u64);

    impl Read for Endless {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.0 += buf.len() as u64;
            Ok(buf.len())
        }
    }

    #[test]
    fn declared_length_over_the_limit_is_refused_unread() {
        let mut body = Endless(0);
        let error = read(&mut body, Some(u64::from(LIMIT_BYTES) + 1), LIMIT_BYTES).unwrap_err();
        assert_eq!((error.status, body.0), (413, 0));
    }

    #[test]
    fn undeclared_length_over_the_limit_stops_at_the_limit() {
        let mut body = Endless(0);
        assert_eq!(read(&mut body, None, LIMIT_BYTES).unwrap_err().status, 413);
        assert_eq!(body.0, u64::from(LIMIT_BYTES) + 1);
        assert_eq!(
            read(&mut Endless(0), Some(10), LIMIT_BYTES)
                .unwrap_err()
                .status,
            413,
            "a length that lies"
        );
    }

    #[test]
    fn the_limit_itself_fits() {
        let bytes = vec![b' '; LIMIT_BYTES as usize];
        assert_eq!(
            read(
                &mut bytes.as_slice(),
                Some(u64::from(LIMIT_BYTES)),
                LIMIT_BYTES
            )
            .unwrap()
            .len(),
            LIMIT_BYTES as usize
        );
    }

    #[test]
    fn a_body_that_breaks_off_is_the_clients_fault() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        }
        assert_eq!(
            read(&mut Broken, None, LIMIT_BYTES).unwrap_err().status,
            400
        );
    }

    #[test]
    fn weight_counts_values_and_not_texts() {
        assert_eq!(weight(br#"{"a": [1, 2], "b": "{[,\\\"{[,"}"#), 20 + 5 + 2);
        assert_eq!(weight(br#"["\\\\", {}]"#), 5 + 1 + 20);
    }

    #[test]
    fn many_values_are_refused_before_they_take_memory() {
        let list = |item: &str, n: usize| format!("[{}]", vec![item; n].join(","));
        assert_eq!(
            parse(list("7", 500_000).as_bytes())
                .unwrap()
                .as_array()
                .unwrap()
                .len(),
            500_000
        );
        for (item, n) in [
            ("7", 600_000),
            ("{}", 30_000),
            ("[]", 120_000),
            ("{\"\":0}", 30_000),
        ] {
            assert_eq!(
                parse(list(item, n).as_bytes()).unwrap_err().status,
                413,
                "{item}"
            );
        }
    }
}
