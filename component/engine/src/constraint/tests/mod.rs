//! Structured output without a model: tokens are drawn at random from each mask, which is harder on
//! a grammar than any model.

mod forms;
mod limits;
mod schemas;
mod speed;
mod starts;

use std::path::Path;

use super::guard::{Guard, Start};
use super::*;
use crate::request::Grammar;
use crate::sampler::{Params, Sampler};
use crate::tokenizer::Tokenizer;

fn read(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures")
        .join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The demo model's: byte-level BPE.
fn demo() -> Tokenizer {
    Tokenizer::from_json(&read("demo-tokenizer.json")).unwrap()
}

/// A SentencePiece BPE of pieces and bytes.
fn llama() -> Tokenizer {
    Tokenizer::from_json(&read("tokenizers/llama.json")).unwrap()
}

/// A token that is no text.
fn end_of(tokenizer: &Tokenizer) -> u32 {
    let size = u32::try_from(tokenizer.vocab_size()).unwrap();
    (0..size).find(|&id| tokenizer.is_special(id)).unwrap()
}

fn guard(constraints: &Constraints, tokenizer: &Tokenizer, grammar: &Grammar) -> Guard {
    let matcher = constraints.matcher(tokenizer, grammar).unwrap();
    Guard::new(matcher, Start::AtOnce, tokenizer)
}

fn error(grammar: &Grammar) -> String {
    match Constraints::default().matcher(&demo(), grammar) {
        Ok(_) => panic!("{grammar:?} was taken"),
        Err(EngineError::InvalidRequest { field, message }) => {
            assert_eq!(field, "constraint");
            message
        }
        Err(other) => panic!("{other}"),
    }
}

fn schema(schema: &serde_json::Value) -> Grammar {
    Grammar::JsonSchema {
        schema: schema.to_string(),
        strict: true,
    }
}

/// Random logits, from which a sampler draws, with a liking for what closes a text once `haste`
/// tokens are there.
struct Random {
    sampler: Sampler,
    state: u64,
    haste: usize,
}

impl Random {
    fn new(seed: u64) -> Self {
        let params = Params {
            temperature: 1.0,
            seed,
            ..Params::GREEDY
        };
        Random {
            sampler: Sampler::new(params, &[]),
            state: seed,
            haste: 12,
        }
    }

    fn logits(&mut self, tokenizer: &Tokenizer, generated: usize) -> Vec<f32> {
        let size = u32::try_from(tokenizer.vocab_size()).unwrap();
        let logit = |id| {
            self.state = self
                .state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let noise = (self.state >> 40) as f32 / (1u64 << 24) as f32 * 4.0;
            let closes = tokenizer.is_special(id)
                || tokenizer
                    .token_bytes(id)
                    .is_some_and(|text| matches!(text, b"\"" | b"}" | b"]" | b"\"}" | b"0"));
            noise
                + if closes && generated > self.haste {
                    12.0
                } else {
                    0.0
                }
        };
        // One row more than the tokenizer has tokens, as in models with padded tables.
        (0..=size).map(logit).collect()
    }

    /// What the guard lets it say, and whether it came to an end in `most` tokens.
    fn say(&mut self, tokenizer: &Tokenizer, guard: &mut Guard, most: usize) -> (String, bool) {
        let end = end_of(tokenizer);
        let mut tokens = Vec::new();
        let isa = sterna_kernels::Isa::SCALAR;
        while tokens.len() < most {
            let mut logits = self.logits(tokenizer, tokens.len());
            let mask = guard.mask(&[end], &[]).unwrap();
            let token = self.sampler.sample_within(isa, &mut logits, |logits| {
                if let Some(mask) = &mask {
                    mask.apply(logits);
                }
            });
            let token = token.unwrap();
            assert!(mask.as_ref().is_none_or(|mask| mask.allows(token)));
            if token == end {
                return (text(tokenizer, &tokens), true);
            }
            tokens.push(token);
            if guard.take(tokenizer, token).unwrap() {
                return (text(tokenizer, &tokens), true);
            }
        }
        (text(tokenizer, &tokens), false)
    }
}

/// The text as a client gets it: in the middle of another.
fn text(tokenizer: &Tokenizer, tokens: &[u32]) -> String {
    let mut stream = crate::tokenizer::TextStream::new();
    let text: String = tokens
        .iter()
        .map(|&id| stream.push(tokenizer, id))
        .collect();
    text + &stream.finish()
}
