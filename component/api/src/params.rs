//! The parameters that both completion routes share: which model, how much, how tokens are chosen, and
//! how the answer is sent.
//!
//! Three kinds of field are told apart. Those read here are honoured. Those in [`UNSUPPORTED`] would
//! change the answer and cannot be honoured, so they are refused unless they ask for nothing. All others
//! (`user`, `metadata`, `store`, `service_tier`, ..., and fields nobody knows) are ignored, as
//! OpenAI-compatible servers do.

use crate::{engine::Sampling, error::ApiError, fields::Object, settings::Settings};
use serde_json::Value;
use std::ops::Bound::{Excluded, Included, Unbounded};

/// Texts at which a completion may end.
const MAX_STOPS: usize = 16;

/// What a request says besides its prompt.
#[derive(Debug, PartialEq)]
pub struct Params {
    /// `None` is the default model.
    pub model: Option<String>,
    /// Within what the operator allows; `None` fills the context.
    pub max_tokens: Option<u32>,
    /// Texts at which the completion ends.
    pub stop: Vec<String>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Send events as they come.
    pub stream: bool,
    /// End a stream with an event that says what it cost.
    pub include_usage: bool,
}

/// A field that cannot be honoured, the values of it that ask for nothing, and what to do instead.
struct Unsupported {
    field: &'static str,
    harmless: fn(&Value) -> bool,
    accepted: &'static str,
}

const UNSUPPORTED: [Unsupported; 17] = [
    Unsupported {
        field: "n",
        harmless: is_one,
        accepted: "one choice is generated; leave it out or set it to 1",
    },
    Unsupported {
        field: "best_of",
        harmless: is_one,
        accepted: "leave it out or set it to 1",
    },
    Unsupported {
        field: "tools",
        harmless: is_empty,
        accepted: "leave it out",
    },
    Unsupported {
        field: "tool_choice",
        harmless: is_free_choice,
        accepted: "leave it out or set it to \"none\"",
    },
    Unsupported {
        field: "functions",
        harmless: is_empty,
        accepted: "leave it out",
    },
    Unsupported {
        field: "function_call",
        harmless: is_free_choice,
        accepted: "leave it out or set it to \"none\"",
    },
    Unsupported {
        field: "response_format",
        harmless: is_text_format,
        accepted: "only {\"type\": \"text\"} is",
    },
    Unsupported {
        field: "logit_bias",
        harmless: is_empty,
        accepted: "leave it out",
    },
    Unsupported {
        field: "logprobs",
        harmless: is_false,
        accepted: "leave it out",
    },
    Unsupported {
        field: "top_logprobs",
        harmless: is_zero,
        accepted: "leave it out",
    },
    Unsupported {
        field: "echo",
        harmless: is_false,
        accepted: "the prompt is not repeated; leave it out",
    },
    Unsupported {
        field: "suffix",
        harmless: is_empty,
        accepted: "leave it out",
    },
    Unsupported {
        field: "modalities",
        harmless: is_text_only,
        accepted: "only [\"text\"] is",
    },
    Unsupported {
        field: "audio",
        harmless: |_| false,
        accepted: "leave it out",
    },
    Unsupported {
        field: "web_search_options",
        harmless: |_| false,
        accepted: "leave it out",
    },
    Unsupported {
        field: "use_beam_search",
        harmless: is_false,
        accepted: "leave it out",
    },
    Unsupported {
        field: "grammar",
        harmless: is_empty,
        accepted: "leave it out",
    },
];

/// Read the shared parameters of a body.
pub fn parse(body: &Object<'_>, settings: &Settings) -> Result<Params, ApiError> {
    for Unsupported {
        field,
        harmless,
        accepted,
    } in &UNSUPPORTED
    {
        if body.get(field).is_some_and(|value| !harmless(value)) {
            return Err(ApiError::unsupported(body.path(field), accepted));
        }
    }
    let stream = body.flag("stream")?;
    let include_usage = match body.object("stream_options")? {
        Some(_) if !stream => {
            return Err(ApiError::invalid_value(
                body.path("stream_options"),
                "it is only allowed together with 'stream': true",
            ));
        }
        Some(options) => options.flag("include_usage")?,
        None => false,
    };
    Ok(Params {
        model: body
            .string("model")?
            .filter(|id| !id.is_empty())
            .map(str::to_owned),
        max_tokens: settings.completion_limit(max_tokens(body)?)?,
        stop: stop(body)?,
        sampling: sampling(body)?,
        stream,
        include_usage,
    })
}

/// The number and the name of its field: `max_completion_tokens` is the newer one of `max_tokens`.
fn max_tokens(body: &Object<'_>) -> Result<Option<(u32, String)>, ApiError> {
    let range = 1..=i64::from(u32::MAX);
    let old = body.integer("max_tokens", range.clone())?;
    let new = body.integer("max_completion_tokens", range)?;
    if old.is_some() && new.is_some() && old != new {
        return Err(ApiError::invalid_value(
            body.path("max_completion_tokens"),
            "it differs from 'max_tokens'; send one of them",
        ));
    }
    // The range is u32's, so nothing is cut off.
    Ok(match (old, new) {
        (_, Some(n)) => Some((n as u32, body.path("max_completion_tokens"))),
        (Some(n), None) => Some((n as u32, body.path("max_tokens"))),
        (None, None) => None,
    })
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
        top_p: body.number("top_p", (Excluded(0.0), Included(1.0)))?,
        min_p: body.number("min_p", (Included(0.0), Included(1.0)))?,
        repetition_penalty: body.number("repetition_penalty", (Excluded(0.0), Unbounded))?,
        presence_penalty: body.number("presence_penalty", (Included(-2.0), Included(2.0)))?,
        frequency_penalty: body.number("frequency_penalty", (Included(-2.0), Included(2.0)))?,
        seed: seed(body)?,
    })
}

/// OpenAI's seeds are signed, the engine's are not: -1 and 2^64 - 1 are the same seed.
fn seed(body: &Object<'_>) -> Result<Option<u64>, ApiError> {
    match body.get("seed") {
        Some(value) if value.is_u64() => Ok(value.as_u64()),
        _ => Ok(body
            .integer("seed", i64::MIN..=i64::MAX)?
            .map(i64::cast_unsigned)),
    }
}

fn is_one(value: &Value) -> bool {
    value.as_u64() == Some(1)
}

fn is_zero(value: &Value) -> bool {
    value.as_u64() == Some(0)
}

fn is_false(value: &Value) -> bool {
    value == &Value::Bool(false)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// Without tools to choose from, these two are the same.
fn is_free_choice(value: &Value) -> bool {
    matches!(value.as_str(), Some("none" | "auto"))
}

fn is_text_format(value: &Value) -> bool {
    value.get("type").and_then(Value::as_str) == Some("text")
}

fn is_text_only(value: &Value) -> bool {
    value
        .as_array()
        .is_some_and(|items| items.iter().all(|item| item == "text"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(body: Value) -> Result<Params, ApiError> {
        parse(&Object::top(&body)?, &crate::testing::settings())
    }

    #[track_caller]
    fn refused(body: Value, param: &str) {
        let error = read(body.clone()).unwrap_err();
        assert_eq!(
            (error.status, error.param.as_deref()),
            (400, Some(param)),
            "{body}"
        );
    }

    #[test]
    fn everything_at_once() {
        let params = read(json!({
            "model": "m", "max_completion_tokens": 5, "max_tokens": 5, "temperature": 0.5, "top_p": 0.9, "top_k": 40,
            "min_p": 0.05, "repetition_penalty": 1.1, "presence_penalty": -1, "frequency_penalty": 2, "seed": 7,
            "stop": ["a", "b"], "n": 1, "stream": true, "stream_options": {"include_usage": true, "x": 1},
            "user": "u", "metadata": {"k": "v"}, "store": true, "whatever": [1, {"deep": null}],
        }))
        .unwrap();
        assert_eq!(
            params,
            Params {
                model: Some("m".into()),
                max_tokens: Some(5),
                stop: vec!["a".into(), "b".into()],
                sampling: Sampling {
                    temperature: Some(0.5),
                    top_k: Some(40),
                    top_p: Some(0.9),
                    min_p: Some(0.05),
                    repetition_penalty: Some(1.1),
                    presence_penalty: Some(-1.0),
                    frequency_penalty: Some(2.0),
                    seed: Some(7),
                },
                stream: true,
                include_usage: true,
            }
        );
    }

    #[test]
    fn nothing_at_all_leaves_every_default_to_the_engine() {
        let params =
            read(json!({"model": "", "temperature": null, "stop": null, "stream": null})).unwrap();
        assert_eq!(
            (params.model, params.max_tokens, params.stop.len()),
            (None, None, 0)
        );
        assert_eq!(params.sampling.temperature, None);
        assert!(!params.stream && !params.include_usage);
    }

    #[test]
    fn fields_that_ask_for_nothing_pass() {
        read(json!({
            "n": 1, "best_of": 1, "tools": [], "tool_choice": "none", "functions": [], "function_call": "auto",
            "response_format": {"type": "text"}, "logit_bias": {}, "logprobs": false, "top_logprobs": 0,
            "echo": false, "suffix": "", "modalities": ["text"], "audio": null,
        }))
        .unwrap();
    }

    #[test]
    fn fields_that_cannot_be_honoured_are_named() {
        for (field, value) in [
            ("n", json!(2)),
            ("n", json!(0)),
            ("n", json!("1")),
            ("best_of", json!(3)),
            ("tools", json!([{"type": "function"}])),
            ("tool_choice", json!("required")),
            ("functions", json!([{}])),
            ("function_call", json!({"name": "f"})),
            ("response_format", json!({"type": "json_object"})),
            ("response_format", json!("json")),
            ("logit_bias", json!({"1": -100})),
            ("logprobs", json!(true)),
            ("logprobs", json!(0)),
            ("top_logprobs", json!(3)),
            ("echo", json!(true)),
            ("suffix", json!("end")),
            ("modalities", json!(["text", "audio"])),
            ("audio", json!({"voice": "x"})),
            ("web_search_options", json!({})),
            ("use_beam_search", json!(true)),
            ("grammar", json!("root ::= x")),
        ] {
            refused(json!({ field: value }), field);
        }
    }

    #[test]
    fn wrong_values_are_named() {
        for (field, value) in [
            ("max_tokens", json!(0)),
            ("max_tokens", json!(-1)),
            ("max_tokens", json!(1.5)),
            ("max_tokens", json!("5")),
            ("max_tokens", json!(1_u64 << 32)),
            ("max_completion_tokens", json!(0)),
            ("temperature", json!(-0.1)),
            ("temperature", json!(2.1)),
            ("temperature", json!("hot")),
            ("top_p", json!(0)),
            ("top_p", json!(1.1)),
            ("top_k", json!(-2)),
            ("top_k", json!(0.5)),
            ("min_p", json!(-0.1)),
            ("repetition_penalty", json!(0)),
            ("presence_penalty", json!(-2.1)),
            ("frequency_penalty", json!(2.1)),
            ("seed", json!(0.5)),
            ("seed", json!("x")),
            ("stream", json!("yes")),
            ("stream", json!(1)),
            ("stream_options", json!({"include_usage": true})),
            ("model", json!(1)),
            ("stop", json!(1)),
            ("stop", json!(vec!["x"; MAX_STOPS + 1])),
        ] {
            refused(json!({ field: value }), field);
        }
        refused(json!({"stop": ["a", ""]}), "stop[1]");
        refused(json!({"stop": ["a", 2]}), "stop[1]");
        refused(json!({"stop": ""}), "stop[0]");
        refused(
            json!({"max_tokens": 4, "max_completion_tokens": 5}),
            "max_completion_tokens",
        );
        refused(
            json!({"stream": true, "stream_options": []}),
            "stream_options",
        );
        refused(
            json!({"stream": true, "stream_options": {"include_usage": 1}}),
            "stream_options.include_usage",
        );
    }

    #[test]
    fn signed_seeds_and_open_top_k() {
        assert_eq!(
            read(json!({"seed": -1})).unwrap().sampling.seed,
            Some(u64::MAX)
        );
        assert_eq!(
            read(json!({"seed": u64::MAX})).unwrap().sampling.seed,
            Some(u64::MAX)
        );
        assert_eq!(read(json!({"top_k": -1})).unwrap().sampling.top_k, Some(0));
        assert_eq!(read(json!({"stop": "x"})).unwrap().stop, ["x"]);
    }
}
