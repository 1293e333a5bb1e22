//! What a request wants to be told of tokens: those of its prompt, and the probabilities of both
//! these and the generated ones.
//!
//! A prompt's probabilities are told chunk by chunk as they are computed, so that nothing but a
//! chunk's logits is held. They need every position's logits: its prefill is cut into smaller
//! chunks than others ([`MAX_SCORED`]).

use crate::request::{Candidate, TokenDetail};
use crate::sampler::Likelihood;
use crate::tokenizer::Tokenizer;

/// Prompt tokens of a step whose logits are wanted, of all sequences together: with a vocabulary of
/// 128k they are 16 MiB.
pub(super) const MAX_SCORED: usize = 32;

/// What is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Of each generated token: so many of the most likely ones.
    pub generated: Option<usize>,
    /// The prompt's tokens.
    pub prompt: bool,
    /// Of each of them: so many of the most likely ones.
    pub prompt_top: Option<usize>,
}

impl Report {
    /// True if the prompt's tokens are told in some way.
    pub(super) fn tells_prompt(&self) -> bool {
        self.prompt || self.prompt_top.is_some()
    }
}

/// A token, and where `likelihood` is of its place, its probability and those of so many of the
/// most likely ones.
pub(super) fn detail(
    tokenizer: &Tokenizer,
    token: u32,
    likelihood: Option<(&Likelihood<'_>, usize)>,
) -> TokenDetail {
    let bytes = |token| tokenizer.token_bytes(token).unwrap_or_default().to_vec();
    let top = likelihood.map_or_else(Vec::new, |(likelihood, n)| {
        let candidate = |token| Candidate {
            token,
            bytes: bytes(token),
            logprob: likelihood.of(token),
        };
        likelihood.top(n).into_iter().map(candidate).collect()
    });
    TokenDetail {
        token,
        bytes: bytes(token),
        special: tokenizer.is_special(token),
        logprob: likelihood.map(|(likelihood, _)| likelihood.of(token)),
        rank: likelihood.map_or(0, |(likelihood, _)| likelihood.rank(token)),
        top,
    }
}
