//! The shapes that llama.cpp's server takes prompts in, beyond OpenAI's: texts among token ids, and
//! objects.

use std::borrow::Cow;

use serde_json::Value;

use crate::{
    engine::Engine,
    error::ApiError,
    fields::Object,
    known::{self, Place},
};

/// A prompt, or a list of them, at `path` in a shape that OpenAI has: a text, a list of token ids,
/// or a list of either. What has another one is left for others to refuse.
///
/// # Errors
/// An object has no text, or more than one; or a text among token ids cannot be tokenised.
pub fn plain<'a, E: Engine>(
    engine: &E,
    model: &str,
    path: &str,
    value: &'a Value,
) -> Result<Cow<'a, Value>, ApiError> {
    let prompts = match value {
        Value::Array(items) if !items.iter().any(Value::is_number) => items,
        one if is_plain(one) => return Ok(Cow::Borrowed(one)),
        one => return prompt(engine, model, path, one).map(Cow::Owned),
    };
    if prompts.iter().all(is_plain) {
        return Ok(Cow::Borrowed(value));
    }
    let one = |(i, value): (usize, &Value)| prompt(engine, model, &format!("{path}[{i}]"), value);
    let prompts: Result<Value, ApiError> = prompts.iter().enumerate().map(one).collect();
    prompts.map(Cow::Owned)
}

/// True of a prompt as OpenAI has it, or as nobody has.
fn is_plain(prompt: &Value) -> bool {
    match prompt {
        Value::Object(_) => false,
        Value::Array(items) => !items.iter().any(Value::is_string),
        _ => true,
    }
}

fn prompt<E: Engine>(
    engine: &E,
    model: &str,
    path: &str,
    value: &Value,
) -> Result<Value, ApiError> {
    match value {
        Value::Object(_) => Ok(Value::String(text(&Object::at(path.to_owned(), value)?)?)),
        Value::Array(items) if items.iter().any(Value::is_string) => {
            let mut ids: Vec<u32> = Vec::new();
            for (i, item) in items.iter().enumerate() {
                let path = format!("{path}[{i}]");
                match item {
                    // Only what begins the prompt is begun as one.
                    Value::String(text) => {
                        let named = |error| ApiError::from_engine(error, &path);
                        ids.extend(engine.tokenize(model, text, i == 0).map_err(named)?);
                    }
                    id => ids.push(token_id(path, id)?),
                }
            }
            Ok(Value::from(ids))
        }
        other => Ok(other.clone()),
    }
}

/// A token id at `path`, among texts.
fn token_id(path: String, value: &Value) -> Result<u32, ApiError> {
    let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
    id.ok_or_else(|| ApiError::invalid_type(path, "a token id or a string", value))
}

/// The text of an object: as it is, or of all its parts.
fn text(object: &Object<'_>) -> Result<String, ApiError> {
    known::check(object, Place::PromptObject)?;
    match (object.string("prompt_string")?, object.get("content")) {
        (Some(text), None) => Ok(text.to_owned()),
        (None, Some(Value::Array(parts))) => {
            let path = object.path("content");
            let parts = parts.iter().enumerate();
            let texts = parts.map(|(i, part)| {
                let part = Object::at(format!("{path}[{i}]"), part)?;
                if part.string("type")? != Some("text") {
                    return Err(ApiError::unsupported(
                        part.path("type"),
                        "only parts of the type 'text' are",
                    ));
                }
                known::check(&part, Place::PromptPart)?;
                let text = part.string("text")?;
                text.ok_or_else(|| ApiError::missing(part.path("text")))
            });
            texts.collect()
        }
        (None, Some(other)) => {
            let path = object.path("content");
            Err(ApiError::invalid_type(path, "an array of parts", other))
        }
        (Some(_), Some(_)) => Err(ApiError::invalid_value(
            object.path("content"),
            "it stands beside 'prompt_string'; send one of them",
        )),
        (None, None) => Err(ApiError::missing(object.path("prompt_string"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FIRST_BYTE, ScriptedEngine};
    use serde_json::json;

    fn said(value: Value) -> Result<Value, ApiError> {
        let engine = ScriptedEngine::new(Ok(Vec::new()));
        plain(&engine, "org/demo", "p", &value).map(Cow::into_owned)
    }

    #[test]
    fn prompts_come_in_openais_shapes() {
        let a = FIRST_BYTE + u32::from(b'a');
        let begun = said(json!(["a", 7])).unwrap();
        assert_eq!(begun.as_array().unwrap().last(), Some(&json!(7)));
        for (value, plain) in [
            (json!("x"), json!("x")),
            (json!([1, 2]), json!([1, 2])),
            (json!(["x", [1]]), json!(["x", [1]])),
            (json!([1, "a", 2]), json!([1, a, 2])),
            (json!([[1, "a"], "x"]), json!([[1, a], "x"])),
            (json!({"prompt_string": "x"}), json!("x")),
            (
                json!([{"prompt_string": "x", "multimodal_data": []}, [1]]),
                json!(["x", [1]]),
            ),
            (
                json!({"content": [{"type": "text", "text": "x "}, {"type": "text", "text": "y"}]}),
                json!("x y"),
            ),
            (json!(5), json!(5)),
            (json!([]), json!([])),
        ] {
            assert_eq!(said(value).unwrap(), plain);
        }
    }

    #[test]
    fn wrong_objects_are_named() {
        for (value, param) in [
            (json!({}), "p.prompt_string"),
            (json!([{"prompt_string": 5}]), "p[0].prompt_string"),
            (
                json!({"prompt_string": "x", "multimodal_data": ["a"]}),
                "p.multimodal_data",
            ),
            (json!({"content": "x"}), "p.content"),
            (
                json!({"content": [{"type": "image_url"}]}),
                "p.content[0].type",
            ),
            (json!({"content": [{"type": "text"}]}), "p.content[0].text"),
            (json!({"prompt_string": "x", "content": []}), "p.content"),
            (json!({"text": "x"}), "p.text"),
            (json!([1, "a", true]), "p[2]"),
        ] {
            let error = said(value.clone()).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{value}");
        }
    }
}
