//! How large an answer may be that is collected before it is sent.

use super::Piece;
use crate::{engine::TokenDetail, parts::Part};

/// Bytes of the choices of an answer together at most: an instance may have 64 MiB, and has the
/// choices, their JSON, and a second copy of it while that grows.
pub const MAX_BYTES: usize = 8 << 20;

/// What a token that is listed takes beside its text, in the answer; and so each candidate.
const LISTED_BYTES: usize = 96;

/// Bytes of so many listed tokens with so many candidates each, without their texts.
pub const fn listed_bytes(tokens: usize, candidates: usize) -> usize {
    tokens.saturating_mul((candidates + 1) * LISTED_BYTES)
}

impl Piece {
    /// Bytes that it adds to an answer.
    pub fn bytes(&self) -> usize {
        let texts = self.parts.iter().map(|part| match part {
            Part::Reasoning(text) | Part::Text(text) | Part::Call(text) | Part::Arguments(text) => {
                text.len()
            }
            Part::CallEnd { .. } => 0,
        });
        let told = &self.told;
        let listed = told.details.iter().chain(&told.prompt).map(detail_bytes);
        texts.chain(listed).sum::<usize>() + told.ids.len() * size_of::<u32>()
    }
}

/// Bytes of a token with its candidates. A byte of a text is told as a text and as a number.
fn detail_bytes(detail: &TokenDetail) -> usize {
    let texts = detail.top.iter().map(|candidate| candidate.bytes.len());
    let bytes = detail.bytes.len() + texts.sum::<usize>();
    listed_bytes(1, detail.top.len()) + bytes * 5
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        choices::Tokens,
        kind::Kind,
        logprobs::{Offset, Shown},
        testing::detail,
    };

    #[test]
    fn a_listed_token_takes_no_more_than_it_is_counted_as() {
        for text in ["a", "é", "\u{1}", " quite a long token of a vocabulary"] {
            let mut listed = detail(200_000, text.as_bytes(), Some(20));
            listed.logprob = Some(-12.345_678);
            for candidate in &mut listed.top {
                candidate.bytes = text.as_bytes().to_vec();
                candidate.logprob = -12.345_678;
            }
            let counted = detail_bytes(&listed);
            let tokens = Tokens {
                details: vec![listed],
                ..Tokens::default()
            };
            let shown = Shown {
                logprobs: true,
                ..Shown::default()
            };
            for kind in [Kind::Chat, Kind::Text] {
                let told = shown.logprobs(kind, &tokens, &mut Offset::default());
                let json = serde_json::to_string(&told).unwrap();
                assert!(
                    json.len() <= counted,
                    "{counted} for {} bytes: {json}",
                    json.len()
                );
            }
        }
    }
}
