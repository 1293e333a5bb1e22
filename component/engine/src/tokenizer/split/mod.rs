//! Pre-tokenisation: cutting text into the pieces that merges stay within.
//!
//! Models name their cut as a regular expression, but few expressions exist and all use a
//! look-ahead, which rules out linear-time engines. So the known ones are written out as scanners
//! that look at each character a bounded number of times: a megabyte of spaces costs what a
//! megabyte of prose does. The tests compare them with the expressions themselves.

mod digits;
mod pattern;

use serde::{Deserialize, Serialize};
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

pub(super) use digits::Digits;

/// A way to cut text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Split {
    family: Family,
    /// The case rule of contractions.
    case: Case,
    steps: Steps,
}

/// Cuts that an expression does not say, before it and after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Steps {
    /// Each digit is cut off first.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) digits_alone: bool,
    /// Runs of punctuation are cut off first.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) punctuation: bool,
    /// Digits are cut off last, among the bytes of a piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) digits: Option<Digits>,
    /// After that, three digits are a piece (`[0-9][0-9][0-9]`).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) triples: bool,
}

impl Steps {
    const NONE: Steps = Steps {
        digits_alone: false,
        punctuation: false,
        digits: None,
        triples: false,
    };
}

/// Which expression, but for its contractions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    /// GPT-2's (openai/gpt-2, `encoder.py`), which `ByteLevel` with `use_regex` means.
    Gpt2,
    /// Llama 3's, with up to so many digits in a piece.
    Llama3 { max_digits: usize },
}

/// The comparison of a contraction's letters (`'s`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    /// Small letters only.
    Exact,
    /// `'[sS]`: the letters of ASCII in either case.
    Ascii,
    /// `(?i:'s)`: by Unicode's simple case folding, to which the long s (`ſ`) is an s.
    Unicode,
}

impl Split {
    /// GPT-2's cut.
    pub(super) const GPT2: Split = Split {
        family: Family::Gpt2,
        case: Case::Exact,
        steps: Steps::NONE,
    };

    /// GPT-2's cut of what lies between digits, each of which is a piece: StarCoder's and SmolLM's.
    pub(super) const SMOLLM: Split = Split {
        steps: Steps {
            digits_alone: true,
            ..Steps::NONE
        },
        ..Split::GPT2
    };

    /// Falcon's cut: GPT-2's of what lies between runs of punctuation, then runs of digits, three
    /// by three.
    pub(super) const FALCON: Split = Split {
        steps: Steps {
            punctuation: true,
            digits: Some(Digits::Runs),
            triples: true,
            ..Steps::NONE
        },
        ..Split::GPT2
    };

    /// Llama 3's cut; GGUF calls it `llama-bpe`.
    pub(super) const LLAMA3: Split = Split {
        family: Family::Llama3 { max_digits: 3 },
        case: Case::Unicode,
        steps: Steps::NONE,
    };

    /// Qwen 2's cut: Llama 3's, with each digit alone.
    pub(super) const QWEN2: Split = Split {
        family: Family::Llama3 { max_digits: 1 },
        ..Split::LLAMA3
    };

    /// The cut a regular expression describes, if it is a known one. `dropped` where text that the
    /// expression does not match vanishes.
    pub(super) fn from_pattern(pattern: &str, dropped: bool) -> Option<Split> {
        pattern::parse(pattern, dropped)
    }

    /// The same with further steps.
    pub(super) fn with(self, steps: Steps) -> Split {
        Split { steps, ..self }
    }

    /// The steps that the expression does not say.
    pub(super) fn steps(self) -> Steps {
        self.steps
    }

    /// The regular expression of this cut.
    pub(super) fn expression(self) -> String {
        let contractions = match self.case {
            Case::Exact => "'s|'t|'re|'ve|'m|'ll|'d",
            Case::Ascii => "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])",
            Case::Unicode => "(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        };
        let rest = match self.family {
            Family::Gpt2 => r" ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+".to_owned(),
            Family::Llama3 { max_digits } => {
                let most = match max_digits {
                    1 => String::new(),
                    usize::MAX => "+".to_owned(),
                    n => format!("{{1,{n}}}"),
                };
                format!(
                    r"[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{most}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+"
                )
            }
        };
        format!(r"{contractions}|{rest}|\s+(?!\S)|\s+")
    }

    /// `text` cut into pieces, none empty; together they are `text`. Each is then cut into
    /// [`Self::parts`].
    pub(super) fn pieces(self, text: &str) -> impl Iterator<Item = &str> {
        let mut rest = text;
        // How much of `rest` lies before the next place of a step that comes first.
        let mut window = 0;
        std::iter::from_fn(move || {
            let first = rest.chars().next()?;
            if self.steps.digits_alone && window == 0 {
                window = run(rest, |c| class(c) != Class::Number);
            } else if self.steps.punctuation && window == 0 {
                let kind = is_punctuation(first);
                window = run(rest, |c| is_punctuation(c) == kind);
            } else if window == 0 {
                window = rest.len();
            }
            let length = match self.family {
                _ if window == 0 => first.len_utf8(),
                Family::Gpt2 => gpt2(&rest[..window], self.case),
                Family::Llama3 { max_digits } => llama3(&rest[..window], max_digits, self.case),
            };
            window = window.saturating_sub(length);
            let (piece, after) = rest.split_at(length);
            rest = after;
            Some(piece)
        })
    }

    /// The bytes of a piece, cut by the steps that come last.
    pub(super) fn parts(self, piece: &[u8]) -> impl Iterator<Item = &[u8]> {
        digits::parts(piece, self.steps.digits, self.steps.triples)
    }
}

/// huggingface/tokenizers, `pre_tokenizers/punctuation.rs`.
fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation() || c.general_category_group() == GeneralCategoryGroup::Punctuation
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
fn contraction(text: &str, case: Case) -> usize {
    let Some(tail) = text.strip_prefix('\'') else {
        return 0;
    };
    let mut chars = tail.chars();
    let mut next = || {
        chars.next().map(|c| match c {
            'ſ' if case == Case::Unicode => ('s', c.len_utf8()),
            _ if case != Case::Exact => (c.to_ascii_lowercase(), c.len_utf8()),
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
fn gpt2(text: &str, case: Case) -> usize {
    let contraction = contraction(text, case);
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
fn llama3(text: &str, max_digits: usize, case: Case) -> usize {
    let contraction = contraction(text, case);
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
            assert_eq!(cut(Split::LLAMA3, text), *pieces, "{text:?}");
        }
        assert_eq!(cut(Split::QWEN2, "123"), ["1", "2", "3"]);
    }

    #[test]
    fn gpt2_by_hand() {
        assert_eq!(
            cut(Split::GPT2, "I'm 12345,  b\n\nc'LL"),
            [
                "I", "'m", " 12345", ",", " ", " b", "\n", "\n", "c", "'", "LL"
            ]
        );
    }

    #[test]
    fn digits_are_cut_off_before_the_rest_is_looked_at() {
        assert_eq!(
            cut(Split::SMOLLM, "a 12  3 b'll  4x"),
            ["a", " ", "1", "2", "  ", "3", " b", "'ll", "  ", "4", "x"]
        );
    }

    #[test]
    fn falcon_by_hand() {
        let parts = |text: &str| -> Vec<String> {
            let pieces = Split::FALCON.pieces(text);
            let parts = pieces.flat_map(|piece| Split::FALCON.parts(piece.as_bytes()));
            parts
                .map(|part| String::from_utf8_lossy(part).into_owned())
                .collect()
        };
        assert_eq!(
            parts("I'm 12345!!  x"),
            ["I", "'", "m", " ", "123", "45", "!!", " ", " x"]
        );
        assert_eq!(
            parts("a 1234567 (b)"),
            ["a", " ", "123", "456", "7", " ", "(", "b", ")"]
        );
    }

    #[test]
    fn the_long_s_is_an_s_where_case_is_ignored_by_unicode() {
        let ascii = Split {
            case: Case::Ascii,
            ..Split::LLAMA3
        };
        assert_eq!(cut(Split::LLAMA3, "a'ſb'S"), ["a", "'ſ", "b", "'S"]);
        assert_eq!(cut(ascii, "a'ſb'S"), ["a", "'ſb", "'S"]);
    }
}
