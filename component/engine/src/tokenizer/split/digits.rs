//! Digits that are cut off after everything else, among the bytes of a piece.
//!
//! Hugging Face's `ByteLevel` leaves byte characters, and a `Digits` after it looks at those: six
//! bytes that are none by themselves (`\xB2`, of `ò` for example) have the characters of numbers
//! (`²`), and are cut off too. Falcon was trained so.

use serde::{Deserialize, Serialize};

/// The digits that are a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::tokenizer) enum Digits {
    /// A run of them.
    Runs,
    /// Each.
    Each,
}

/// True if a byte's character is a number.
fn is_numeric(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, 0xB2 | 0xB3 | 0xB9 | 0xBC..=0xBE)
}

/// `piece` cut into parts, none empty.
pub(super) fn parts(
    piece: &[u8],
    digits: Option<Digits>,
    triples: bool,
) -> impl Iterator<Item = &[u8]> {
    let mut rest = piece;
    // How much of `rest` is one part but for triples.
    let mut window = 0;
    std::iter::from_fn(move || {
        let &first = rest.first()?;
        if window == 0 {
            let other = |&byte: &u8| is_numeric(byte) != is_numeric(first);
            window = match digits {
                None => rest.len(),
                Some(Digits::Each) if is_numeric(first) => 1,
                Some(_) => rest.iter().position(other).unwrap_or(rest.len()),
            };
        }
        let triple = triples.then(|| next_triple(&rest[..window])).flatten();
        let length = match triple {
            Some(0) => 3,
            Some(before) => before,
            None => window,
        };
        window -= length;
        let (part, after) = rest.split_at(length);
        rest = after;
        Some(part)
    })
}

/// Where three digits begin.
fn next_triple(text: &[u8]) -> Option<usize> {
    text.windows(3)
        .position(|three| three.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(piece: &str, digits: Option<Digits>, triples: bool) -> Vec<&[u8]> {
        parts(piece.as_bytes(), digits, triples).collect()
    }

    #[test]
    fn digits_and_bytes_that_look_like_them() {
        assert_eq!(cut(" 12", Some(Digits::Runs), true), [&b" "[..], b"12"]);
        assert_eq!(
            cut("1234", Some(Digits::Each), true),
            [b"1", b"2", b"3", b"4"]
        );
        assert_eq!(cut("a12345", None, true), [&b"a"[..], b"123", b"45"]);
        assert_eq!(
            cut("xò", Some(Digits::Runs), false),
            [&b"x\xC3"[..], b"\xB2"]
        );
        assert_eq!(cut("x1", None, false), [b"x1"]);
        assert!(cut("", None, true).is_empty());
    }
}
