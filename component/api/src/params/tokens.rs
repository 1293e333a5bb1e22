//! What a request says of single tokens, and what it wants to be told of them.

use super::token_ids;
use crate::{error::ApiError, fields::Object, kind::Kind};
use serde_json::Value;

/// Most likely tokens that are told beside one, at most.
const MAX_TOP: i64 = 20;
/// Entries of `logit_bias` at most.
const MAX_BIASES: usize = 1024;
/// Of these the texts at most: each is tokenised.
const MAX_BIASED_TEXTS: usize = 64;
/// Bytes of such a text at most.
const MAX_BIASED_BYTES: usize = 256;

/// The fields about tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenParams {
    /// Added to logits; minus infinity bans.
    pub logit_bias: Vec<(Biased, f32)>,
    /// The only tokens that may be chosen.
    pub allowed: Option<Vec<u32>>,
    /// Texts that are not generated.
    pub bad_words: Vec<String>,
    /// Of each generated token: so many of the most likely ones.
    pub logprobs: Option<u32>,
    /// Of each prompt token: so many of the most likely ones.
    pub prompt_logprobs: Option<u32>,
    /// The prompt's text comes before the answer's.
    pub echo: bool,
    /// The names of special tokens are part of the text.
    pub show_special: bool,
    /// Keep the last so many tokens of the prompt.
    pub truncate_prompt: Option<u32>,
    /// The answer has the token ids of prompt and completion.
    pub ids: bool,
    /// Tokens are named by their ids.
    pub named_by_id: bool,
}

/// What a bias is given for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Biased {
    /// A token.
    Token(u32),
    /// Each token of a text, with the name of its field.
    Text(String, String),
}

/// Read them from the body of a request of this kind.
pub(super) fn parse(kind: Kind, body: &Object<'_>) -> Result<TokenParams, ApiError> {
    Ok(TokenParams {
        logit_bias: logit_bias(body)?,
        allowed: ids(body, "allowed_token_ids")?,
        bad_words: texts(body, "bad_words")?,
        logprobs: logprobs(kind, body)?,
        // vLLM's -1, which is all of them, is refused by its range.
        prompt_logprobs: match body.get("prompt_logprobs") {
            Some(Value::Bool(false)) => None,
            _ => top(body, "prompt_logprobs")?,
        },
        echo: kind == Kind::Text && body.flag("echo")?,
        show_special: body.get("skip_special_tokens").is_some()
            && !body.flag("skip_special_tokens")?,
        truncate_prompt: truncate_prompt(body)?,
        ids: body.flag("return_token_ids")?,
        named_by_id: body.flag("return_tokens_as_token_ids")?,
    })
}

/// A number of most likely tokens.
fn top(body: &Object<'_>, name: &str) -> Result<Option<u32>, ApiError> {
    let n = body.integer(name, 0..=MAX_TOP)?;
    Ok(n.and_then(|n| u32::try_from(n).ok()))
}

/// OpenAI's two ways to ask for them, and llama.cpp's for both.
fn logprobs(kind: Kind, body: &Object<'_>) -> Result<Option<u32>, ApiError> {
    let n_probs = top(body, "n_probs")?.filter(|&n| n > 0);
    let asked = match kind {
        Kind::Text if body.get("logprobs") == Some(&Value::Bool(false)) => None,
        Kind::Text => top(body, "logprobs")?,
        Kind::Chat => {
            let (wanted, most) = (body.flag("logprobs")?, top(body, "top_logprobs")?);
            match (wanted, most) {
                (true, most) => Some(most.unwrap_or(0)),
                (false, None | Some(0)) => None,
                (false, Some(_)) => {
                    return Err(ApiError::invalid_value(
                        body.path("top_logprobs"),
                        "it is only allowed together with 'logprobs': true",
                    ));
                }
            }
        }
    };
    Ok(asked.max(n_probs))
}

fn truncate_prompt(body: &Object<'_>) -> Result<Option<u32>, ApiError> {
    // -1 is as many as there is room for, which the engine says by the largest number.
    let n = body.integer("truncate_prompt_tokens", -1..=i64::from(u32::MAX) - 1)?;
    match n {
        Some(0) => Err(ApiError::invalid_value(
            body.path("truncate_prompt_tokens"),
            "expected at least 1, or -1 for as many as fit",
        )),
        n => Ok(n.map(|n| u32::try_from(n).unwrap_or(u32::MAX))),
    }
}

/// What clients send in the place of a list or an object that has nothing in it.
fn asks_nothing(value: &Value) -> bool {
    match value {
        Value::Bool(is) => !is,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Null | Value::Number(_) => false,
    }
}

/// A list of token ids.
fn ids(body: &Object<'_>, name: &str) -> Result<Option<Vec<u32>>, ApiError> {
    let path = body.path(name);
    match body.get(name) {
        None => Ok(None),
        Some(value) if asks_nothing(value) => Ok(None),
        Some(Value::Array(ids)) => token_ids(&path, ids).map(Some),
        Some(other) => Err(ApiError::invalid_type(path, "an array of token ids", other)),
    }
}

/// A list of texts, none empty.
fn texts(body: &Object<'_>, name: &str) -> Result<Vec<String>, ApiError> {
    let path = body.path(name);
    let texts = match body.get(name) {
        None => return Ok(Vec::new()),
        Some(value) if asks_nothing(value) => return Ok(Vec::new()),
        Some(Value::Array(texts)) => texts,
        Some(other) => return Err(ApiError::invalid_type(path, "an array of strings", other)),
    };
    let one = |(i, text): (usize, &Value)| match text.as_str() {
        Some("") => Err(ApiError::invalid_value(
            format!("{path}[{i}]"),
            "it is empty",
        )),
        Some(text) => Ok(text.to_owned()),
        None => Err(ApiError::invalid_type(
            format!("{path}[{i}]"),
            "a string",
            text,
        )),
    };
    texts.iter().enumerate().map(one).collect()
}

/// OpenAI's map from token ids to biases; llama.cpp's map from texts, and its list of pairs.
fn logit_bias(body: &Object<'_>) -> Result<Vec<(Biased, f32)>, ApiError> {
    let path = body.path("logit_bias");
    let biases: Vec<(Biased, f32)> = match body.get("logit_bias") {
        None => Vec::new(),
        Some(value) if asks_nothing(value) => Vec::new(),
        Some(Value::Object(map)) => {
            let one = |(key, value): (&String, &Value)| {
                let path = format!("{path}.{key}");
                let biased = match key.parse() {
                    Ok(id) => Biased::Token(id),
                    Err(_) if key.parse::<f64>().is_ok() => {
                        let why =
                            "it is a number and no token id, which are whole and not negative";
                        return Err(ApiError::invalid_value(path, why));
                    }
                    Err(_) => text(key, &path)?,
                };
                Ok((biased, bias(value, path)?))
            };
            map.iter().map(one).collect::<Result<_, ApiError>>()?
        }
        Some(Value::Array(pairs)) => {
            let one = |(i, pair): (usize, &Value)| {
                let path = format!("{path}[{i}]");
                match pair.as_array().map(Vec::as_slice) {
                    Some([Value::String(key), value]) => {
                        Ok((text(key, &path)?, bias(value, path)?))
                    }
                    Some([id, value]) => {
                        let ids = token_ids(&path, std::slice::from_ref(id))?;
                        let id = ids.first().copied().unwrap_or_default();
                        Ok((Biased::Token(id), bias(value, path)?))
                    }
                    _ => {
                        let expected = "a token id or a text, and its bias";
                        Err(ApiError::invalid_type(path, expected, pair))
                    }
                }
            };
            pairs
                .iter()
                .enumerate()
                .map(one)
                .collect::<Result<_, ApiError>>()?
        }
        Some(other) => {
            let expected = "an object of token ids and biases, or a list of such pairs";
            return Err(ApiError::invalid_type(path, expected, other));
        }
    };
    let texts = biases
        .iter()
        .filter(|(biased, _)| matches!(biased, Biased::Text(..)));
    for (what, length, most) in [
        ("entries", biases.len(), MAX_BIASES),
        ("texts", texts.count(), MAX_BIASED_TEXTS),
    ] {
        if length > most {
            let why = format!("at most {most} {what}, but got {length}");
            return Err(ApiError::invalid_value(path, &why));
        }
    }
    Ok(biases)
}

fn text(text: &str, path: &str) -> Result<Biased, ApiError> {
    if text.is_empty() || text.len() > MAX_BIASED_BYTES {
        let why = format!("a text has 1 to {MAX_BIASED_BYTES} bytes");
        return Err(ApiError::invalid_value(path.to_owned(), &why));
    }
    Ok(Biased::Text(text.to_owned(), path.to_owned()))
}

/// -100 to 100, or `false`, which bans.
fn bias(value: &Value, path: String) -> Result<f32, ApiError> {
    match value {
        Value::Bool(false) => Ok(f32::NEG_INFINITY),
        Value::Number(number) => match number.as_f64() {
            Some(bias) if (-100.0..=100.0).contains(&bias) => Ok(bias as f32),
            _ => {
                let why = format!("expected -100 to 100, or false to ban it, but got {value}");
                Err(ApiError::invalid_value(path, &why))
            }
        },
        other => Err(ApiError::invalid_type(path, "a number, or false", other)),
    }
}

/// The biases of single tokens, where `tokens` knows those of a text: what is said of a token twice
/// adds up.
pub fn biases(
    biases: Vec<(Biased, f32)>,
    tokens: impl Fn(&str, &str) -> Result<Vec<u32>, ApiError>,
) -> Result<Vec<(u32, f32)>, ApiError> {
    let mut sums = std::collections::BTreeMap::new();
    for (biased, bias) in biases {
        let ids = match biased {
            Biased::Token(id) => vec![id],
            Biased::Text(text, path) => tokens(&text, &path)?,
        };
        for id in ids {
            let sum: &mut f32 = sums.entry(id).or_default();
            *sum = (*sum + bias).min(100.0);
            if sum.is_finite() {
                *sum = sum.max(-100.0);
            }
        }
    }
    Ok(sums.into_iter().collect())
}
