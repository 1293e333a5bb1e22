//! The parameters that both completion routes share: which model, how much, how tokens are chosen,
//! and how the answer is sent.
//!
//! Reads the fields that `known/table.rs` lists as honoured; all others were refused or found
//! harmless before.

use crate::{
    deadline,
    engine::Sampling,
    error::ApiError,
    fields::Object,
    kind::Kind,
    known::{self, Place},
    settings::Settings,
};
use serde_json::Value;
use std::ops::Bound::{Excluded, Included, Unbounded};

mod tokens;

pub use tokens::{Biased, TokenParams, biases};

/// Answers to one prompt at most.
pub const MAX_CHOICES: u32 = 128;

/// Texts at which a completion may end.
const MAX_STOPS: usize = 16;

/// The names of the largest number of tokens, as OpenAI, TGI, llama.cpp's server and Ollama have
/// them.
const MAX_TOKENS: [&str; 5] = [
    "max_tokens",
    "max_completion_tokens",
    "max_new_tokens",
    "n_predict",
    "num_predict",
];

/// The fields of a request besides its prompt.
#[derive(Debug, PartialEq)]
pub struct Params {
    /// `None` is the default model.
    pub model: Option<String>,
    /// Within what the operator allows; `None` fills the context.
    pub max_tokens: Option<u32>,
    /// Before so many tokens nothing ends the completion.
    pub min_tokens: u32,
    /// Texts at which the completion ends.
    pub stop: Vec<String>,
    /// Token ids at which it ends.
    pub stop_tokens: Vec<u32>,
    /// It ends behind the stop text or token.
    pub include_stop: bool,
    /// The model's own end is never generated.
    pub ignore_eos: bool,
    /// The sampling parameters.
    pub sampling: Sampling,
    /// What is said of single tokens.
    pub tokens: TokenParams,
    /// Answers to each prompt.
    pub n: u32,
    /// Answers that are generated for each prompt; the best `n` are told.
    pub best_of: u32,
    /// How the engine treats it beside others.
    pub treatment: Treatment,
    /// Send events as they come.
    pub stream: bool,
    /// The chunks of a stream that report usage.
    pub usage: StreamUsage,
    /// The answer tells its times.
    pub timings: bool,
}

/// The treatment of a request beside others, which decides when it is answered and not how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Treatment {
    /// What is cached is shared with requests only that have the same.
    pub cache_salt: Option<String>,
    /// Requests with lower numbers come first.
    pub priority: i32,
    /// Milliseconds from its beginning after which it ends.
    pub timeout_ms: Option<u32>,
}

impl Treatment {
    /// As a body has it.
    ///
    /// # Errors
    /// A field of another type or out of its range.
    pub fn of(body: &Object<'_>) -> Result<Self, ApiError> {
        let priority = body.integer("priority", 0..=i32::MAX.into())?;
        Ok(Treatment {
            cache_salt: body.string("cache_salt")?.map(str::to_owned),
            // The range is i32's, so nothing is cut off.
            priority: priority.map_or(0, |n| n as i32),
            timeout_ms: Treatment::timeout_ms_of(body)?,
        })
    }

    /// The time that a body gives.
    ///
    /// # Errors
    /// It is no number of seconds above 0.
    pub fn timeout_ms_of(body: &Object<'_>) -> Result<Option<u32>, ApiError> {
        let seconds = body.number("timeout", (Excluded(0.0), Unbounded))?;
        Ok(seconds.and_then(|seconds| deadline::ms(seconds.into())))
    }
}

/// Which of a stream's events say what it cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamUsage {
    /// None.
    #[default]
    Never,
    /// One after the last piece; it is null in the others.
    AtTheEnd,
    /// That one, and each other what it cost so far.
    Always,
}

/// Read the shared parameters of a body.
pub fn parse(kind: Kind, body: &Object<'_>, settings: &Settings) -> Result<Params, ApiError> {
    let stream = body.flag("stream")?;
    let tokens = tokens::parse(kind, body)?;
    let (n, best_of) = choices(body, stream)?;
    // Nothing needs to be generated where the prompt is told.
    let least = i64::from(!tokens.echo && tokens.prompt_logprobs.is_none());
    Ok(Params {
        model: body
            .string("model")?
            .filter(|id| !id.is_empty())
            .map(str::to_owned),
        max_tokens: settings.completion_limit(max_tokens(body, least)?)?,
        min_tokens: min_tokens(body)?,
        stop: stop(body)?,
        stop_tokens: stop_tokens(body)?,
        include_stop: body.flag("include_stop_str_in_output")?,
        ignore_eos: body.flag("ignore_eos")?,
        sampling: sampling(body)?,
        tokens,
        n,
        best_of,
        treatment: Treatment::of(body)?,
        stream,
        usage: stream_usage(body, stream)?,
        timings: body.flag("timings_per_token")?,
    })
}

fn stream_usage(body: &Object<'_>, stream: bool) -> Result<StreamUsage, ApiError> {
    let Some(options) = body.object("stream_options")? else {
        return Ok(StreamUsage::Never);
    };
    if !stream {
        return Err(ApiError::invalid_value(
            body.path("stream_options"),
            "it is only allowed together with 'stream': true",
        ));
    }
    known::check(&options, Place::StreamOptions)?;
    let (at_the_end, always) = (
        options.flag("include_usage")?,
        options.flag("continuous_usage_stats")?,
    );
    Ok(match (at_the_end, always) {
        // As for vLLM, where the second asks for nothing without the first.
        (true, true) => StreamUsage::Always,
        (true, false) => StreamUsage::AtTheEnd,
        (false, _) => StreamUsage::Never,
    })
}

/// Answers that are told, and answers that are generated.
fn choices(body: &Object<'_>, stream: bool) -> Result<(u32, u32), ApiError> {
    let read = |body: &Object<'_>, name: &str| body.integer(name, 1..=i64::from(MAX_CHOICES));
    let n = body.alias(&["n", "n_cmpl", "num_return_sequences"], read)?;
    let n = n.map_or(1, |(n, _)| n);
    let best_of = read(body, "best_of")?.unwrap_or(n);
    let fault = |why: &str| Err(ApiError::invalid_value(body.path("best_of"), why));
    if best_of < n {
        return fault("it must be at least 'n'");
    }
    if best_of > n && stream {
        return fault("the best are known at the end; leave it out, or do not stream");
    }
    // The range is far below u32's.
    Ok((n as u32, best_of as u32))
}

/// The number, `least` or more, and the name of its field.
fn max_tokens(body: &Object<'_>, least: i64) -> Result<Option<(u32, String)>, ApiError> {
    let read = |body: &Object<'_>, name: &str| {
        let unlimited = name.ends_with("_predict");
        match body.get(name).and_then(Value::as_i64) {
            // No end, and until the context is full: both are the default here.
            Some(-2..=-1) if unlimited => Ok(None),
            // The range is u32's, so nothing is cut off.
            _ => Ok(body
                .integer(name, least..=i64::from(u32::MAX))?
                .map(|n| n as u32)),
        }
    };
    let found = body.alias(&MAX_TOKENS, read)?;
    Ok(found.map(|(n, name)| (n, body.path(name))))
}

fn min_tokens(body: &Object<'_>) -> Result<u32, ApiError> {
    let read = |body: &Object<'_>, name: &str| body.integer(name, 0..=i64::from(u32::MAX));
    let found = body.alias(&["min_tokens", "min_new_tokens"], read)?;
    // As above.
    Ok(found.map_or(0, |(n, _)| n as u32))
}

/// Token ids; the engine knows how many there may be, and which there are.
fn stop_tokens(body: &Object<'_>) -> Result<Vec<u32>, ApiError> {
    let path = body.path("stop_token_ids");
    match body.get("stop_token_ids") {
        None => Ok(Vec::new()),
        Some(Value::Array(ids)) => token_ids(&path, ids),
        Some(other) => Err(ApiError::invalid_type(path, "an array of token ids", other)),
    }
}

/// A list of token ids at `path`.
pub fn token_ids(path: &str, ids: &[Value]) -> Result<Vec<u32>, ApiError> {
    let id = |(i, value): (usize, &Value)| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| match value {
            Value::Number(n) if !n.is_f64() => {
                ApiError::invalid_value(format!("{path}[{i}]"), &format!("{value} is no token id"))
            }
            _ => ApiError::invalid_type(format!("{path}[{i}]"), "a token id", value),
        })
    };
    ids.iter().enumerate().map(id).collect()
}

fn stop(body: &Object<'_>) -> Result<Vec<String>, ApiError> {
    let path = body.path("stop");
    let texts = match body.get("stop") {
        None => return Ok(Vec::new()),
        Some(text @ Value::String(_)) => std::slice::from_ref(text),
        Some(Value::Array(texts)) => texts,
        Some(other) => {
            return Err(ApiError::invalid_type(
                path,
                "a string or an array of strings",
                other,
            ));
        }
    };
    if texts.len() > MAX_STOPS {
        return Err(ApiError::invalid_value(
            path,
            &format!("at most {MAX_STOPS} texts, but got {}", texts.len()),
        ));
    }
    let one = |(i, text): (usize, &Value)| match text.as_str() {
        Some("") => Err(ApiError::invalid_value(
            format!("{path}[{i}]"),
            "it is empty, which would stop at once",
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

fn sampling(body: &Object<'_>) -> Result<Sampling, ApiError> {
    Ok(Sampling {
        temperature: body.number("temperature", (Included(0.0), Included(2.0)))?,
        // Some clients say -1 where the engine says 0: keep all.
        top_k: body
            .integer("top_k", -1..=i64::from(u32::MAX))?
            .map(|k| k.max(0) as u32),
        top_p: body.number("top_p", (Included(0.0), Included(1.0)))?,
        min_p: body.number("min_p", (Included(0.0), Included(1.0)))?,
        repetition_penalty: repetition_penalty(body)?,
        presence_penalty: body.number("presence_penalty", (Included(-2.0), Included(2.0)))?,
        frequency_penalty: body.number("frequency_penalty", (Included(-2.0), Included(2.0)))?,
        seed: seed(body)?,
    })
}

fn repetition_penalty(body: &Object<'_>) -> Result<Option<f32>, ApiError> {
    let read = |body: &Object<'_>, name: &str| body.number(name, (Excluded(0.0), Unbounded));
    let found = body.alias(&["repetition_penalty", "repeat_penalty"], read)?;
    Ok(found.map(|(value, _)| value))
}

/// OpenAI's seeds are signed, the engine's are not: -2 and 2^64 - 2 are the same seed. -1 asks for
/// a drawn one, as for llama.cpp, vLLM and Ollama.
fn seed(body: &Object<'_>) -> Result<Option<u64>, ApiError> {
    let read = |body: &Object<'_>, name: &str| match body.get(name) {
        Some(value) if value.is_u64() => Ok(value.as_u64()),
        _ => {
            let seed = body.integer(name, i64::MIN..=i64::MAX)?;
            Ok(seed.filter(|&seed| seed != -1).map(i64::cast_unsigned))
        }
    };
    let found = body.alias(&["seed", "random_seed"], read)?;
    Ok(found.map(|(seed, _)| seed))
}

#[cfg(test)]
mod tests;
