//! Tokens as answers tell them: OpenAI's log probabilities of both routes, and vLLM's
//! `prompt_logprobs`.

use crate::{
    choices::Tokens,
    engine::{Candidate, TokenDetail},
    kind::Kind,
};
use serde::{Serialize, Serializer, ser::SerializeMap};

/// What an answer tells of its tokens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown {
    /// The log probabilities of what was generated.
    pub logprobs: bool,
    /// Those of the prompt.
    pub prompt_logprobs: bool,
    /// Among those of what was generated there is the prompt, since the text has it too.
    pub echo: bool,
    /// Token ids.
    pub ids: bool,
    /// Tokens are named by their ids.
    pub named_by_id: bool,
    /// Special tokens are part of the text.
    pub special: bool,
}

/// `logprobs` of a choice.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Logprobs {
    /// Of a chat.
    Chat {
        /// Each token of the answer.
        content: Vec<ChatToken>,
        /// None of a refusal: no answer has one.
        refusal: (),
    },
    /// Of a completion.
    Text {
        /// Each token's text.
        tokens: Vec<String>,
        /// Its log probability; null of the prompt's first.
        token_logprobs: Vec<Option<f32>>,
        /// The most likely tokens of its place, and itself.
        top_logprobs: Vec<Option<Named>>,
        /// Where its text begins in the choice's, in characters.
        text_offset: Vec<usize>,
    },
}

/// A token of a chat's answer.
#[derive(Serialize)]
pub struct ChatToken {
    #[serde(flatten)]
    token: Likely,
    top_logprobs: Vec<Likely>,
}

/// A token and its log probability.
#[derive(Serialize)]
struct Likely {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

/// Log probabilities by the texts of tokens, best first; the first of equal texts counts.
#[derive(Default)]
pub struct Named(Vec<(String, f32)>);

impl Named {
    fn add(&mut self, name: String, logprob: f32) {
        if self.0.iter().all(|(other, _)| *other != name) {
            self.0.push((name, logprob));
        }
    }
}

impl Serialize for Named {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, logprob)| (name, logprob)))
    }
}

/// A place of vLLM's `prompt_logprobs`: the most likely tokens and the prompt's own, by their ids.
pub struct Place(Vec<(u32, Ranked)>);

#[derive(Serialize)]
struct Ranked {
    logprob: f32,
    rank: u32,
    decoded_token: String,
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (id, ranked) in &self.0 {
            map.serialize_entry(&id.to_string(), ranked)?;
        }
        map.end()
    }
}

/// The text of a token: of a part of a character its bytes, as OpenAI writes them.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            let escaped = bytes.iter().map(|byte| format!("\\x{byte:02x}"));
            std::iter::once("bytes:".to_owned())
                .chain(escaped)
                .collect()
        }
    }
}

/// Where the next token's text begins in the text of a choice.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offset(usize);

impl Offset {
    /// The character in which a token begins, before it is counted.
    fn pass(&mut self, token: &TokenDetail, shown: Shown) -> usize {
        let goes_on = |byte: &u8| byte & 0xc0 == 0x80;
        if token.special && !shown.special {
            return self.0;
        }
        let inside = token.bytes.first().is_some_and(goes_on);
        let begins = self.0.saturating_sub(usize::from(inside));
        self.0 += token.bytes.iter().filter(|byte| !goes_on(byte)).count();
        begins
    }
}

impl Shown {
    /// The log probabilities of these tokens, if they are told; in a chat's chunk maybe of none.
    pub fn logprobs(self, kind: Kind, tokens: &Tokens, offset: &mut Offset) -> Option<Logprobs> {
        if !self.logprobs {
            return None;
        }
        // A chat's are those of its text, as OpenAI's are.
        let is_told = |token: &&TokenDetail| kind == Kind::Text || self.special || !token.special;
        let prompt = tokens.prompt.iter().filter(|_| self.echo);
        let told: Vec<&TokenDetail> = prompt.chain(&tokens.details).filter(is_told).collect();
        if told.is_empty() && kind == Kind::Text {
            return None;
        }
        Some(match kind {
            Kind::Chat => Logprobs::Chat {
                content: told.into_iter().map(|token| self.chat(token)).collect(),
                refusal: (),
            },
            Kind::Text => Logprobs::Text {
                tokens: told
                    .iter()
                    .map(|token| self.name(token.token, &token.bytes))
                    .collect(),
                token_logprobs: told.iter().map(|token| token.logprob).collect(),
                top_logprobs: told.iter().map(|token| self.named(token)).collect(),
                text_offset: told.iter().map(|token| offset.pass(token, self)).collect(),
            },
        })
    }

    /// Tokens of a text as a chat has them; special ones are none of it.
    pub fn tokens(self, tokens: &[TokenDetail]) -> Vec<ChatToken> {
        let told = tokens.iter().filter(|token| self.special || !token.special);
        told.map(|token| self.chat(token)).collect()
    }

    /// The prompt's places, if they are told: null for its first token.
    pub fn prompt_logprobs(self, tokens: &Tokens) -> Option<Vec<Option<Place>>> {
        let is_told = self.prompt_logprobs && !tokens.prompt.is_empty();
        is_told.then(|| tokens.prompt.iter().map(place).collect())
    }

    fn name(self, id: u32, bytes: &[u8]) -> String {
        if self.named_by_id {
            format!("token_id:{id}")
        } else {
            text(bytes)
        }
    }

    fn chat(self, token: &TokenDetail) -> ChatToken {
        let likely = |id, bytes: &[u8], logprob| Likely {
            token: self.name(id, bytes),
            logprob,
            bytes: bytes.to_vec(),
        };
        let top = token.top.iter();
        ChatToken {
            token: likely(token.token, &token.bytes, token.logprob.unwrap_or(0.0)),
            top_logprobs: top
                .map(|one| likely(one.token, &one.bytes, one.logprob))
                .collect(),
        }
    }

    fn named(self, token: &TokenDetail) -> Option<Named> {
        let logprob = token.logprob?;
        let mut named = Named::default();
        for Candidate {
            token,
            bytes,
            logprob,
        } in &token.top
        {
            named.add(self.name(*token, bytes), *logprob);
        }
        named.add(self.name(token.token, &token.bytes), logprob);
        Some(named)
    }
}

fn place(token: &TokenDetail) -> Option<Place> {
    let logprob = token.logprob?;
    let ranked = |logprob, rank, bytes: &[u8]| Ranked {
        logprob,
        rank,
        decoded_token: text(bytes),
    };
    let top = (1..).zip(&token.top);
    let mut place: Vec<(u32, Ranked)> = top
        .map(|(rank, one)| (one.token, ranked(one.logprob, rank, &one.bytes)))
        .collect();
    if place.iter().all(|(id, _)| *id != token.token) {
        place.push((token.token, ranked(logprob, token.rank, &token.bytes)));
    }
    Some(Place(place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::detail;

    #[test]
    fn special_tokens_are_told_where_they_are_part_of_the_text_and_of_completions() {
        let end = TokenDetail {
            special: true,
            ..detail(2, b"</s>", Some(0))
        };
        let tokens = Tokens {
            details: vec![detail(1, b"Hi", Some(0)), end],
            ..Tokens::default()
        };
        for (kind, special, told) in [
            (Kind::Chat, false, 1),
            (Kind::Chat, true, 2),
            (Kind::Text, false, 2),
        ] {
            let shown = Shown {
                logprobs: true,
                special,
                ..Shown::default()
            };
            let logprobs = shown.logprobs(kind, &tokens, &mut Offset::default());
            let length = match logprobs.unwrap() {
                Logprobs::Chat { content, .. } => content.len(),
                Logprobs::Text { tokens, .. } => tokens.len(),
            };
            assert_eq!(length, told, "{kind:?} {special}");
        }
    }

    #[test]
    fn a_chats_chunk_without_tokens_has_an_empty_list() {
        let shown = Shown {
            logprobs: true,
            ..Shown::default()
        };
        let none = |kind| shown.logprobs(kind, &Tokens::default(), &mut Offset::default());
        assert!(
            matches!(none(Kind::Chat), Some(Logprobs::Chat { content, .. }) if content.is_empty())
        );
        assert!(none(Kind::Text).is_none());
    }
}
