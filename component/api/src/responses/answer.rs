//! The response object, and its items.

use serde_json::{Value, json};

use crate::{
    answer::{Stamp, call_id},
    choices::End,
    engine::Usage,
    error::ApiError,
    fields::Object,
    json::{Written, array},
    parts::Call,
    raw::Raw,
};

/// A response, without what becomes of it.
#[derive(Debug)]
pub(super) struct Document {
    stamp: Stamp,
    /// The fields of the request that a response repeats.
    repeated: Written,
    model: String,
}

/// The fields of a response that repeat the request's, and their values where it has none.
const REPEATED: [(&str, &str); 16] = [
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("prompt_cache_key", "null"),
    ("reasoning", r#"{"effort":null,"summary":null}"#),
    ("safety_identifier", "null"),
    ("service_tier", "\"default\""),
    ("temperature", "null"),
    ("text", r#"{"format":{"type":"text"}}"#),
    ("tool_choice", "\"auto\""),
    ("tools", "[]"),
    ("top_p", "null"),
    ("truncation", "\"disabled\""),
    ("user", "null"),
];

impl Document {
    /// The response to a request. The fields that only label it are checked for what they are in
    /// responses.
    pub(super) fn new(body: &Object<'_>, raw: Raw<'_>, stamp: Stamp) -> Result<Self, ApiError> {
        let metadata = body.object("metadata")?;
        for (name, value) in metadata.iter().flat_map(Object::present) {
            if !value.is_string() {
                let path = format!("metadata.{}", crate::error::shorten(name));
                return Err(ApiError::invalid_type(path, "a string", value));
            }
        }
        for name in [
            "user",
            "prompt_cache_key",
            "safety_identifier",
            "service_tier",
        ] {
            body.string(name)?;
        }
        let mut repeated = Written::new();
        for (name, default) in REPEATED {
            let sent = body.get(name).and_then(|_| raw.field(name));
            // "auto" is what a client lets the server decide.
            let sent = sent.filter(|raw| name != "service_tier" || raw.text() != "\"auto\"");
            repeated = repeated.with_raw(name, sent.map_or(default, Raw::text));
        }
        Ok(Document {
            stamp,
            repeated,
            model: String::new(),
        })
    }

    /// The same by the model of this name.
    pub(super) fn by(self, model: String) -> Self {
        Document { model, ..self }
    }

    /// The name of the item at this place of the answer.
    pub(super) fn item_id(&self, prefix: &str, at: usize) -> String {
        format!("{prefix}_{:032x}", self.stamp.id.wrapping_add(at as u128))
    }

    /// The name of a call, the one at `at` of its answer's.
    pub(super) fn call_id(&self, at: usize) -> String {
        call_id(self.stamp.id, 0, at)
    }

    /// The response with these items, texts of JSON.
    pub(super) fn write(&self, state: &State, output: &[String]) -> String {
        let (status, incomplete, error, usage) = match state {
            State::InProgress => ("in_progress", Value::Null, Value::Null, None),
            State::Ended(End::Length, usage) => {
                let why = json!({"reason": "max_output_tokens"});
                ("incomplete", why, Value::Null, Some(usage))
            }
            State::Ended(_, usage) => ("completed", Value::Null, Value::Null, Some(usage)),
            State::Failed(error) => {
                let error = json!({"code": error.code, "message": error.message});
                ("failed", Value::Null, error, None)
            }
        };
        Written::new()
            .with("id", &format!("resp_{:032x}", self.stamp.id))
            .with("object", &"response")
            .with("created_at", &self.stamp.created)
            .with("status", &status)
            .with("background", &false)
            .with("error", &error)
            .with("incomplete_details", &incomplete)
            .with("model", &self.model)
            .with_raw("output", &array(output))
            .with("previous_response_id", &())
            .with("store", &false)
            .with("top_logprobs", &0)
            .with_all(&self.repeated)
            .with("usage", &usage.map(Cost::document))
            .text()
    }
}

/// What has become of a response.
#[derive(Debug)]
pub(super) enum State {
    InProgress,
    Ended(End, Cost),
    Failed(ApiError),
}

/// What a response cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) usage: Usage,
    /// Of the completion's.
    pub(super) reasoning_tokens: u32,
}

impl Cost {
    fn document(&self) -> Value {
        let usage = &self.usage;
        let total = u64::from(usage.prompt_tokens) + u64::from(usage.completion_tokens);
        json!({
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": usage.cached_tokens},
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
            "total_tokens": total,
        })
    }
}

/// `in_progress` or, once it is whole, `completed`; `incomplete` where the answer was cut.
pub(super) type Status = &'static str;

pub(super) fn reasoning(id: &str, status: Status, text: Option<&str>) -> String {
    let content = text.map(reasoning_part).into_iter();
    Written::new()
        .with("id", &id)
        .with("type", &"reasoning")
        .with("summary", &json!([]))
        .with("content", &content.collect::<Vec<_>>())
        .with("encrypted_content", &())
        .with("status", &status)
        .text()
}

pub(super) fn reasoning_part(text: &str) -> Value {
    json!({"type": "reasoning_text", "text": text})
}

pub(super) fn message(id: &str, status: Status, text: Option<&str>) -> String {
    let content = text.map(text_part).into_iter();
    Written::new()
        .with("id", &id)
        .with("type", &"message")
        .with("status", &status)
        .with("role", &"assistant")
        .with("content", &content.collect::<Vec<_>>())
        .text()
}

pub(super) fn text_part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

pub(super) fn call(id: &str, status: Status, call_id: &str, call: &Call) -> String {
    Written::new()
        .with("id", &id)
        .with("type", &"function_call")
        .with("status", &status)
        .with("call_id", &call_id)
        .with("name", &call.name)
        .with("arguments", &call.arguments)
        .text()
}
