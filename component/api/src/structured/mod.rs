//! Structured output: the grammar that a request wants its answer to follow, by OpenAI's, vLLM's,
//! SGLang's, llama.cpp's, TGI's and Ollama's names for it.
//!
//! Here it is the fields' schema; what a grammar says is the engine's to check. Schemas go there as
//! they were sent: their properties are written in their order.

mod fields;
#[cfg(test)]
mod tests;

use crate::{
    engine::{Constraint, Grammar, JsonSchema},
    error::{ApiError, shorten},
    fields::Object,
    raw::Raw,
};
use serde_json::Value;

/// A grammar, and the field that asks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Structured {
    /// The path of the field, for errors.
    pub field: String,
    grammar: Grammar,
}

impl Structured {
    /// The grammar for the engine. That of a chat's answer holds behind its reasoning.
    pub fn constraint(&self, chat: bool) -> Constraint {
        Constraint {
            grammar: self.grammar.clone(),
            after_reasoning: chat,
            trigger: None,
        }
    }
}

/// A field of a body that asks for a grammar.
type Reader = fn(&Object<'_>, &str, Raw<'_>) -> Result<Option<Grammar>, ApiError>;

/// All of them, with what reads them.
const READERS: [(&str, Reader); 13] = [
    ("response_format", fields::response_format),
    ("structured_outputs", fields::structured_outputs),
    ("guided_json", fields::schema),
    ("guided_json_object", fields::any_object),
    ("guided_regex", fields::regex),
    ("guided_choice", fields::choice),
    ("guided_grammar", fields::grammar),
    ("json_schema", fields::schema),
    ("grammar", fields::grammar),
    ("regex", fields::regex),
    ("ebnf", fields::grammar),
    ("choice", fields::choice),
    ("format", fields::format),
];

/// The grammar that a body asks for, if it does. `raw` is the body's text.
///
/// # Errors
/// A field that cannot be read, or two that ask for different grammars.
pub fn read(body: &Object<'_>, raw: Raw<'_>) -> Result<Option<Structured>, ApiError> {
    let mut found: Option<Structured> = None;
    for (name, reader) in READERS {
        if body.get(name).is_none() {
            continue;
        }
        // The field is there, so its text is.
        let Some(grammar) = raw
            .field(name)
            .map(|raw| reader(body, name, raw))
            .transpose()?
            .flatten()
        else {
            continue;
        };
        let field = body.path(name);
        if let Some(first) = &found {
            if first.grammar == grammar {
                continue;
            }
            let why = format!("it differs from '{}'; send one of them", first.field);
            return Err(ApiError::invalid_value(field, &why));
        }
        found = Some(Structured { field, grammar });
    }
    Ok(found)
}
