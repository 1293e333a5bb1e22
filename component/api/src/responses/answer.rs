//! The response object, and its items.

use serde_json::{Value, json};

use super::namespaces::Spaces;
use crate::{
    answer::{Stamp, call_id},
    choices::End,
    engine::Usage,
    error::{ApiError, Resume},
    fields::Object,
    json::{Written, array, on_one_line},
    raw::Raw,
};

/// A response, without what becomes of it.
#[derive(Debug)]
pub(super) struct Document {
    stamp: Stamp,
    /// The fields of the request that a response repeats.
    repeated: Written,
    model: String,
    spaces: Spaces,
}

/// The fields of a response that repeat the request's, and their values where it has none.
const REPEATED: [(&str, &str); 19] = [
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("presence_penalty", "null"),
    ("frequency_penalty", "null"),
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
    ("top_logprobs", "0"),
    ("top_p", "null"),
    ("truncation", "\"disabled\""),
    ("user", "null"),
];

/// Of what only labels a request, and is repeated in its answer. OpenAI's limits, in bytes.
const MAX_PAIRS: usize = 16;
const MAX_NAME_BYTES: usize = 64;
const MAX_LABEL_BYTES: usize = 512;

fn too_long(path: String, most: usize) -> ApiError {
    ApiError::invalid_value(path, &format!("it may have {most} bytes at most"))
}

fn metadata(body: &Object<'_>) -> Result<(), ApiError> {
    let metadata = body.object("metadata")?;
    for (at, (name, value)) in metadata.iter().flat_map(Object::present).enumerate() {
        let path = format!("metadata.{}", crate::error::shorten(name));
        if at == MAX_PAIRS {
            let why = format!("it may have {MAX_PAIRS} fields at most");
            return Err(ApiError::invalid_value("metadata".into(), &why));
        }
        if name.len() > MAX_NAME_BYTES {
            let why = format!("a name may have {MAX_NAME_BYTES} bytes at most");
            return Err(ApiError::invalid_value(path, &why));
        }
        match value.as_str() {
            None => return Err(ApiError::invalid_type(path, "a string", value)),
            Some(text) if text.len() > MAX_LABEL_BYTES => {
                return Err(too_long(path, MAX_LABEL_BYTES));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

impl Document {
    /// The response to a request. The fields that only label it are checked for what they are in
    /// responses, and how long. `tools` are those that the model is told of.
    pub(super) fn new(
        body: &Object<'_>,
        raw: Raw<'_>,
        tools: Option<&str>,
        stamp: Stamp,
    ) -> Result<Self, ApiError> {
        metadata(body)?;
        for name in [
            "user",
            "prompt_cache_key",
            "safety_identifier",
            "service_tier",
        ] {
            let long = body
                .string(name)?
                .filter(|text| text.len() > MAX_LABEL_BYTES);
            if long.is_some() {
                return Err(too_long(body.path(name), MAX_LABEL_BYTES));
            }
        }
        let mut repeated = Written::new();
        for (name, default) in REPEATED {
            let sent = body.get(name).and_then(|_| raw.field(name));
            // "auto" is what a client lets the server decide.
            let sent = sent.filter(|raw| name != "service_tier" || raw.text() != "\"auto\"");
            // An event is a line.
            let sent = sent.map(|raw| on_one_line(raw.text()));
            let sent = match (name, tools) {
                ("tools", Some(told)) => Some(told.to_owned()),
                _ => sent,
            };
            repeated = repeated.with_raw(name, sent.as_deref().unwrap_or(default));
        }
        Ok(Document {
            stamp,
            repeated,
            model: String::new(),
            spaces: Spaces::default(),
        })
    }

    /// The same by the model of this name.
    pub(super) fn by(self, model: String) -> Self {
        Document { model, ..self }
    }

    /// The same with these functions of namespaces.
    pub(super) fn with_spaces(self, spaces: Spaces) -> Self {
        Document { spaces, ..self }
    }

    /// What tells which function is called.
    pub(super) fn name(&self, said: &str) -> Written {
        match self.spaces.get(said) {
            Some(named) => Written::new()
                .with("name", &named.name)
                .with("namespace", &named.space),
            None => Written::new().with("name", &said),
        }
    }

    /// Add what a resume needs, as an event of chats has it.
    pub(super) fn resume(&mut self, resume: &Resume) {
        let repeated = std::mem::take(&mut self.repeated);
        self.repeated = repeated.with("resume", resume);
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
                let error = json!({"code": code(error), "message": error.message});
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
            .with_all(&self.repeated)
            .with("usage", &usage.map(Cost::document))
            .text()
    }
}

/// The codes that a failed response may have.
fn code(error: &ApiError) -> &'static str {
    match error.status {
        _ if error.code == Some("context_length_exceeded") => "context_length_exceeded",
        429 => "rate_limit_exceeded",
        500.. => "server_error",
        _ => "invalid_prompt",
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
            "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
            "total_tokens": total,
        })
    }
}

/// `in_progress` or, once it is whole, `completed`; `incomplete` where the answer was cut.
pub(super) type Status = &'static str;

/// `text` is what it holds; none as long as it has no part.
pub(super) fn reasoning(id: &str, status: Status, text: Option<&str>) -> String {
    let content: Vec<String> = text.map(reasoning_part).into_iter().collect();
    Written::new()
        .with("id", &id)
        .with("type", &"reasoning")
        .with("summary", &json!([]))
        .with_raw("content", &array(&content))
        .with("encrypted_content", &())
        .with("status", &status)
        .text()
}

pub(super) fn reasoning_part(text: &str) -> String {
    let part = Written::new().with("type", &"reasoning_text");
    part.with("text", &text).text()
}

/// As [`reasoning`], with the text's tokens, texts of JSON.
pub(super) fn message(id: &str, status: Status, text: Option<&str>, tokens: &[String]) -> String {
    let part = text.map(|text| text_part(text, tokens));
    let content: Vec<String> = part.into_iter().collect();
    Written::new()
        .with("id", &id)
        .with("type", &"message")
        .with("status", &status)
        .with("role", &"assistant")
        .with_raw("content", &array(&content))
        .text()
}

pub(super) fn text_part(text: &str, tokens: &[String]) -> String {
    Written::new()
        .with("type", &"output_text")
        .with("text", &text)
        .with("annotations", &json!([]))
        .with_raw("logprobs", &array(tokens))
        .text()
}

/// `name` is what [`Document::name`] says.
pub(super) fn call(
    id: &str,
    status: Status,
    call_id: &str,
    name: &Written,
    arguments: &str,
) -> String {
    Written::new()
        .with("id", &id)
        .with("type", &"function_call")
        .with("status", &status)
        .with("call_id", &call_id)
        .with_all(name)
        .with("arguments", &arguments)
        .text()
}
