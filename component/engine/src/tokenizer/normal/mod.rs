//! The normal form of a text: what a tokenizer does to it before it is cut and merged.
//!
//! In vocabularies of SentencePiece's kind a space is written `▁` (U+2581), and the character
//! itself means a space too. Here it is the other way round: texts and tokens have spaces, so that
//! a token's bytes are what is shown of it.

mod charsmap;
mod precompiled;
mod sentencepiece;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

pub(super) use charsmap::Charsmap;
pub(super) use sentencepiece::{Prefix, SentencePiece};

use super::pieces::Words;

/// SentencePiece's sign for a space.
pub(super) const SPACE_SIGN: char = '▁';

/// One step, as `tokenizer.json` names it or `tokenizer.model` means it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Step {
    /// Unicode's normal forms.
    Nfc,
    Nfd,
    Nfkc,
    Nfkd,
    /// Most control characters vanish, other separators become spaces (`Nmt`).
    Nmt,
    /// Runs of spaces become one (`Replace` of ` {2,}`).
    OneSpace,
    /// Runs of two or more become [`SPACE_SIGN`] (`Replace` of ` {2,}` by it).
    OneSign,
    /// Whitespace at the ends goes (`Strip`).
    Strip {
        /// At the beginning.
        left: bool,
        /// At the end.
        right: bool,
    },
    /// SentencePiece's replacements as the library tokenizers has them (`Precompiled`).
    Precompiled(Charsmap),
    /// Before any text that is not empty.
    Prepend(String),
    /// `Replace` of a space by [`SPACE_SIGN`], the other way round.
    Spaces,
    /// The rules of a `tokenizer.model`.
    SentencePiece(SentencePiece),
}

/// The steps, in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Normal {
    pub(super) steps: Vec<Step>,
}

/// Bytes of a text for each byte of its normal form at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shrinks {
    /// At most so many.
    By(usize),
    /// Whitespace by any amount, else at most so many.
    Whitespace(usize),
    /// By any amount: characters may vanish.
    Vanishes,
}

/// Bytes of a text for each byte of its normal form by Unicode at most, rounded up: U+1FBE with two
/// marks (7 bytes) is U+0390 (2 bytes), as is a mathematical iota with two marks (8 bytes).
const UNICODE_SHRINKS: usize = 4;

impl Normal {
    /// Unicode's NFC, or nothing.
    pub(super) fn nfc(wanted: bool) -> Self {
        Normal {
            steps: if wanted { vec![Step::Nfc] } else { Vec::new() },
        }
    }

    /// `Some(true)` for NFC, `Some(false)` for nothing, `None` for anything else.
    pub(super) fn is_nfc(&self) -> Option<bool> {
        match self.steps[..] {
            [] => Some(false),
            [Step::Nfc] => Some(true),
            _ => None,
        }
    }

    /// The normal form of a text that stands at the beginning of a whole one, if `first`.
    pub(super) fn apply<'a>(&self, text: &'a str, first: bool) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for step in &self.steps {
            text = step.apply(text, first);
        }
        text
    }

    /// The same character by character: nothing is put before the text, no space taken from it. To
    /// do it twice changes nothing more.
    pub(super) fn characters<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for step in &self.steps {
            text = match step {
                Step::OneSpace | Step::OneSign | Step::Strip { .. } | Step::Prepend(_) => text,
                Step::SentencePiece(rules) => map(text, |text| rules.characters(text)),
                step => step.apply(text, false),
            };
        }
        text
    }

    /// How much shorter a text may become by it, and by being cut into words.
    pub(super) fn shrinks(&self, words: Option<Words>) -> Shrinks {
        let (mut by, mut whitespace) = (1usize, false);
        if let Some(words) = words {
            by = SPACE_SIGN.len_utf8();
            whitespace = words.whitespace_vanishes;
        }
        for step in &self.steps {
            match step {
                Step::Nfc | Step::Nfd | Step::Nfkc | Step::Nfkd => {
                    by = by.saturating_mul(UNICODE_SHRINKS);
                }
                Step::Nmt | Step::Precompiled(_) => return Shrinks::Vanishes,
                Step::OneSpace | Step::OneSign | Step::Strip { .. } => whitespace = true,
                // The sign itself has three bytes, and may stand in a text.
                Step::Spaces => by = by.saturating_mul(SPACE_SIGN.len_utf8()),
                Step::Prepend(_) => {}
                Step::SentencePiece(rules) if rules.maps() => return Shrinks::Vanishes,
                Step::SentencePiece(rules) => {
                    by = by.saturating_mul(SPACE_SIGN.len_utf8());
                    whitespace |= rules.remove_extra_whitespace;
                }
            }
        }
        if whitespace {
            Shrinks::Whitespace(by)
        } else {
            Shrinks::By(by)
        }
    }
}

impl Step {
    fn apply<'a>(&self, text: Cow<'a, str>, first: bool) -> Cow<'a, str> {
        match self {
            Step::Nfc if is_nfc_quick(text.chars()) == IsNormalized::Yes => text,
            Step::Nfc => Cow::Owned(text.nfc().collect()),
            Step::Nfd if text.is_ascii() => text,
            Step::Nfd => Cow::Owned(text.nfd().collect()),
            Step::Nfkc | Step::Nfkd if text.is_ascii() => text,
            Step::Nfkc => Cow::Owned(text.nfkc().collect()),
            Step::Nfkd => Cow::Owned(text.nfkd().collect()),
            Step::Nmt => map(text, nmt),
            Step::OneSpace => map(text, one_space),
            Step::OneSign => map(text, one_sign),
            Step::Strip { left, right } => map(text, |text| strip(text, *left, *right)),
            Step::Precompiled(table) => map(text, |text| precompiled::replace(table, text)),
            Step::Prepend(_) if text.is_empty() => text,
            Step::Prepend(before) => Cow::Owned(format!("{before}{text}")),
            Step::Spaces => spaces(text),
            Step::SentencePiece(rules) => Cow::Owned(rules.apply(&text, first)),
        }
    }
}

fn map<'a>(text: Cow<'a, str>, change: impl Fn(&str) -> Option<String>) -> Cow<'a, str> {
    match change(&text) {
        Some(changed) => Cow::Owned(changed),
        None => text,
    }
}

/// [`SPACE_SIGN`] as a space.
pub(super) fn spaces(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.contains(SPACE_SIGN) {
        Cow::Owned(text.replace(SPACE_SIGN, " "))
    } else {
        text
    }
}

/// huggingface/tokenizers, `normalizers/unicode.rs`, `do_nmt`.
fn nmt(text: &str) -> Option<String> {
    let vanishes = |c: char| matches!(c, '\u{1}'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}' | '\u{8f}' | '\u{9f}');
    let space = |c: char| {
        matches!(
            c,
            '\t' | '\n' | '\u{c}' | '\r' | '\u{1680}' | '\u{200b}'
                ..='\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{2581}' | '\u{feff}' | '\u{fffd}'
        )
    };
    let kept = text.chars().filter(|&c| !vanishes(c));
    text.contains(|c| vanishes(c) || space(c))
        .then(|| kept.map(|c| if space(c) { ' ' } else { c }).collect())
}

fn one_space(text: &str) -> Option<String> {
    text.contains("  ").then(|| {
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            if c != ' ' || !out.ends_with(' ') {
                out.push(c);
            }
        }
        out
    })
}

fn one_sign(text: &str) -> Option<String> {
    text.contains("  ").then(|| {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("  ") {
            out.push_str(&rest[..at]);
            out.push(SPACE_SIGN);
            rest = rest[at..].trim_start_matches(' ');
        }
        out + rest
    })
}

fn strip(text: &str, left: bool, right: bool) -> Option<String> {
    let mut kept = text;
    if left {
        kept = kept.trim_start();
    }
    if right {
        kept = kept.trim_end();
    }
    (kept.len() < text.len()).then(|| kept.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(steps: Vec<Step>, text: &str) -> String {
        Normal { steps }.apply(text, true).into_owned()
    }

    #[test]
    fn steps_one_by_one() {
        assert_eq!(normal(vec![Step::Nfc], "e\u{301}"), "é");
        assert_eq!(normal(vec![Step::Nfkd], "ｅ́ﬁ"), "e\u{301}fi");
        assert_eq!(normal(vec![Step::OneSpace], "  a   b "), " a b ");
        assert_eq!(normal(vec![Step::OneSign], "  a b   c "), "▁a b▁c ");
        let strip = |left, right| vec![Step::Strip { left, right }];
        assert_eq!(normal(strip(false, true), " a \u{3000}\n"), " a");
        assert_eq!(normal(strip(true, true), " a "), "a");
        let llama2 = || vec![Step::Prepend("▁".into()), Step::Spaces];
        assert_eq!(normal(llama2(), "a▁ b"), " a  b");
        assert_eq!(normal(llama2(), ""), "");
        assert_eq!(normal(vec![Step::Nmt], "a\u{1}\tb\u{200b}"), "a b ");
        assert_eq!(normal(vec![], "a▁"), "a▁");
    }

    #[test]
    fn characters_leave_spaces_where_they_are() {
        let steps = vec![
            Step::Nfkc,
            Step::Prepend("x".into()),
            Step::OneSpace,
            Step::Spaces,
        ];
        assert_eq!(Normal { steps }.characters("ﬁ  ▁"), "fi   ");
    }
}
