//! The fields that ask for a grammar, one by one.

use super::*;
use crate::known::{self, Place};

/// OpenAI's `response_format`, with the forms of llama.cpp's server and TGI.
pub(super) fn response_format(
    body: &Object<'_>,
    name: &str,
    raw: Raw<'_>,
) -> Result<Option<Grammar>, ApiError> {
    let format = Object::at(body.path(name), body.require(name)?)?;
    known::check(&format, Place::ResponseFormat)?;
    let path = format.path("type");
    match format.string("type")? {
        None if format.present().next().is_none() => Ok(None),
        None => Err(ApiError::missing(path)),
        Some("text") => Ok(None),
        // TGI's names are the first and the third; with a schema a JSON object is llama.cpp's.
        Some("json" | "json_object" | "json_schema") => {
            for holder in ["value", "schema"] {
                if format.get(holder).is_some() {
                    return schema(&format, holder, field(raw, holder));
                }
            }
            match format.object("json_schema")? {
                Some(outer) => json_schema(&outer, field(raw, "json_schema")),
                None if format.string("type")? == Some("json_object") => {
                    Ok(Some(Grammar::JsonObject))
                }
                None if format.string("type")? == Some("json") => {
                    Err(ApiError::missing(format.path("value")))
                }
                None => Err(ApiError::missing(format.path("json_schema"))),
            }
        }
        Some("regex") => {
            let holder = if format.get("value").is_some() {
                "value"
            } else {
                "pattern"
            };
            format.require(holder)?;
            regex(&format, holder, field(raw, holder))
        }
        Some("grammar") => {
            format.require("grammar")?;
            grammar(&format, "grammar", field(raw, "grammar"))
        }
        Some(other) => {
            let why = format!(
                "expected \"text\", \"json_object\", \"json_schema\", \"regex\" or \"grammar\", \
                 but got '{}'",
                shorten(other)
            );
            Err(ApiError::invalid_value(path, &why))
        }
    }
}

/// `response_format.json_schema`: a schema with a name and a strictness.
fn json_schema(outer: &Object<'_>, raw: Raw<'_>) -> Result<Option<Grammar>, ApiError> {
    known::check(outer, Place::JsonSchema)?;
    outer.string("name")?;
    outer.string("description")?;
    let strict = outer.flag("strict")?;
    let value = outer.require("schema")?;
    if !value.is_object() {
        let path = outer.path("schema");
        return Err(ApiError::invalid_type(path, "a JSON Schema", value));
    }
    let schema = field(raw, "schema").text().to_owned();
    Ok(Some(Grammar::JsonSchema(JsonSchema { schema, strict })))
}

/// vLLM's `structured_outputs`.
pub(super) fn structured_outputs(
    body: &Object<'_>,
    name: &str,
    raw: Raw<'_>,
) -> Result<Option<Grammar>, ApiError> {
    let outer = Object::at(body.path(name), body.require(name)?)?;
    known::check(&outer, Place::StructuredOutputs)?;
    let readers: [(&str, Reader); 5] = [
        ("json", schema),
        ("regex", regex),
        ("choice", choice),
        ("grammar", grammar),
        ("json_object", any_object),
    ];
    let mut found: Option<(Grammar, &str)> = None;
    for (name, reader) in readers {
        if outer.get(name).is_none() {
            continue;
        }
        let Some(grammar) = reader(&outer, name, field(raw, name))? else {
            continue;
        };
        if let Some((_, first)) = found {
            let why = format!("'{first}' is there too; send one of them");
            return Err(ApiError::invalid_value(outer.path(name), &why));
        }
        found = Some((grammar, name));
    }
    Ok(found.map(|(grammar, _)| grammar))
}

/// Ollama's `format`: the word `json`, or a schema.
pub(super) fn format(
    body: &Object<'_>,
    name: &str,
    raw: Raw<'_>,
) -> Result<Option<Grammar>, ApiError> {
    match body.get(name) {
        Some(Value::String(word)) if word == "json" => Ok(Some(Grammar::JsonObject)),
        Some(Value::String(word)) if word.is_empty() => Ok(None),
        Some(Value::String(_)) => Err(ApiError::invalid_value(
            body.path(name),
            "expected \"json\" or a JSON Schema",
        )),
        _ => schema(body, name, raw),
    }
}

/// A schema, as an object or as its text. Whatever cannot be enforced is refused.
pub(super) fn schema(
    object: &Object<'_>,
    name: &str,
    raw: Raw<'_>,
) -> Result<Option<Grammar>, ApiError> {
    let schema = match object.get(name) {
        Some(Value::String(text)) if text.is_empty() => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Object(_)) => raw.text().to_owned(),
        Some(other) => {
            let path = object.path(name);
            return Err(ApiError::invalid_type(path, "a JSON Schema", other));
        }
        None => return Ok(None),
    };
    let strict = true;
    Ok(Some(Grammar::JsonSchema(JsonSchema { schema, strict })))
}

/// True for any JSON object.
pub(super) fn any_object(
    object: &Object<'_>,
    name: &str,
    _: Raw<'_>,
) -> Result<Option<Grammar>, ApiError> {
    Ok(object.flag(name)?.then_some(Grammar::JsonObject))
}

/// A regular expression.
pub(super) fn regex(
    object: &Object<'_>,
    name: &str,
    _: Raw<'_>,
) -> Result<Option<Grammar>, ApiError> {
    let text = object.string(name)?.filter(|text| !text.is_empty());
    Ok(text.map(|text| Grammar::Regex(text.to_owned())))
}

/// A list of texts.
pub(super) fn choice(
    object: &Object<'_>,
    name: &str,
    _: Raw<'_>,
) -> Result<Option<Grammar>, ApiError> {
    let path = object.path(name);
    let texts = match object.get(name) {
        Some(Value::Array(texts)) => texts,
        Some(other) => return Err(ApiError::invalid_type(path, "an array of strings", other)),
        None => return Ok(None),
    };
    let one = |(i, text): (usize, &Value)| match text {
        Value::String(text) => Ok(text.clone()),
        other => Err(ApiError::invalid_type(
            format!("{path}[{i}]"),
            "a string",
            other,
        )),
    };
    let texts: Vec<String> = texts
        .iter()
        .enumerate()
        .map(one)
        .collect::<Result<_, _>>()?;
    Ok(Some(texts)
        .filter(|texts| !texts.is_empty())
        .map(Grammar::Choice))
}

/// A grammar: GBNF where it has rules with `::=`, else Lark.
pub(super) fn grammar(
    object: &Object<'_>,
    name: &str,
    _: Raw<'_>,
) -> Result<Option<Grammar>, ApiError> {
    let text = object.string(name)?.filter(|text| !text.is_empty());
    Ok(text.map(|text| {
        if text.contains("::=") {
            Grammar::Gbnf(text.to_owned())
        } else {
            Grammar::Lark(text.to_owned())
        }
    }))
}

/// The text of a field that is there.
fn field<'a>(raw: Raw<'a>, name: &str) -> Raw<'a> {
    raw.field(name).unwrap_or(Raw::new("null"))
}
