//! Markers: tokens that stand for a place in a conversation (`<|im_start|>`, `</s>`) and not for
//! their text.
//!
//! Files say which tokens are markers by their type, and some lose the types or give wrong ones.
//! Then a chat template's markers would be spelled out letter by letter, and a model sees a
//! conversation as it never did in training. So what a marker looks like decides too, where no
//! merge could make the token of ordinary text: such a token is a marker or of no use at all.

use std::collections::HashSet;

use super::added::{AddedToken, AddedTokens};
use super::vocab::Kind;
use super::{Model, Tokenizer};

/// Texts that end a turn, or all of an answer, in published vocabularies: what llama.cpp takes as
/// ends by name (`llama-vocab.cpp`), and those of OpenChat, Command R, DeepSeek Coder, Llama 4 and
/// EXAONE.
pub(crate) const TURN_ENDS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<eos>",
    "<turn|>",
    "<end_of_utterance>",
    "<｜end▁of▁sentence｜>",
    "<|end_of_turn|>",
    "<|END_OF_TURN_TOKEN|>",
    "<|EOT|>",
    "<|eot|>",
    "<|eom|>",
    "<|endofturn|>",
    "[|endofturn|]",
];

/// Further special tokens whose look is not that of [`look`]'s.
const SPECIAL_NAMES: &[&str] = &[
    "<s>",
    "<bos>",
    "<pad>",
    "<unk>",
    "<mask>",
    "<sep>",
    "<cls>",
    "<start_of_turn>",
];

/// The form of a token's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// A special token, never shown.
    Special,
    /// A tag such as `<think>`: part of the answer's text.
    Tag,
}

fn look(text: &str) -> Option<Look> {
    // Most of a vocabulary is done with here.
    if !text.starts_with(['<', '[', '_']) {
        return None;
    }
    if TURN_ENDS.contains(&text) || SPECIAL_NAMES.contains(&text) {
        return Some(Look::Special);
    }
    let mut chars = text.chars();
    let (Some(first), Some(last)) = (chars.next(), chars.next_back()) else {
        return None;
    };
    let inside = chars.as_str();
    if !inside.contains(char::is_alphanumeric) || inside.contains(char::is_whitespace) {
        return None;
    }
    let bar = |c: char| c == '|' || c == '｜';
    let upper = |c: char| matches!(c, 'A'..='Z' | '0'..='9' | '_' | '/');
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':' | '/');
    match (first, last) {
        ('<', '>') | ('[', ']') if inside.starts_with(bar) || inside.ends_with(bar) => {
            Some(Look::Special)
        }
        ('[', ']') if inside.chars().all(upper) && inside.contains(char::is_alphabetic) => {
            Some(Look::Special)
        }
        ('<', '>') if inside.chars().all(word) => Some(Look::Tag),
        _ => None,
    }
}

/// True if an added token's text is whitespace, a word or a run of signs that a vocabulary keeps
/// whole, and not letters between signs, which may mean something.
fn is_plain(text: &str) -> bool {
    let (mut letters, mut signs) = (false, false);
    for c in text.chars() {
        letters |= c.is_alphanumeric();
        signs |= !c.is_alphanumeric() && !c.is_whitespace();
    }
    !(letters && signs)
}

/// The part of a template that is searched for markers, and the longest marker, in bytes.
const SEARCHED: usize = 1 << 20;
const LONGEST: usize = 256;

/// Of these tokens, those that a template writes, in its source or in the text its escapes stand
/// for.
fn written<'a>(tokens: impl Iterator<Item = &'a AddedToken>, template: &str) -> HashSet<u32> {
    let tokens = AddedTokens::new(tokens.cloned().collect());
    let source = &template[..template.floor_char_boundary(SEARCHED)];
    let mut held = tokens.held_by(source, LONGEST);
    held.extend(tokens.held_by(&source.replace("\\n", "\n"), LONGEST));
    held
}

impl Tokenizer {
    /// Take as markers what looks like one and is typed as ordinary text, and remember which tokens
    /// users must not write in a conversation. `template` is the chat template's source, empty
    /// without one; `named` are tokens that the configuration names as beginning or end. Returns
    /// the new markers' texts.
    pub(crate) fn mark(&mut self, template: &str, named: &[u32]) -> Vec<String> {
        let promoted = self.unmarked(template, named);
        let mut added = self.added.to_vec();
        for (id, text, look) in &promoted {
            let special = *look == Look::Special;
            let kind = if special {
                Kind::Control
            } else {
                Kind::UserDefined
            };
            self.vocab.set_kind(*id, kind);
            added.push(AddedToken::plain(*id, text.clone(), special));
        }
        self.added = AddedTokens::new(added);
        self.reserve(template);
        promoted.into_iter().map(|(_, text, _)| text).collect()
    }

    /// Collect the special tokens, and those that users must not write.
    pub(super) fn reserve(&mut self, template: &str) {
        let all = || self.added.iter().chain(self.added_normalized.iter());
        let plain = |token: &AddedToken| !token.special && is_plain(&token.text);
        let words = all().filter(|token| plain(token) && !token.text.trim().is_empty());
        let written = written(words, template);
        let select = |wanted: &dyn Fn(&AddedToken) -> bool| {
            AddedTokens::new(all().filter(|token| wanted(token)).cloned().collect())
        };
        self.special = select(&|token| token.special);
        self.reserved = select(&|token| !plain(token) || written.contains(&token.id));
    }

    /// Tokens that are typed as ordinary text and can only be markers.
    fn unmarked(&self, template: &str, named: &[u32]) -> Vec<(u32, String, Look)> {
        let untyped = self
            .added
            .iter()
            .chain(self.added_normalized.iter())
            .next()
            .is_none();
        let candidate = |id: u32| {
            let text = std::str::from_utf8(self.vocab.get(id)?).ok()?;
            let normal = self.vocab.kind(id) == Some(Kind::Normal);
            let look = look(text).filter(|_| normal)?;
            Some((id, text.to_owned(), look))
        };
        let ids = 0..self.vocab.len() as u32;
        let mut candidates: Vec<_> = ids.filter_map(candidate).collect();
        let tags: Vec<AddedToken> = candidates
            .iter()
            .map(|(id, text, _)| AddedToken::plain(*id, text.clone(), false))
            .collect();
        let written = written(tags.iter(), template);
        candidates.retain(|(id, _, look)| {
            let named = named.contains(id) || written.contains(id);
            untyped || named || *look == Look::Special
        });
        if !candidates.is_empty() {
            let made = self.made();
            candidates.retain(|&(id, ..)| !made[id as usize]);
        }
        candidates
    }

    /// `[vocab]`: the tokens that ordinary text may become.
    fn made(&self) -> Vec<bool> {
        match &self.model {
            Model::Bytes(bpe) => {
                let mut made = vec![false; self.vocab.len()];
                for id in bpe.merges.merged() {
                    made[id as usize] = true;
                }
                made
            }
            Model::Pieces(pieces) => pieces.made(&self.vocab),
        }
    }

    /// The added token with exactly this text: special, or of the user's definition.
    pub(crate) fn added_id(&self, text: &str) -> Option<u32> {
        let token = self
            .added
            .get(text)
            .or_else(|| self.added_normalized.get(text));
        token.map(|token| token.id)
    }

    /// Tokens from `size` on, which a model of that many has no embedding for: the added ones'
    /// texts, or the first ordinary one's id.
    pub(crate) fn beyond(&self, size: usize) -> Result<Vec<String>, u32> {
        let mut texts = Vec::new();
        for id in u32::try_from(size).unwrap_or(u32::MAX)..self.vocab.len() as u32 {
            match self.vocab.kind(id) {
                Some(Kind::Normal) => return Err(id),
                Some(Kind::Unused) | None => {}
                Some(_) => texts
                    .push(String::from_utf8_lossy(self.vocab.get(id).unwrap_or_default()).into()),
            }
        }
        Ok(texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_marker() {
        for text in [
            "<|im_start|>",
            "</s>",
            "[INST]",
            "[/INST]",
            "<｜User｜>",
            "_<EOT>",
            "<turn|>",
            "<|x",
        ] {
            let expected = (text != "<|x").then_some(Look::Special);
            assert_eq!(look(text), expected, "{text}");
        }
        for text in ["<think>", "</tool_call>", "<fim-prefix>"] {
            assert_eq!(look(text), Some(Look::Tag), "{text}");
        }
        for text in [
            "", "<", "<>", "<|>", "<||>", "[]", "[0]", "[a]", "a", "<a b>", "<=>", "    ", "->",
            "é",
        ] {
            assert_eq!(look(text), None, "{text}");
        }
    }

    #[test]
    fn every_turn_end_can_be_found_where_its_type_is_lost() {
        assert!(
            TURN_ENDS
                .iter()
                .all(|text| look(text) == Some(Look::Special))
        );
    }
}
