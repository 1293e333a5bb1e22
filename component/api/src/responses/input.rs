//! `instructions` and `input`: a text, or items, which become the messages of a chat.

use serde_json::Value;

use super::namespaces;
use crate::{
    error::{ApiError, shorten},
    fields::Object,
    json::Written,
    known::{self, Place},
    raw::Raw,
    translated::{Names, turns::Turns},
};

/// The messages as a chat has them, and what their fields were called.
pub(super) fn messages(body: &Object<'_>, raw: Raw<'_>) -> Result<(String, Names), ApiError> {
    let mut turns = Turns::default();
    let path = body.path("input");
    let input = body.require("input")?;
    let leading = lead(&mut turns, body, input)?;
    match input {
        Value::String(text) => {
            turns.message("user", Written::new().with("content", text), "input");
        }
        Value::Array(items) if items.is_empty() => {
            let why = "expected at least one item";
            return Err(ApiError::invalid_value(path, why));
        }
        Value::Array(items) => {
            let raws = raw.field("input").into_iter().flat_map(Raw::items);
            for (i, (value, raw)) in items.iter().zip(raws).enumerate().skip(leading) {
                let own = format!("{path}[{i}]");
                item(&mut turns, &Object::at(own.clone(), value)?, raw, &own)?;
            }
        }
        other => {
            let expected = "a string or an array of items";
            return Err(ApiError::invalid_type(path, expected, other));
        }
    }
    let (messages, mut names) = turns.finish();
    names.add("messages", path);
    Ok((messages, names))
}

/// The system message with which the conversation begins, if several texts are to be one:
/// `instructions`, and the first items if they are the system's or the developer's. Many templates
/// take one system message, at the beginning. Returns how many items it has taken.
fn lead(turns: &mut Turns, body: &Object<'_>, input: &Value) -> Result<usize, ApiError> {
    let instructions = body.string("instructions")?;
    let items = input.as_array().map(Vec::as_slice).unwrap_or_default();
    let leading = items.iter().map_while(system_text);
    let leading: Vec<String> = leading.collect();
    match (instructions, leading.len()) {
        (None, 0 | 1) => return Ok(0),
        (Some(text), 0) => {
            let content = Written::new().with("content", &text);
            turns.message("system", content, "instructions");
            return Ok(0);
        }
        _ => {}
    }
    for (i, item) in items.iter().take(leading.len()).enumerate() {
        let item = Object::at(format!("{}[{i}]", body.path("input")), item)?;
        known::check(&item, Place::ResponsesMessage)?;
    }
    let own = if instructions.is_some() {
        "instructions"
    } else {
        "input[0]"
    };
    let texts = instructions
        .into_iter()
        .chain(leading.iter().map(String::as_str));
    let text = texts.collect::<Vec<_>>().join("\n\n");
    turns.message("system", Written::new().with("content", &text), own);
    Ok(leading.len())
}

/// The text of a message of the system or the developer that holds nothing else.
fn system_text(item: &Value) -> Option<String> {
    let field = |name: &str| item.get(name).filter(|value| !value.is_null());
    let is_message = field("type").is_none_or(|kind| kind == "message");
    let role = field("role")?.as_str()?;
    if !is_message || !matches!(role, "system" | "developer") {
        return None;
    }
    match field("content")? {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let text = |part: &Value| {
                let is_text = matches!(part.get("type")?.as_str()?, "input_text" | "text");
                let text = part.get("text")?.as_str()?;
                is_text.then(|| text.to_owned())
            };
            let texts = parts.iter().map(text).collect::<Option<Vec<_>>>()?;
            Some(texts.concat())
        }
        _ => None,
    }
}

fn item(turns: &mut Turns, item: &Object<'_>, raw: Raw<'_>, own: &str) -> Result<(), ApiError> {
    match item.string("type")? {
        // One with a role may leave its type out.
        None | Some("message") => message(turns, item, raw, own),
        Some("function_call") => {
            known::check(item, Place::ResponsesCall)?;
            let name = item.string("name")?;
            let name = name.ok_or_else(|| ApiError::missing(item.path("name")))?;
            let arguments = item.string("arguments")?.unwrap_or_default();
            let name = match item.string("namespace")? {
                Some(space) => namespaces::joined(space, name),
                None => name.to_owned(),
            };
            let function = Written::new()
                .with("name", &name)
                .with("arguments", &arguments);
            turns.called(item.string("call_id")?, function, own);
            Ok(())
        }
        Some("function_call_output") => {
            known::check(item, Place::ResponsesOutput)?;
            let id = item.string("call_id")?;
            let id = id.ok_or_else(|| ApiError::missing(item.path("call_id")))?;
            item.require("output")?;
            let output = raw.field("output").map_or("\"\"", Raw::text);
            let fields = Written::new()
                .with("tool_call_id", &id)
                .with_raw("content", output);
            turns.message("tool", fields, own);
            turns.content(&item.path("output"));
            Ok(())
        }
        Some("reasoning") => {
            known::check(item, Place::ResponsesThought)?;
            let content = texts(item, "content")?;
            let text = if content.is_empty() {
                texts(item, "summary")?
            } else {
                content
            };
            if !text.is_empty() {
                turns.reasoning(&text, own);
            }
            Ok(())
        }
        Some("item_reference") => {
            let why = "nothing is stored, so no item can be named; send the item itself, as clients do that are told \
                       'store': false";
            Err(ApiError::unsupported(item.path("type"), why))
        }
        Some(other) => {
            let why = format!(
                "only items of the types 'message', 'function_call', 'function_call_output' and 'reasoning' are, but \
                 this one's is '{}'",
                shorten(other)
            );
            Err(ApiError::unsupported(item.path("type"), &why))
        }
    }
}

fn message(turns: &mut Turns, item: &Object<'_>, raw: Raw<'_>, own: &str) -> Result<(), ApiError> {
    known::check(item, Place::ResponsesMessage)?;
    let role = item.string("role")?;
    let role = role.ok_or_else(|| ApiError::missing(item.path("role")))?;
    item.require("content")?;
    let content = raw.field("content").map_or("\"\"", Raw::text);
    match role {
        "assistant" => turns.said(content, &item.path("content")),
        "user" | "system" | "developer" => {
            turns.message(role, Written::new().with_raw("content", content), own);
        }
        other => {
            let why = format!(
                "unknown role '{}'; expected 'user', 'assistant', 'system' or 'developer'",
                shorten(other)
            );
            return Err(ApiError::invalid_value(item.path("role"), &why));
        }
    }
    Ok(())
}

/// The texts of a reasoning's parts, a line each.
fn texts(item: &Object<'_>, name: &str) -> Result<String, ApiError> {
    let path = item.path(name);
    let parts = match item.get(name) {
        None => return Ok(String::new()),
        Some(Value::Array(parts)) => parts,
        Some(other) => return Err(ApiError::invalid_type(path, "an array of parts", other)),
    };
    let mut texts = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        let part = Object::at(format!("{path}[{i}]"), part)?;
        let text = part.string("text")?;
        texts.push(text.ok_or_else(|| ApiError::missing(part.path("text")))?);
    }
    Ok(texts.join("\n"))
}
