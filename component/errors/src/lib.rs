//! The text of errors, one mechanism for all crates, whatever their source and reader.
//!
//! Messages name what was found, and what was found may be anything: a value of 100 KB, a
//! terminal's control codes. [`brief`] makes one of them fit a log line. [`chain`] puts the causes
//! of an error behind it, except those its own text has told already.

#![cfg_attr(test, allow(clippy::unwrap_used))]

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Write;

/// Characters a text may have; of a longer one the beginning and the end are kept.
pub const LIMIT: usize = 1000;
/// Of a text that is too long: its beginning names the thing at fault, its end the remedy.
const HEAD: usize = 600;
const TAIL: usize = 300;

/// `text` with at most [`LIMIT`] characters, none of them a control character but the line feed.
///
/// The number of characters left out stands in their place. Control characters are escaped as in
/// Rust (`\u{1b}`).
#[must_use]
pub fn brief(text: &str) -> Cow<'_, str> {
    let control = |c: char| c.is_control() && c != '\n';
    // A text has no more characters than bytes, so that the usual one costs one look.
    let short = text.len() <= LIMIT || text.chars().nth(LIMIT).is_none();
    if short && !text.contains(control) {
        return Cow::Borrowed(text);
    }
    let text = if short { text.into() } else { middle_cut(text) };
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        if control(c) {
            printable.extend(c.escape_debug());
        } else {
            printable.push(c);
        }
    }
    Cow::Owned(printable)
}

fn middle_cut(text: &str) -> String {
    let head = text.char_indices().nth(HEAD).map_or(text.len(), |(i, _)| i);
    let tail = text
        .char_indices()
        .nth_back(TAIL - 1)
        .map_or(0, |(i, _)| i)
        .max(head);
    format!(
        "{} [... {} bytes left out ...] {}",
        &text[..head],
        tail - head,
        &text[tail..]
    )
}

/// The error and its causes, from the outermost in, between colons: each [`brief`], and none whose
/// text the one before it has in it already.
///
/// Many errors print their source as a part of themselves and name it as their source too.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut last = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let own = error.to_string();
        if text.is_empty() {
            text.push_str(&brief(&own));
        } else if !last.contains(&own) {
            // Writing to a text does not fail.
            let _ = write!(text, ": {}", brief(&own));
        }
        last = own;
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Told {
        text: &'static str,
        source: Option<Box<Told>>,
    }

    impl std::fmt::Display for Told {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.text)
        }
    }

    impl Error for Told {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.source.as_deref().map(|source| source as _)
        }
    }

    fn told(texts: &[&'static str]) -> Told {
        let (text, rest) = texts.split_first().unwrap();
        let source = (!rest.is_empty()).then(|| Box::new(told(rest)));
        Told { text, source }
    }

    #[test]
    fn a_cause_is_told_once() {
        let absent = "No such file or directory (os error 2)";
        let cases: [(&[&str], &str); 4] = [
            (
                &["cannot load", absent],
                "cannot load: No such file or directory (os error 2)",
            ),
            (
                &[
                    "cannot load",
                    "cannot read a: No such file or directory (os error 2)",
                    absent,
                ],
                "cannot load: cannot read a: No such file or directory (os error 2)",
            ),
            (&["a: b", "b: c", "c"], "a: b: b: c"),
            (&["same", "same"], "same"),
        ];
        for (texts, expected) in cases {
            assert_eq!(chain(&told(texts)), expected);
        }
    }

    #[test]
    fn what_is_short_stays_as_it_is() {
        let exact = "\u{e9}".repeat(LIMIT);
        for text in ["", "two\nlines", exact.as_str()] {
            assert!(matches!(brief(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn what_is_long_keeps_its_ends() {
        let text = format!(
            "key `a` is {}, must be a number",
            "\u{1F600}x".repeat(50_000)
        );
        let short = brief(&text);
        assert!(short.starts_with("key `a` is ") && short.ends_with(", must be a number"));
        assert!(short.chars().count() < LIMIT + 40, "{}", short.len());
        assert!(short.contains("bytes left out"));
    }

    #[test]
    fn nothing_reaches_a_terminal_as_a_command() {
        assert_eq!(brief("a\u{1b}[2Jb\r\n\0"), "a\\u{1b}[2Jb\\r\n\\0");
        // Each of 1000 characters may become eight.
        assert!(brief(&"\u{1b}".repeat(1 << 20)).len() < 8 * (LIMIT + 40));
    }
}
