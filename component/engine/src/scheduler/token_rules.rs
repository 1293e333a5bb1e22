//! Checks of what a request says of single tokens.

use super::admit::invalid;
use crate::error::EngineError;
use crate::model::Model;
use crate::sampler::TokenRules;

/// Biased tokens at most.
const MAX_BIASES: usize = 1024;
/// Texts that are not generated, at most.
const MAX_BAD_WORDS: usize = 128;
/// Bytes of all of them: they are tokenised, and looked for before each token.
const MAX_BAD_BYTES: usize = 16 << 10;

/// The rules of a request.
///
/// # Errors
/// `InvalidRequest` for `logit-bias`, `allowed-tokens` and `bad-words`.
pub(super) fn token_rules(
    model: &Model,
    logit_bias: Vec<(u32, f32)>,
    allowed_tokens: Option<Vec<u32>>,
    bad_words: &[String],
) -> Result<TokenRules, EngineError> {
    Ok(TokenRules {
        bias: biases(model, logit_bias)?,
        allowed: allowed_tokens.map(|ids| allowed(model, ids)).transpose()?,
        bad: bad(model, bad_words)?,
    })
}

fn biases(model: &Model, mut biases: Vec<(u32, f32)>) -> Result<Vec<(u32, f32)>, EngineError> {
    const FIELD: &str = "logit-bias";
    check_length(FIELD, biases.len(), MAX_BIASES, "tokens")?;
    biases.sort_unstable_by_key(|&(token, _)| token);
    for pair in biases.windows(2) {
        if let [(first, _), (second, _)] = pair
            && first == second
        {
            let message = format!("has token {first} twice; add its biases up");
            return Err(invalid(FIELD, message));
        }
    }
    for &(token, bias) in &biases {
        check_token(model, FIELD, token)?;
        if !((-100.0..=100.0).contains(&bias) || bias == f32::NEG_INFINITY) {
            let message = format!(
                "gives token {token} the bias {bias}, must be -100 to 100, or minus infinity to ban it"
            );
            return Err(invalid(FIELD, message));
        }
    }
    Ok(biases)
}

fn allowed(model: &Model, mut ids: Vec<u32>) -> Result<Vec<u32>, EngineError> {
    const FIELD: &str = "allowed-tokens";
    check_length(FIELD, ids.len(), model.config.vocab_size, "ids")?;
    if ids.is_empty() {
        return Err(invalid(FIELD, "is empty; leave it out to allow all"));
    }
    ids.sort_unstable();
    ids.dedup();
    // Ascending: the last is the largest.
    ids.last()
        .map_or(Ok(()), |&id| check_token(model, FIELD, id))?;
    Ok(ids)
}

/// Each text's tokens, as it stands at the beginning and behind a space.
fn bad(model: &Model, words: &[String]) -> Result<Vec<Vec<u32>>, EngineError> {
    const FIELD: &str = "bad-words";
    check_length(FIELD, words.len(), MAX_BAD_WORDS, "texts")?;
    let bytes = words.iter().map(String::len).sum();
    check_length(FIELD, bytes, MAX_BAD_BYTES, "bytes")?;
    let mut sequences = Vec::new();
    for word in words {
        if word.is_empty() {
            return Err(invalid(FIELD, "has an empty text; leave it out"));
        }
        let behind_space = Some(word.trim_start()).filter(|word| !word.is_empty());
        let behind_space = behind_space.map(|word| format!(" {word}"));
        for text in [Some(word), behind_space.as_ref()].into_iter().flatten() {
            let tokens = model.tokenizer.encode(text, false)?;
            if !tokens.is_empty() && !sequences.contains(&tokens) {
                sequences.push(tokens);
            }
        }
    }
    Ok(sequences)
}

fn check_length(field: &str, length: usize, most: usize, of: &str) -> Result<(), EngineError> {
    if length > most {
        let message = format!("has {length} {of}, at most {most} are allowed");
        return Err(invalid(field, message));
    }
    Ok(())
}

fn check_token(model: &Model, field: &str, token: u32) -> Result<(), EngineError> {
    let vocab_size = model.config.vocab_size;
    if token as usize >= vocab_size {
        let message = format!("has token {token}, ids must be below {vocab_size}");
        return Err(invalid(field, message));
    }
    Ok(())
}
