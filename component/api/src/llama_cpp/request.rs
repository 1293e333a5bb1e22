//! `/completion`, said as a request of `/v1/completions`.

use serde_json::Value;

use super::plain;
use crate::{
    engine::Engine,
    error::ApiError,
    fields::Object,
    json::Written,
    known::{self, Place},
    raw::Raw,
    settings::Settings,
    tokens,
    translated::{Names, copy},
};

/// Names in `response_fields` at most.
const MAX_FIELDS: usize = 64;

/// A request, translated.
pub(super) struct Said {
    pub(super) body: Written,
    pub(super) names: Names,
    pub(super) told: Told,
}

/// What the answer is to tell.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// Answers are listed, since there may be several.
    pub(super) listed: bool,
    /// Token ids in a whole answer.
    pub(super) tokens: bool,
    /// These fields alone, if there are any; those within others with a slash.
    pub(super) fields: Vec<String>,
    /// The stop text remains part of the text.
    pub(super) stop: bool,
    /// Positions of the model.
    pub(super) context_length: u32,
}

pub(super) fn translate<E: Engine>(
    engine: &E,
    settings: &Settings,
    body: &Object<'_>,
    raw: Raw<'_>,
) -> Result<Said, ApiError> {
    known::check(body, Place::LlamaCompletion)?;
    let model = tokens::model(engine, settings, body)?;
    let prompt = body.require("prompt")?;
    let prompt = plain(engine, &model.info.id, "prompt", prompt)?;
    let mut names = Names::default();
    let mut said = Written::new();
    for (name, _) in body.present() {
        let is_shared = known::is_honoured(Place::Body, name);
        // The engine's is set below.
        let is_own = name == "include_stop_str_in_output";
        if is_shared && !is_own && known::is_honoured(Place::LlamaCompletion, name) {
            said = copy(said, &mut names, (body, raw), name, name);
        }
    }
    let several = match &*prompt {
        Value::Array(items) => items.iter().any(|item| !item.is_number()),
        _ => false,
    };
    let stop = body.flag("include_stop_str_in_output")?;
    if stop || (body.get("stop").is_some() && body.get("stop_token_ids").is_none()) {
        // The answer says which it was, so it has to be seen; but not the texts of tokens.
        said = said.with("include_stop_str_in_output", &true);
    }
    let told = Told {
        listed: several,
        tokens: body.flag("return_tokens")?,
        fields: fields(body)?,
        stop,
        context_length: model.info.context_length,
    };
    // The answer has the prompt's tokens as a text.
    let said = said.with("prompt", &prompt).with("return_token_ids", &true);
    Ok(Said {
        body: said,
        names,
        told,
    })
}

fn fields(body: &Object<'_>) -> Result<Vec<String>, ApiError> {
    let path = body.path("response_fields");
    let expected = "an array of strings";
    match body.get("response_fields") {
        None => Ok(Vec::new()),
        Some(Value::Array(names)) => {
            let name = |name: &Value| match name.as_str() {
                Some(name) => Ok(name.to_owned()),
                None => Err(ApiError::invalid_type(path.clone(), expected, name)),
            };
            if names.len() > MAX_FIELDS {
                let why = format!(
                    "at most {MAX_FIELDS} fields may be named, these are {}",
                    names.len()
                );
                return Err(ApiError::invalid_value(path, &why));
            }
            let mut found = names.iter().map(name).collect::<Result<Vec<_>, _>>()?;
            // Named once or more often, a field is told once.
            found.sort_unstable();
            found.dedup();
            Ok(found)
        }
        Some(other) => Err(ApiError::invalid_type(path, expected, other)),
    }
}
