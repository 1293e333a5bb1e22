//! Added tokens: texts that are matched whole, before anything else looks at the text.
//!
//! The tokens lie sorted by their bytes, so that walking down the list byte by byte is a walk down
//! a trie: at each position of a text the longest token wins, and a position costs at most the
//! length of the longest token, whatever the text.

use std::collections::HashSet;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

/// One added token as `tokenizer.json` describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AddedToken {
    pub(super) id: u32,
    pub(super) text: String,
    /// Matched only where special tokens are asked for, never shown.
    pub(super) special: bool,
    /// Takes the whitespace on its left with it.
    pub(super) lstrip: bool,
    /// Takes the whitespace on its right with it.
    pub(super) rstrip: bool,
    /// Does not match inside a word.
    pub(super) single_word: bool,
}

impl AddedToken {
    /// Without options.
    pub(super) fn plain(id: u32, text: String, special: bool) -> Self {
        AddedToken {
            id,
            text,
            special,
            lstrip: false,
            rstrip: false,
            single_word: false,
        }
    }
}

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Text between added tokens, not empty.
    Text(&'a str),
    /// An added token.
    Token(u32),
}

/// Guards the character after it from being the start of an added token; removed before
/// pre-tokenisation. A noncharacter, which no interchanged text should hold; where one does, it is
/// guarded by another.
pub(super) const GUARD: char = '\u{FDD0}';

/// A set of added tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<AddedToken>", into = "Vec<AddedToken>")]
pub(super) struct AddedTokens {
    /// Sorted by text, all different, none empty.
    tokens: Vec<AddedToken>,
    /// Which bytes begin a token.
    first: Vec<bool>,
}

/// The tokens that begin at one position of a text.
struct Found<'a> {
    longest: Option<&'a AddedToken>,
    /// The text ended inside of a token.
    cut_off: bool,
}

impl From<Vec<AddedToken>> for AddedTokens {
    fn from(tokens: Vec<AddedToken>) -> Self {
        AddedTokens::new(tokens)
    }
}

impl From<AddedTokens> for Vec<AddedToken> {
    fn from(tokens: AddedTokens) -> Self {
        tokens.tokens
    }
}

impl AddedTokens {
    pub(super) fn new(mut tokens: Vec<AddedToken>) -> Self {
        tokens.retain(|token| !token.text.is_empty());
        tokens.sort_by(|a, b| a.text.cmp(&b.text));
        tokens.dedup_by(|a, b| a.text == b.text);
        let mut first = vec![false; 256];
        for token in &tokens {
            first[usize::from(token.text.as_bytes()[0])] = true;
        }
        AddedTokens { tokens, first }
    }

    /// The tokens, by text.
    pub(super) fn iter(&self) -> impl Iterator<Item = &AddedToken> {
        self.tokens.iter()
    }

    /// The same, to be changed.
    pub(super) fn to_vec(&self) -> Vec<AddedToken> {
        self.tokens.clone()
    }

    /// The token with exactly this text.
    pub(super) fn get(&self, text: &str) -> Option<&AddedToken> {
        self.tokens
            .binary_search_by(|token| token.text.as_str().cmp(text))
            .ok()
            .map(|at| &self.tokens[at])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Bytes of the longest token that `text` begins with; 0 without one.
    pub(super) fn longest_at(&self, text: &str) -> usize {
        match text.as_bytes().first() {
            Some(&byte) if self.begins(byte) => {
                let found = self.find(text, |_| true);
                found.longest.map_or(0, |token| token.text.len())
            }
            _ => 0,
        }
    }

    fn begins(&self, byte: u8) -> bool {
        self.first.get(usize::from(byte)).copied().unwrap_or(false)
    }

    /// The longest token at the start of `text` that satisfies `wanted`.
    fn find(&self, text: &str, mut wanted: impl FnMut(&AddedToken) -> bool) -> Found<'_> {
        let mut found = Found {
            longest: None,
            cut_off: false,
        };
        // The tokens that agree with `text` so far: a range of the sorted list.
        let mut candidates = &self.tokens[..];
        for (depth, &byte) in text.as_bytes().iter().enumerate() {
            let at = |token: &AddedToken| token.text.as_bytes().get(depth).copied();
            let from = candidates.partition_point(|token| at(token) < Some(byte));
            let to = candidates.partition_point(|token| at(token) <= Some(byte));
            candidates = &candidates[from..to];
            let Some(shortest) = candidates.first() else {
                return found;
            };
            if shortest.text.len() == depth + 1 && wanted(shortest) {
                found.longest = Some(shortest);
            }
        }
        found.cut_off = candidates
            .last()
            .is_some_and(|token| token.text.len() > text.len());
        found
    }

    /// The ids of the tokens that `text` holds, whatever lies around them. Of a token longer than
    /// `longest` bytes nothing is looked for, so that the work is bounded by the text's length
    /// times that.
    pub(super) fn held_by(&self, text: &str, longest: usize) -> HashSet<u32> {
        let mut held = HashSet::new();
        for (at, _) in text.char_indices() {
            if self.begins(text.as_bytes()[at]) {
                let end = text.floor_char_boundary(text.len().min(at + longest));
                // `find` asks about each token that begins here, the longer ones later.
                self.find(&text[at..end], |token| {
                    held.insert(token.id);
                    true
                });
            }
        }
        held
    }

    /// Cut `text` at its added tokens and hand the parts to `each` in order, until it breaks off.
    /// Special tokens count where `special`; a character after [`GUARD`] starts none where
    /// `guarded`.
    pub(super) fn cut<'a>(
        &self,
        text: &'a str,
        special: bool,
        guarded: bool,
        mut each: impl FnMut(Part<'a>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        // Up to `done` everything was handed out.
        let (mut done, mut at) = (0, 0);
        while at < text.len() {
            let rest = &text[at..];
            let Some(c) = rest.chars().next() else { break };
            if guarded && c == GUARD {
                at += GUARD.len_utf8()
                    + rest[GUARD.len_utf8()..]
                        .chars()
                        .next()
                        .map_or(0, char::len_utf8);
                continue;
            }
            let found = if self.begins(rest.as_bytes()[0]) {
                let wanted = |token: &AddedToken| {
                    (special || !token.special)
                        && (!token.single_word || stands_alone(text, at, at + token.text.len()))
                };
                self.find(rest, wanted).longest
            } else {
                None
            };
            let Some(token) = found else {
                at += c.len_utf8();
                continue;
            };
            let mut start = at;
            if token.lstrip {
                start = done + text[done..at].trim_end().len();
            }
            at += token.text.len();
            if token.rstrip {
                at = text.len() - text[at..].trim_start().len();
            }
            if start > done {
                each(Part::Text(&text[done..start]))?;
            }
            each(Part::Token(token.id))?;
            done = at;
        }
        if done < text.len() {
            each(Part::Text(&text[done..]))?;
        }
        ControlFlow::Continue(())
    }

    /// The longest text of a token, in bytes.
    pub(super) fn longest(&self) -> usize {
        self.tokens
            .iter()
            .map(|token| token.text.len())
            .max()
            .unwrap_or(0)
    }

    /// True if a token takes whitespace with it, however much.
    pub(super) fn swallows_whitespace(&self) -> bool {
        self.tokens.iter().any(|token| token.lstrip || token.rstrip)
    }

    /// Append `text` to `out` with a [`GUARD`] wherever one of these tokens begins or, at the end
    /// of `text`, could begin: what comes after must not complete one.
    pub(super) fn guard(&self, text: &str, out: &mut String) {
        for (at, c) in text.char_indices() {
            let begins = self.begins(text.as_bytes()[at]) && {
                let found = self.find(&text[at..], |_| true);
                found.longest.is_some() || found.cut_off
            };
            if begins || c == GUARD {
                out.push(GUARD);
            }
            out.push(c);
        }
    }
}

/// True if `text[start..end]` has no word character next to it.
fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    !text[..start].chars().next_back().is_some_and(is_word)
        && !text[end..].chars().next().is_some_and(is_word)
}

/// `text` without its guards: each stands before the character it guards.
pub(super) fn unguard(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.extend(if c == GUARD { chars.next() } else { Some(c) });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(id: u32, text: &str) -> AddedToken {
        AddedToken {
            id,
            text: text.into(),
            special: true,
            lstrip: false,
            rstrip: false,
            single_word: false,
        }
    }

    fn set() -> AddedTokens {
        AddedTokens::new(vec![
            token(1, "<s>"),
            token(2, "</s>"),
            token(3, "<s>>"),
            AddedToken {
                special: false,
                ..token(4, "  ")
            },
            AddedToken {
                lstrip: true,
                rstrip: true,
                ..token(5, "<m>")
            },
            AddedToken {
                single_word: true,
                ..token(6, "word")
            },
            token(7, "ä"),
            token(8, ""),
        ])
    }

    fn cut(text: &str, special: bool) -> Vec<String> {
        let mut parts = Vec::new();
        let _ = set().cut(text, special, true, |part| {
            parts.push(match part {
                Part::Text(text) => unguard(text),
                Part::Token(id) => format!("#{id}"),
            });
            ControlFlow::Continue(())
        });
        parts
    }

    #[test]
    fn the_longest_token_at_the_first_position_wins() {
        assert_eq!(cut("a<s>b<s>></s", true), ["a", "#1", "b", "#3", "</s"]);
        assert_eq!(cut("</s><s>", true), ["#2", "#1"]);
        assert_eq!(cut("äö", true), ["#7", "ö"]);
        assert!(cut("", true).is_empty());
    }

    #[test]
    fn special_tokens_are_text_unless_asked_for() {
        assert_eq!(cut("<s>a   b", false), ["<s>a", "#4", " b"]);
    }

    #[test]
    fn options_of_tokens() {
        assert_eq!(cut("a \t<m> \n b", true), ["a", "#5", "b"]);
        assert_eq!(
            cut("word words a_word (word)", true),
            ["#6", " words a_word (", "#6", ")"]
        );
    }

    #[test]
    fn guarded_text_holds_no_special_token() {
        for text in [
            "<s>",
            "a<s>></s>",
            "\u{FDD0}<s>",
            "\u{FDD0}",
            "x\u{FDD0}\u{FDD0}",
            "ä  ä",
            "<",
            "<s",
            "</s><",
            "word",
        ] {
            let mut guarded = String::new();
            set().guard(text, &mut guarded);
            assert_eq!(unguard(&guarded), text);
            // What follows cannot complete a token either.
            guarded.push_str("s>>/s>");
            let _ = set().cut(&guarded, true, true, |part| {
                assert!(matches!(part, Part::Text(_) | Part::Token(4)), "{text:?}");
                ControlFlow::Continue(())
            });
        }
    }

    #[test]
    fn a_guard_at_the_end_guards_nothing() {
        assert_eq!(cut("a\u{FDD0}", true), ["a"]);
    }
}
