//! Reading a request's body without ever holding more than the limit.

use crate::error::ApiError;
use std::io::Read;

/// Bytes a body may have. A context of 4096 tokens is some 20 KB of text, so this leaves room for
/// models with two hundred times that.
pub const LIMIT_BYTES: u64 = 4 << 20;

/// Bytes that are read and thrown away after a reply to a request whose body was not wanted.
const DRAIN_LIMIT_BYTES: u64 = 256 << 20;

/// The whole body. Longer than [`LIMIT_BYTES`] is refused unread if `content_length` says so, else once
/// the limit is passed.
pub fn read(body: &mut impl Read, content_length: Option<u64>) -> Result<Vec<u8>, ApiError> {
    let too_large = || ApiError::body_too_large(LIMIT_BYTES);
    if content_length.is_some_and(|length| length > LIMIT_BYTES) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    body.take(LIMIT_BYTES + 1).read_to_end(&mut bytes).map_err(|e| ApiError::unreadable_body(&e))?;
    if bytes.len() as u64 > LIMIT_BYTES { Err(too_large()) } else { Ok(bytes) }
}

/// Read what is left of a body and forget it. Many clients look for a reply only when they have sent
/// everything; closing on them earlier resets the connection, and they never see why.
pub fn drain(body: &mut impl Read) {
    // A body that breaks off is as good as one that ends.
    let _ = std::io::copy(&mut body.take(DRAIN_LIMIT_BYTES), &mut std::io::sink());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Zeros without end that count how many were taken.
    struct Endless(u64);

    impl Read for Endless {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            self.0 += buf.len() as u64;
            Ok(buf.len())
        }
    }

    #[test]
    fn declared_length_over_the_limit_is_refused_unread() {
        let mut body = Endless(0);
        let error = read(&mut body, Some(LIMIT_BYTES + 1)).unwrap_err();
        assert_eq!((error.status, body.0), (413, 0));
    }

    #[test]
    fn undeclared_length_over_the_limit_stops_at_the_limit() {
        let mut body = Endless(0);
        assert_eq!(read(&mut body, None).unwrap_err().status, 413);
        assert_eq!(body.0, LIMIT_BYTES + 1);
        assert_eq!(read(&mut Endless(0), Some(10)).unwrap_err().status, 413, "a length that lies");
    }

    #[test]
    fn the_limit_itself_fits() {
        let bytes = vec![b' '; LIMIT_BYTES as usize];
        assert_eq!(read(&mut bytes.as_slice(), Some(LIMIT_BYTES)).unwrap().len() as u64, LIMIT_BYTES);
    }

    #[test]
    fn a_body_that_breaks_off_is_the_clients_fault() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::UnexpectedEof.into())
            }
        }
        assert_eq!(read(&mut Broken, None).unwrap_err().status, 400);
        drain(&mut Broken);
    }

    #[test]
    fn draining_ends() {
        let mut body = Endless(0);
        drain(&mut body);
        assert_eq!(body.0, DRAIN_LIMIT_BYTES);
    }
}
