//! Pre-tokenisation: cutting text into the pieces that merges stay within.
//!
//! Models name their cut as a regular expression, but few expressions exist and all use a look-ahead,
//! which rules out linear-time engines. So the known ones are written out as scanners that look at each
//! character a bounded number of times: a megabyte of spaces costs what a megabyte of prose does.
//! The tests compare them with the expressions themselves.

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// GPT-2's expression (openai/gpt-2, `encoder.py`), which `ByteLevel` with `use_regex` means.
pub(super) const GPT2: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// Llama 3's expression; GGUF calls it `llama-bpe`.
pub(super) const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Qwen 2's expression: Llama 3's, with each digit alone.
pub(super) const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A way to cut text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Split {
    /// [`GPT2`].
    Gpt2,
    /// [`LLAMA3`].
    Llama3,
    /// [`QWEN2`].
    Qwen2,
}

impl Split {
    /// The cut a regular expression describes, if it is a known one.
    pub(super) fn from_pattern(pattern: &str) -> Option<Split> {
        match pattern {
            GPT2 => Some(Split::Gpt2),
            LLAMA3 => Some(Split::Llama3),
            QWEN2 => Some(Split::Qwen2),
            _ => None,
        }
    }

    /// `text` cut into pieces, none empty; together they are `text`.
    pub(super) fn pieces(self, text: &str) -> impl Iterator<Item = &str> {
        let mut rest = text;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let length = match self {
                Split::Gpt2 => gpt2(rest),
                Split::Llama3 => llama3(rest, 3),
                Split::Qwen2 => llama3(rest, 1),
            };
            let (piece, after) = rest.split_at(length);
            rest = after;
            Some(piece)
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// `\p{L}`
    Letter,
    /// `\p{N}`
    Number,
    /// `\s`
    Space,
    /// Everything else: punctuation, symbols, marks, controls.
    Other,
}

fn class(c: char) -> Class {
    if c.is_ascii() {
        return match c {
            'a'..='z' | 'A'..='Z' => Class::Letter,
            '0'..='9' => Class::Number,
            '\t'..='\r' | ' ' => Class::Space,
            _ => Class::Other,
        };
    }
    if c.is_whitespace() {
        return Class::Space;
    }
    match c.general_category_group() {
        GeneralCategoryGroup::Letter => Class::Letter,
        GeneralCategoryGroup::Number => Class::Number,
        _ => Class::Other,
    }
}

fn is_newline(c: char) -> bool {
    c == '\r' || c == '\n'
}

/// Length in bytes of the longest prefix of `text` whose characters all satisfy `belongs`.
fn run(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

/// Length of `'s`, `'t`, `'re`, `'ve`, `'m`, `'ll` or `'d` at the start of `text`, else 0.
fn contraction(text: &str, ignore_case: bool) -> usize {
    let Some(tail) = text.strip_prefix('\'') else {
        return 0;
    };
    let mut chars = tail.chars();
    let mut next = || {
        chars.next().map(|c| match c {
            // Unicode's simple case folding: the long s is an s.
            'ſ' if ignore_case => ('s', c.len_utf8()),
            _ if ignore_case => (c.to_ascii_lowercase(), c.len_utf8()),
            _ => (c, c.len_utf8()),
        })
    };
    match (next(), next()) {
        (Some(('s' | 't' | 'm' | 'd', length)), _) => 1 + length,
        (Some(('r' | 'v', _)), Some(('e', _))) | (Some(('l', _)), Some(('l', _))) => 3,
        _ => 0,
    }
}

/// `\s+(?!\S)|\s+` at whitespace: the whole run at the end of the text; else all but its last
/// character, which may belong to the word that follows.
fn whitespace(text: &str) -> usize {
    let length = run(text, |c| class(c) == Class::Space);
    if length == text.len() {
        return length;
    }
    let last = text[..length].chars().next_back().map_or(0, char::len_utf8);
    if length > last { length - last } else { length }
}

/// The length of the first piece of a text that is not empty.
fn gpt2(text: &str) -> usize {
    let contraction = contraction(text, false);
    if contraction > 0 {
        return contraction;
    }
    // ` ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+`: a run of one class, a single space before it or not.
    let space = usize::from(text.starts_with(' '));
    match text[space..].chars().next().map(class) {
        None | Some(Class::Space) => whitespace(text),
        Some(kind) => space + run(&text[space..], |c| class(c) == kind),
    }
}

/// The length of the first piece of a text that is not empty.
fn llama3(text: &str, max_digits: usize) -> usize {
    let contraction = contraction(text, true);
    if contraction > 0 {
        return contraction;
    }
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return 0 };
    let second = chars.next().map(class);
    let width = first.len_utf8();
    let letters = |from: usize| from + run(&text[from..], |c| class(c) == Class::Letter);
    let symbols = |from: usize| {
        let end = from + run(&text[from..], |c| class(c) == Class::Other);
        end + run(&text[end..], is_newline)
    };
    match class(first) {
        Class::Letter => letters(width),
        Class::Number => {
            let digits = text
                .chars()
                .take(max_digits)
                .take_while(|&c| class(c) == Class::Number);
            digits.map(char::len_utf8).sum()
        }
        // `[^\r\n\p{L}\p{N}]?\p{L}+`
        Class::Space | Class::Other if second == Some(Class::Letter) && !is_newline(first) => {
            letters(width)
        }
        Class::Other => symbols(width),
        Class::Space if first == ' ' && second == Some(Class::Other) => symbols(width),
        Class::Space => {
            let length = run(text, |c| class(c) == Class::Space);
            // `\s*[\r\n]+` reaches the last newline of the run.
            match text[..length].rfind(is_newline) {
                Some(newline) => newline + 1,
                None => whitespace(text),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(split: Split, text: &str) -> Vec<&str> {
        split.pieces(text).collect()
    }

    #[test]
    fn llama3_by_hand() {
        let cases: &[(&str, &[&str])] = &[
            ("Hello, world!", &["Hello", ",", " world", "!"]),
            (
                "I'm, YOU'LL don't",
                &["I", "'m", ",", " YOU", "'LL", " don", "'t"],
            ),
            ("12345 6", &["123", "45", " ", "6"]),
            ("a  b", &["a", " ", " b"]),
            ("a\n\n  b", &["a", "\n\n", " ", " b"]),
            (" \n \n x", &[" \n \n", " x"]),
            ("end.\r\n\r\nNext", &["end", ".\r\n\r\n", "Next"]),
            ("tab\tword", &["tab", "\tword"]),
            ("!!a", &["!!", "a"]),
            ("x   ", &["x", "   "]),
            ("\n x", &["\n", " x"]),
        ];
        for (text, pieces) in cases {
            assert_eq!(cut(Split::Llama3, text), *pieces, "{text:?}");
        }
        assert_eq!(cut(Split::Qwen2, "123"), ["1", "2", "3"]);
    }

    #[test]
    fn gpt2_by_hand() {
        assert_eq!(
            cut(Split::Gpt2, "I'm 12345,  b\n\nc'LL"),
            [
                "I", "'m", " 12345", ",", " ", " b", "\n", "\n", "c", "'", "LL"
            ]
        );
    }
}
