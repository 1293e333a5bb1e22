//! The prompt of a chat: `messages`, as OpenAI's clients write them and replay them.

mod calls;

use crate::{
    engine::Message,
    error::{ApiError, shorten},
    fields::Object,
    known::{self, Place},
    raw::Raw,
};
use serde_json::Value;

/// `messages`: a list of at most `max_messages` messages. `raw` is the body's text.
pub fn chat(body: &Object<'_>, raw: Raw<'_>, max_messages: u32) -> Result<Vec<Message>, ApiError> {
    let path = body.path("messages");
    let value = body.require("messages")?;
    let Value::Array(messages) = value else {
        return Err(ApiError::invalid_type(path, "an array of messages", value));
    };
    if messages.is_empty() {
        return Err(ApiError::invalid_value(
            path,
            "expected at least one message",
        ));
    }
    if messages.len() > max_messages as usize {
        let why = format!(
            "at most {max_messages} messages, but got {}",
            messages.len()
        );
        return Err(ApiError::invalid_value(path, &why));
    }
    let mut budget = calls::Budget::new();
    let messages = body.objects("messages", raw, "an array of messages")?;
    let one = |item: Result<(Object<'_>, Raw<'_>), ApiError>| {
        let (item, raw) = item?;
        message(&item, raw, &mut budget)
    };
    messages.into_iter().flatten().map(one).collect()
}

fn message(
    message: &Object<'_>,
    raw: Raw<'_>,
    budget: &mut calls::Budget,
) -> Result<Message, ApiError> {
    known::check(message, Place::Message)?;
    let role = match message.string("role")? {
        // OpenAI's newer name for the same thing; chat templates know the older one.
        Some("developer") => "system",
        // And its older name for the same.
        Some("function") => "tool",
        Some(role @ ("system" | "user" | "assistant" | "tool")) => role,
        Some(other) => {
            let why = format!(
                "unknown role '{}'; expected 'system', 'developer', 'user', 'assistant', 'tool' or 'function'",
                shorten(other)
            );
            return Err(ApiError::invalid_value(message.path("role"), &why));
        }
        None => return Err(ApiError::missing(message.path("role"))),
    };
    let tool_calls = calls::of(message, raw, budget)?;
    if !tool_calls.is_empty() && role != "assistant" {
        let field = if message.get("tool_calls").is_some() {
            "tool_calls"
        } else {
            "function_call"
        };
        let why = format!("only an assistant's message has it, this one's role is '{role}'");
        return Err(ApiError::invalid_value(message.path(field), &why));
    }
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let thought = message.alias(&["reasoning_content", "reasoning"], |message, name| {
        message.string(name)
    })?;
    Ok(Message {
        role: role.to_owned(),
        content: content(message, role)?,
        name: owned(message.string("name")?),
        reasoning_content: owned(thought.map(|(text, _)| text)),
        tool_call_id: owned(message.string("tool_call_id")?),
        tool_calls,
    })
}

/// A text, or a list of parts that are all text. An assistant may have said nothing, when it called
/// functions or refused.
fn content(message: &Object<'_>, role: &str) -> Result<String, ApiError> {
    let path = message.path("content");
    let refusal = message.string("refusal")?;
    match message.get("content") {
        None if role == "assistant" => Ok(refusal.unwrap_or_default().to_owned()),
        None => Err(ApiError::missing(path)),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(parts)) => {
            let part = |(i, value)| part(&Object::at(format!("{path}[{i}]"), value)?);
            let parts: Vec<&str> = parts
                .iter()
                .enumerate()
                .map(part)
                .collect::<Result<_, _>>()?;
            // A line each, as other servers join them.
            Ok(parts.join("\n"))
        }
        Some(other) => Err(ApiError::invalid_type(
            path,
            "a string or an array of text parts",
            other,
        )),
    }
}

fn part<'a>(part: &Object<'a>) -> Result<&'a str, ApiError> {
    // The type first: of an image, its own fields are not what is wrong.
    let text = match part.string("type")? {
        Some("text" | "input_text" | "output_text") => "text",
        Some("refusal") => "refusal",
        Some(_) => {
            return Err(ApiError::unsupported(
                part.path("type"),
                "only parts of the types 'text' and 'refusal' are",
            ));
        }
        None => return Err(ApiError::missing(part.path("type"))),
    };
    known::check(part, Place::Part)?;
    part.string(text)?
        .ok_or_else(|| ApiError::missing(part.path(text)))
}

#[cfg(test)]
mod tests;
