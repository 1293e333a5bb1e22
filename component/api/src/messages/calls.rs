//! Calls of functions in an assistant's message, which a client replays with their answers.

use crate::{
    body,
    engine::ToolCall,
    error::ApiError,
    fields::Object,
    known::{self, Place},
    raw::Raw,
};
use serde_json::Value;

/// Calls of one message.
const MAX_CALLS: usize = 128;

/// The largest weight of all arguments of a request's calls together. They are JSON within JSON, so
/// the body's own weight does not count them, and a chat template gets them parsed.
pub(super) struct Budget(usize);

impl Budget {
    pub(super) fn new() -> Self {
        Budget(body::WEIGHT_LIMIT)
    }

    fn take(&mut self, json: &str) -> Result<(), ApiError> {
        let left = self.0.checked_sub(body::weight(json.as_bytes()));
        self.0 = left.ok_or_else(ApiError::too_many_values)?;
        Ok(())
    }
}

/// The message's calls: `tool_calls`, or `function_call`, OpenAI's older form of one.
/// `raw` is the message's text.
pub(super) fn of(
    message: &Object<'_>,
    raw: Raw<'_>,
    budget: &mut Budget,
) -> Result<Vec<ToolCall>, ApiError> {
    if let Some(function) = message.object("function_call")? {
        let others = message.get("tool_calls").and_then(Value::as_array);
        if others.is_some_and(|calls| !calls.is_empty()) {
            let why = "it stands beside 'tool_calls'; send one of them";
            return Err(ApiError::invalid_value(message.path("function_call"), why));
        }
        let raw = raw.field("function_call");
        return Ok(vec![called(&function, raw, String::new(), budget)?]);
    }
    let path = message.path("tool_calls");
    let calls = match message.get("tool_calls") {
        None => return Ok(Vec::new()),
        Some(Value::Array(calls)) => calls,
        Some(other) => return Err(ApiError::invalid_type(path, "an array of calls", other)),
    };
    if calls.len() > MAX_CALLS {
        let why = format!("at most {MAX_CALLS} calls, but got {}", calls.len());
        return Err(ApiError::invalid_value(path, &why));
    }
    let calls = message.objects("tool_calls", raw, "an array of calls")?;
    let one = |item: Result<(Object<'_>, Raw<'_>), ApiError>| {
        let (item, raw) = item?;
        call(&item, raw, budget)
    };
    calls.into_iter().flatten().map(one).collect()
}

fn call(call: &Object<'_>, raw: Raw<'_>, budget: &mut Budget) -> Result<ToolCall, ApiError> {
    if call.string("type")?.is_some_and(|kind| kind != "function") {
        let accepted = "only calls of the type 'function' are";
        return Err(ApiError::unsupported(call.path("type"), accepted));
    }
    known::check(call, Place::ToolCall)?;
    let function = call
        .object("function")?
        .ok_or_else(|| ApiError::missing(call.path("function")))?;
    let id = call.string("id")?.unwrap_or_default().to_owned();
    called(&function, raw.field("function"), id, budget)
}

fn called(
    function: &Object<'_>,
    raw: Option<Raw<'_>>,
    id: String,
    budget: &mut Budget,
) -> Result<ToolCall, ApiError> {
    known::check(function, Place::Function)?;
    let name = function
        .string("name")?
        .ok_or_else(|| ApiError::missing(function.path("name")))?;
    let arguments = match function.get("arguments") {
        None => String::new(),
        Some(Value::String(json)) => json.clone(),
        // As Ollama's clients send them; its keys stay in their order.
        Some(Value::Object(_)) => {
            let json = raw.and_then(|raw| raw.field("arguments"));
            json.map(|json| json.text().to_owned()).unwrap_or_default()
        }
        Some(other) => {
            let expected = "a string with a JSON object, or that object";
            return Err(ApiError::invalid_type(
                function.path("arguments"),
                expected,
                other,
            ));
        }
    };
    budget.take(&arguments)?;
    Ok(ToolCall {
        id,
        name: name.to_owned(),
        arguments,
    })
}
