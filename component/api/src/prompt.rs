//! What to continue: `messages` of a chat, `prompt` of a completion.

use crate::{
    engine::{Message, Prompt},
    error::{ApiError, shorten},
    fields::Object,
};
use serde_json::Value;

/// `messages`: a list of at most `max_messages` times `{role, content}`.
pub fn chat(body: &Object<'_>, max_messages: u32) -> Result<Prompt, ApiError> {
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
    let messages = messages
        .iter()
        .enumerate()
        .map(|(i, value)| message(Object::at(format!("{path}[{i}]"), value)?));
    Ok(Prompt::Messages(messages.collect::<Result<_, _>>()?))
}

fn message(message: Object<'_>) -> Result<Message, ApiError> {
    let role = match message.string("role")? {
        // OpenAI's newer name for the same thing; chat templates know the older one.
        Some("developer") => "system",
        Some(role @ ("system" | "user" | "assistant" | "tool")) => role,
        Some(other) => {
            let why = format!(
                "unknown role '{}'; expected 'system', 'developer', 'user', 'assistant' or 'tool'",
                shorten(other)
            );
            return Err(ApiError::invalid_value(message.path("role"), &why));
        }
        None => return Err(ApiError::missing(message.path("role"))),
    };
    for call in ["tool_calls", "function_call", "audio"] {
        if message
            .get(call)
            .is_some_and(|value| value.as_array().is_none_or(|calls| !calls.is_empty()))
        {
            return Err(ApiError::unsupported(
                message.path(call),
                "a message is text; leave it out",
            ));
        }
    }
    Ok(Message {
        role: role.to_owned(),
        content: content(&message)?,
        name: None,
        reasoning_content: None,
        tool_call_id: None,
        tool_calls: Vec::new(),
    })
}

/// A text, or a list of parts that are all text.
fn content(message: &Object<'_>) -> Result<String, ApiError> {
    let path = message.path("content");
    match message.require("content")? {
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => {
            let part = |(i, value)| text_part(Object::at(format!("{path}[{i}]"), value)?);
            let parts: Vec<&str> = parts
                .iter()
                .enumerate()
                .map(part)
                .collect::<Result<_, _>>()?;
            // A line each, as other servers join them.
            Ok(parts.join("\n"))
        }
        other => Err(ApiError::invalid_type(
            path,
            "a string or an array of text parts",
            other,
        )),
    }
}

fn text_part<'a>(part: Object<'a>) -> Result<&'a str, ApiError> {
    match part.string("type")? {
        Some("text") => part
            .string("text")?
            .ok_or_else(|| ApiError::missing(part.path("text"))),
        Some(_) => Err(ApiError::unsupported(
            part.path("type"),
            "only parts of type 'text' are",
        )),
        None => Err(ApiError::missing(part.path("type"))),
    }
}

/// `prompt`: a text or a list of token ids, or a list of exactly one of either.
pub fn text(body: &Object<'_>) -> Result<Prompt, ApiError> {
    let path = body.path("prompt");
    let value = body.require("prompt")?;
    match value {
        Value::Array(items) => match items.as_slice() {
            [Value::String(text)] => Ok(Prompt::Text(text.clone())),
            [Value::Array(ids)] => tokens(&format!("{path}[0]"), ids),
            [Value::String(_) | Value::Array(_), _, ..] => Err(ApiError::unsupported(
                path,
                "one prompt per request; send the others separately",
            )),
            ids => tokens(&path, ids),
        },
        Value::String(text) => Ok(Prompt::Text(text.clone())),
        other => Err(ApiError::invalid_type(
            path,
            "a string or an array of token ids",
            other,
        )),
    }
}

fn tokens(path: &str, ids: &[Value]) -> Result<Prompt, ApiError> {
    if ids.is_empty() {
        return Err(ApiError::invalid_value(path.to_owned(), "it is empty"));
    }
    let id = |(i, value): (usize, &Value)| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| match value {
            Value::Number(n) if !n.is_f64() => {
                ApiError::invalid_value(format!("{path}[{i}]"), &format!("{value} is no token id"))
            }
            _ => ApiError::invalid_type(format!("{path}[{i}]"), "a token id", value),
        })
    };
    Ok(Prompt::Tokens(
        ids.iter().enumerate().map(id).collect::<Result<_, _>>()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_MESSAGES: u32 = 20;
    use serde_json::json;

    fn messages(value: Value) -> Result<Vec<Message>, ApiError> {
        match chat(&Object::top(&json!({ "messages": value }))?, MAX_MESSAGES)? {
            Prompt::Messages(messages) => Ok(messages),
            other => panic!("{other:?}"),
        }
    }

    fn prompt(value: Value) -> Result<Prompt, ApiError> {
        text(&Object::top(&json!({ "prompt": value }))?)
    }

    #[test]
    fn roles_and_contents() {
        let read = messages(json!([
            {"role": "developer", "content": "be brief"},
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "Al"},
            {"role": "assistant", "content": "c", "tool_calls": [], "refusal": null},
            {"role": "tool", "content": "", "tool_call_id": "1"},
        ]))
        .unwrap();
        let read: Vec<_> = read
            .iter()
            .map(|m| (m.role.as_str(), m.content.as_str()))
            .collect();
        let expected = [
            ("system", "be brief"),
            ("system", "be kind"),
            ("user", "a\nb"),
            ("assistant", "c"),
            ("tool", ""),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn wrong_messages_are_named() {
        for (value, param) in [
            (json!(null), "messages"),
            (json!("hi"), "messages"),
            (json!([]), "messages"),
            (json!(vec![0; MAX_MESSAGES as usize + 1]), "messages"),
            (json!(["hi"]), "messages[0]"),
            (json!([{"content": "x"}]), "messages[0].role"),
            (
                json!([{"role": "user", "content": "x"}, {"role": "wizard", "content": "x"}]),
                "messages[1].role",
            ),
            (json!([{"role": 1, "content": "x"}]), "messages[0].role"),
            (json!([{"role": "user"}]), "messages[0].content"),
            (
                json!([{"role": "user", "content": null}]),
                "messages[0].content",
            ),
            (
                json!([{"role": "user", "content": 5}]),
                "messages[0].content",
            ),
            (
                json!([{"role": "user", "content": ["x"]}]),
                "messages[0].content[0]",
            ),
            (
                json!([{"role": "user", "content": [{"text": "x"}]}]),
                "messages[0].content[0].type",
            ),
            (
                json!([{"role": "user", "content": [{"type": "text"}]}]),
                "messages[0].content[0].text",
            ),
            (
                json!([{"role": "user", "content": [{"type": "image_url"}]}]),
                "messages[0].content[0].type",
            ),
            (
                json!([{"role": "assistant", "content": "", "tool_calls": [{}]}]),
                "messages[0].tool_calls",
            ),
            (
                json!([{"role": "assistant", "content": "", "function_call": {}}]),
                "messages[0].function_call",
            ),
        ] {
            let error = messages(value.clone()).unwrap_err();
            assert_eq!(
                (error.status, error.param.as_deref()),
                (400, Some(param)),
                "{value}"
            );
        }
    }

    #[test]
    fn prompts_come_in_four_shapes() {
        assert_eq!(prompt(json!("a")).unwrap(), Prompt::Text("a".into()));
        assert_eq!(prompt(json!(["a"])).unwrap(), Prompt::Text("a".into()));
        assert_eq!(prompt(json!([1, 2])).unwrap(), Prompt::Tokens(vec![1, 2]));
        assert_eq!(prompt(json!([[1, 2]])).unwrap(), Prompt::Tokens(vec![1, 2]));
    }

    #[test]
    fn wrong_prompts_are_named() {
        for (value, param) in [
            (json!(null), "prompt"),
            (json!(5), "prompt"),
            (json!({}), "prompt"),
            (json!([]), "prompt"),
            (json!([[]]), "prompt[0]"),
            (json!(["a", "b"]), "prompt"),
            (json!([[1], [2]]), "prompt"),
            (json!([1, "a"]), "prompt[1]"),
            (json!([1, -2]), "prompt[1]"),
            (json!([1.5]), "prompt[0]"),
            (json!([[1, 4_294_967_296_u64]]), "prompt[0][1]"),
        ] {
            let error = prompt(value.clone()).unwrap_err();
            assert_eq!(
                (error.status, error.param.as_deref()),
                (400, Some(param)),
                "{value}"
            );
        }
    }
}
