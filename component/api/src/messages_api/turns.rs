//! `system` and `messages`: texts, or blocks, which become the messages of a chat.

use serde_json::Value;

use crate::{
    error::{ApiError, shorten},
    fields::Object,
    json::Written,
    known::{self, Place},
    raw::Raw,
    translated::{Names, turns::Turns},
};

/// The messages as a chat has them, what their fields were called, and whether the last one is to
/// be continued.
pub(super) fn messages(body: &Object<'_>, raw: Raw<'_>) -> Result<(String, Names, bool), ApiError> {
    let mut turns = Turns::default();
    if body.get("system").is_some() {
        let text = text_of(body, "system")?;
        turns.message("system", Written::new().with("content", &text), "system");
    }
    let path = body.path("messages");
    let messages = match body.require("messages")? {
        Value::Array(messages) if !messages.is_empty() => messages,
        Value::Array(_) => {
            let why = "expected at least one message";
            return Err(ApiError::invalid_value(path, why));
        }
        other => return Err(ApiError::invalid_type(path, "an array of messages", other)),
    };
    let raws = raw.field("messages").into_iter().flat_map(Raw::items);
    let mut is_open = false;
    for (i, (value, raw)) in messages.iter().zip(raws).enumerate() {
        let message = Object::at(format!("{path}[{i}]"), value)?;
        known::check(&message, Place::MessagesTurn)?;
        is_open = match message.string("role")? {
            Some("user") => {
                user(&mut turns, &message)?;
                false
            }
            Some("assistant") => assistant(&mut turns, &message, raw)?,
            Some("system") => {
                let text = text_of(&message, "content")?;
                let own = message.path("content");
                turns.message("system", Written::new().with("content", &text), &own);
                false
            }
            Some(other) => {
                let why = format!(
                    "unknown role '{}'; expected 'user' or 'assistant'",
                    shorten(other)
                );
                return Err(ApiError::invalid_value(message.path("role"), &why));
            }
            None => return Err(ApiError::missing(message.path("role"))),
        };
    }
    let (messages, names) = turns.finish();
    Ok((messages, names, is_open))
}

/// The blocks of a message, or none if its content is a text, which is then given.
fn blocks<'a>(
    object: &Object<'a>,
    name: &str,
) -> Result<(Option<&'a str>, Vec<Object<'a>>), ApiError> {
    let path = object.path(name);
    match object.require(name)? {
        Value::String(text) => Ok((Some(text), Vec::new())),
        Value::Array(blocks) => {
            let block = |(i, value)| Object::at(format!("{path}[{i}]"), value);
            let blocks = blocks.iter().enumerate().map(block);
            Ok((None, blocks.collect::<Result<_, _>>()?))
        }
        other => {
            let expected = "a string or an array of blocks";
            Err(ApiError::invalid_type(path, expected, other))
        }
    }
}

/// A text, or blocks that are all text, a line each.
fn text_of(object: &Object<'_>, name: &str) -> Result<String, ApiError> {
    let (text, blocks) = blocks(object, name)?;
    let mut texts: Vec<&str> = text.into_iter().collect();
    for block in &blocks {
        match block.string("type")? {
            Some("text") => texts.push(text_block(block)?),
            kind => return Err(no_such_block(block, kind, "'text'")),
        }
    }
    Ok(texts.join("\n"))
}

fn text_block<'a>(block: &Object<'a>) -> Result<&'a str, ApiError> {
    known::check(block, Place::MessagesText)?;
    let text = block.string("text")?;
    text.ok_or_else(|| ApiError::missing(block.path("text")))
}

fn no_such_block(block: &Object<'_>, kind: Option<&str>, expected: &str) -> ApiError {
    match kind {
        Some(_) => {
            let why = format!("only blocks of the types {expected} are");
            ApiError::unsupported(block.path("type"), &why)
        }
        None => ApiError::missing(block.path("type")),
    }
}

/// What a person says, and what the functions gave that the assistant had called.
fn user(turns: &mut Turns, message: &Object<'_>) -> Result<(), ApiError> {
    let (text, blocks) = blocks(message, "content")?;
    let own = message.path("content");
    let mut texts: Vec<&str> = text.into_iter().collect();
    let is_empty = blocks.is_empty();
    let say = |turns: &mut Turns, texts: &mut Vec<&str>| {
        let content = Written::new().with("content", &texts.join("\n"));
        turns.message("user", content, &own);
        texts.clear();
    };
    for block in &blocks {
        match block.string("type")? {
            Some("text") => texts.push(text_block(block)?),
            Some("tool_result") => {
                known::check(block, Place::MessagesResult)?;
                if !texts.is_empty() {
                    say(turns, &mut texts);
                }
                let id = block.string("tool_use_id")?;
                let id = id.ok_or_else(|| ApiError::missing(block.path("tool_use_id")))?;
                let mut text = match block.get("content") {
                    Some(_) => text_of(block, "content")?,
                    None => String::new(),
                };
                if block.flag("is_error")? {
                    text.insert_str(0, "Error: ");
                }
                let fields = Written::new()
                    .with("tool_call_id", &id)
                    .with("content", &text);
                turns.message("tool", fields, &block.path("content"));
            }
            kind => return Err(no_such_block(block, kind, "'text' and 'tool_result'")),
        }
    }
    if !texts.is_empty() || is_empty {
        say(turns, &mut texts);
    }
    Ok(())
}

/// True if it is a text that the answer may continue.
fn assistant(turns: &mut Turns, message: &Object<'_>, raw: Raw<'_>) -> Result<bool, ApiError> {
    let (text, blocks) = blocks(message, "content")?;
    let own = message.path("content");
    let raws: Vec<Raw<'_>> = raw
        .field("content")
        .into_iter()
        .flat_map(Raw::items)
        .collect();
    let mut texts: Vec<&str> = text.into_iter().collect();
    let mut calls = Vec::new();
    for (block, raw) in blocks.iter().zip(raws) {
        match block.string("type")? {
            Some("text") => texts.push(text_block(block)?),
            Some("thinking") => {
                known::check(block, Place::MessagesThought)?;
                let text = block.string("thinking")?;
                let text = text.ok_or_else(|| ApiError::missing(block.path("thinking")))?;
                turns.reasoning(text, &block.path("thinking"));
            }
            // Nothing that a model here could read.
            Some("redacted_thinking") => {}
            Some("tool_use") => {
                known::check(block, Place::MessagesCall)?;
                let name = block.string("name")?;
                let name = name.ok_or_else(|| ApiError::missing(block.path("name")))?;
                block.object("input")?;
                let input = raw.field("input").map_or("{}", Raw::text);
                let function = Written::new()
                    .with("name", &name)
                    .with_raw("arguments", input);
                calls.push((block.string("id")?, function, block.path("input")));
            }
            kind => {
                let expected = "'text', 'thinking' and 'tool_use'";
                return Err(no_such_block(block, kind, expected));
            }
        }
    }
    let is_open = calls.is_empty();
    if !texts.is_empty() || is_open {
        let content = crate::json::to_text(&texts.join("\n"));
        turns.said(&content, &own);
    }
    for (id, function, own) in calls {
        turns.called(id, function, &own);
    }
    Ok(is_open)
}
