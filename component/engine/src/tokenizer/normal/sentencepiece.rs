//! The normal form of a `tokenizer.model` (google/sentencepiece, `normalizer.cc`).

use serde::{Deserialize, Serialize};

use super::{Charsmap, SPACE_SIGN};
use crate::tokenizer::added::AddedTokens;

/// `normalizer_spec`, with spaces where SentencePiece has `▁`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::tokenizer) struct SentencePiece {
    /// Replacements of characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::tokenizer) charsmap: Option<Charsmap>,
    /// No space at either end, and never two.
    pub(in crate::tokenizer) remove_extra_whitespace: bool,
    /// Where a space is put before the text.
    pub(in crate::tokenizer) prefix: Prefix,
    /// Tokens of the user's definition, which nothing replaces.
    #[serde(default, skip_serializing_if = "AddedTokens::is_empty")]
    pub(in crate::tokenizer) kept: AddedTokens,
}

/// The texts that a space is put before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::tokenizer) enum Prefix {
    /// None.
    Never,
    /// Only one that begins the whole text.
    First,
    /// That, and each that follows a token that was cut out.
    Always,
}

impl Prefix {
    /// True for a text that begins the whole one, if `first`.
    pub(in crate::tokenizer) fn applies(self, first: bool) -> bool {
        match self {
            Prefix::Never => false,
            Prefix::First => first,
            Prefix::Always => true,
        }
    }
}

impl SentencePiece {
    /// True if characters may be replaced.
    pub(super) fn maps(&self) -> bool {
        self.charsmap.is_some()
    }

    /// Replaced characters only; `None` where nothing changes.
    pub(super) fn characters(&self, text: &str) -> Option<String> {
        if self.charsmap.is_none() && !text.contains(SPACE_SIGN) {
            return None;
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((part, after)) = self.next(rest) {
            out.extend(part.chars().map(shown));
            rest = after;
        }
        Some(out)
    }

    /// The normal form of a text that begins the whole one, if `first`.
    pub(super) fn apply(&self, text: &str, first: bool) -> String {
        let mut out = String::with_capacity(text.len() + 1);
        let mut rest = text;
        if self.remove_extra_whitespace {
            while let Some((" ", after)) = self.next(rest) {
                rest = after;
            }
        }
        if rest.is_empty() {
            return out;
        }
        if self.prefix.applies(first) {
            out.push(' ');
        }
        let mut after_space = self.remove_extra_whitespace;
        while let Some((part, after)) = self.next(rest) {
            let part = if after_space {
                part.trim_start_matches(' ')
            } else {
                part
            };
            out.extend(part.chars().map(shown));
            if !part.is_empty() {
                after_space = self.remove_extra_whitespace && part.ends_with(' ');
            }
            rest = after;
        }
        if self.remove_extra_whitespace {
            out.truncate(out.trim_end_matches(' ').len());
        }
        out
    }

    /// The first part of a text as it becomes, and the text after it.
    fn next<'a>(&'a self, text: &'a str) -> Option<(&'a str, &'a str)> {
        let c = text.chars().next()?;
        let kept = self.kept.longest_at(text);
        if kept > 0 {
            return Some(text.split_at(kept));
        }
        let map = self.charsmap.as_ref();
        match map.and_then(|map| map.replaced(text)) {
            Some((part, length)) => Some((part, &text[length..])),
            None => Some(text.split_at(c.len_utf8())),
        }
    }
}

fn shown(c: char) -> char {
    if c == SPACE_SIGN { ' ' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(remove_extra_whitespace: bool, prefix: Prefix) -> SentencePiece {
        SentencePiece {
            charsmap: None,
            remove_extra_whitespace,
            prefix,
            kept: AddedTokens::default(),
        }
    }

    #[test]
    fn spaces_are_put_before_and_taken_away() {
        let plain = rules(false, Prefix::Always);
        assert_eq!(plain.apply(" a  b▁ ", true), "  a  b  ");
        assert_eq!(plain.apply("", true), "");
        let tidy = rules(true, Prefix::First);
        assert_eq!(tidy.apply("  a   b ", true), " a b");
        assert_eq!(tidy.apply("  a   b ", false), "a b");
        assert_eq!(tidy.apply("   ", true), "");
        // Only spaces are whitespace here.
        assert_eq!(tidy.apply("a \n b", true), " a \n b");
    }
}
