//! What a chat's answer does with the model's reasoning, and the variables of the chat template, by
//! which a model is told whether to reason at all: `chat_template_kwargs` and the fields by which
//! clients of other servers say the same.

use crate::{
    error::{ApiError, shorten},
    fields::Object,
    raw::Raw,
};
use serde_json::Value;

/// The template's variable for it, as Qwen and most others name it.
const ENABLE: &str = "enable_thinking";

/// What becomes of the reasoning in an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reasoning {
    /// It is `reasoning_content`.
    #[default]
    Apart,
    /// It stays in the text, between the model's own tags.
    Inline,
    /// It is left out.
    Hidden,
}

/// Read `include_reasoning`, `separate_reasoning` and `reasoning_format`.
pub fn reasoning(body: &Object<'_>) -> Result<Reasoning, ApiError> {
    let names = [
        "include_reasoning",
        "separate_reasoning",
        "reasoning_format",
    ];
    let found = body.alias(&names, |body, name| {
        if name == "reasoning_format" {
            return body
                .string(name)?
                .map(|form| format(body, form))
                .transpose();
        }
        let other = match name {
            "include_reasoning" => Reasoning::Hidden,
            _ => Reasoning::Inline,
        };
        // True is the default, and so no wish that another field could contradict.
        Ok((!body.flag(name)?).then_some(other))
    })?;
    Ok(found.map_or(Reasoning::default(), |(reasoning, _)| reasoning))
}

fn format(body: &Object<'_>, form: &str) -> Result<Reasoning, ApiError> {
    match form {
        "auto" | "deepseek" | "parsed" => Ok(Reasoning::Apart),
        "none" | "raw" => Ok(Reasoning::Inline),
        "hidden" => Ok(Reasoning::Hidden),
        other => {
            let why = format!(
                "expected \"auto\", \"deepseek\", \"parsed\", \"none\", \"raw\" or \"hidden\", but got '{}'",
                shorten(other)
            );
            Err(ApiError::invalid_value(body.path("reasoning_format"), &why))
        }
    }
}

/// The template's variables as the text of a JSON object. `raw` is the body's text.
pub fn template_kwargs(body: &Object<'_>, raw: Raw<'_>) -> Result<Option<String>, ApiError> {
    let own = body.object("chat_template_kwargs")?;
    let text = raw.field("chat_template_kwargs").map(Raw::text);
    let text = own.as_ref().and(text);
    // Without its last brace; `None` where nothing is in it.
    let fields = text.and_then(|text| text.strip_suffix('}'));
    let fields = fields.filter(|fields| fields.len() > 1 && !fields[1..].trim().is_empty());
    let text = text.filter(|_| fields.is_some());
    let names = [
        "enable_thinking",
        "think",
        "thinking",
        "reasoning",
        "reasoning_effort",
    ];
    let Some((enable, name)) = body.alias(&names, wish)? else {
        return Ok(text.map(str::to_owned));
    };
    match own.as_ref().and_then(|own| own.get(ENABLE)) {
        Some(Value::Bool(same)) if *same == enable => Ok(text.map(str::to_owned)),
        Some(_) => {
            let why = "it differs from 'chat_template_kwargs'; send one of them";
            Err(ApiError::invalid_value(body.path(name), why))
        }
        // The last of a name counts, where the client's is null.
        None => Ok(Some(match fields {
            Some(fields) => format!("{fields}, \"{ENABLE}\": {enable}}}"),
            None => format!("{{\"{ENABLE}\": {enable}}}"),
        })),
    }
}

/// Whether the model is to reason, by the field `name`.
fn wish(body: &Object<'_>, name: &str) -> Result<Option<bool>, ApiError> {
    const HOW_MUCH: &str = "how much the model reasons is its chat template's to say; send \
                            'chat_template_kwargs' with what that reads, or \"none\"";
    match name {
        "reasoning" | "thinking" if body.get(name) == Some(&Value::Bool(false)) => Ok(Some(false)),
        "reasoning_effort" => effort(body, name, HOW_MUCH),
        "reasoning" => {
            let Some(object) = body.object(name)? else {
                return Ok(None);
            };
            only(&object, &["enabled", "effort"])?;
            let enabled = object.get("enabled").map(|_| object.flag("enabled"));
            let enabled = enabled.transpose()?;
            let effort = effort(&object, "effort", HOW_MUCH)?;
            if effort.is_some() && enabled.is_some() && effort != enabled {
                let why = "it differs from 'enabled'; send one of them";
                return Err(ApiError::invalid_value(object.path("effort"), why));
            }
            Ok(effort.or(enabled))
        }
        "thinking" => {
            let Some(object) = body.object(name)? else {
                return Ok(None);
            };
            only(&object, &["type"])?;
            match object.string("type")? {
                Some("enabled") => Ok(Some(true)),
                Some("disabled") => Ok(Some(false)),
                _ => {
                    let why = "expected \"enabled\" or \"disabled\"";
                    Err(ApiError::invalid_value(object.path("type"), why))
                }
            }
        }
        _ => body.get(name).map(|_| body.flag(name)).transpose(),
    }
}

fn effort(object: &Object<'_>, name: &str, why: &str) -> Result<Option<bool>, ApiError> {
    match object.string(name)? {
        None | Some("") => Ok(None),
        Some("none") => Ok(Some(false)),
        Some(_) => Err(ApiError::unsupported(object.path(name), why)),
    }
}

/// Refuse every field but these.
fn only(object: &Object<'_>, names: &[&str]) -> Result<(), ApiError> {
    match object.present().find(|(name, _)| !names.contains(name)) {
        Some((name, _)) => Err(ApiError::unknown_field(object.path(name))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kwargs(body: &str) -> Result<Option<String>, ApiError> {
        let value: Value = serde_json::from_str(body).unwrap();
        template_kwargs(&Object::top(&value).unwrap(), Raw::new(body))
    }

    #[test]
    fn variables_are_passed_on_with_what_other_fields_say() {
        for (body, expected) in [
            ("{}", None),
            (r#"{"chat_template_kwargs":null}"#, None),
            (r#"{"chat_template_kwargs":{}}"#, None),
            (
                r#"{"chat_template_kwargs": { "b":1.0,"a":[] } }"#,
                Some(r#"{ "b":1.0,"a":[] }"#),
            ),
            (r#"{"think":false}"#, Some(r#"{"enable_thinking": false}"#)),
            (
                r#"{"enable_thinking":true}"#,
                Some(r#"{"enable_thinking": true}"#),
            ),
            (
                r#"{"thinking":{"type":"disabled"}}"#,
                Some(r#"{"enable_thinking": false}"#),
            ),
            (
                r#"{"reasoning":{"enabled":false}}"#,
                Some(r#"{"enable_thinking": false}"#),
            ),
            (
                r#"{"reasoning":{"effort":"none"}}"#,
                Some(r#"{"enable_thinking": false}"#),
            ),
            (r#"{"reasoning":{}}"#, None),
            (r#"{"reasoning_effort":""}"#, None),
            (
                r#"{"reasoning_effort":"none","think":false,"chat_template_kwargs":{"z":1}}"#,
                Some(r#"{"z":1, "enable_thinking": false}"#),
            ),
            (
                r#"{"think":true,"chat_template_kwargs":{ "enable_thinking":null }}"#,
                Some(r#"{ "enable_thinking":null , "enable_thinking": true}"#),
            ),
            (
                r#"{"think":true,"chat_template_kwargs":{ }}"#,
                Some(r#"{"enable_thinking": true}"#),
            ),
            (
                r#"{"think":false,"chat_template_kwargs":{"enable_thinking":false}}"#,
                Some(r#"{"enable_thinking":false}"#),
            ),
        ] {
            assert_eq!(kwargs(body).unwrap().as_deref(), expected, "{body}");
            if let Some(text) = expected {
                serde_json::from_str::<Value>(text).unwrap();
            }
        }
    }

    #[test]
    fn what_cannot_be_said_is_named() {
        for (body, param) in [
            (json!({"chat_template_kwargs": []}), "chat_template_kwargs"),
            (json!({"chat_template_kwargs": "x"}), "chat_template_kwargs"),
            (json!({"think": "high"}), "think"),
            (json!({"enable_thinking": 1}), "enable_thinking"),
            (json!({"think": true, "enable_thinking": false}), "think"),
            (
                json!({"think": true, "chat_template_kwargs": {"enable_thinking": false}}),
                "think",
            ),
            (json!({"reasoning_effort": "high"}), "reasoning_effort"),
            (json!({"reasoning": {"effort": "low"}}), "reasoning.effort"),
            (
                json!({"reasoning": {"max_tokens": 5}}),
                "reasoning.max_tokens",
            ),
            (
                json!({"reasoning": {"enabled": true, "effort": "none"}}),
                "reasoning.effort",
            ),
            (json!({"reasoning": true}), "reasoning"),
            (json!({"thinking": {"type": "auto"}}), "thinking.type"),
            (json!({"thinking": {}}), "thinking.type"),
            (
                json!({"thinking": {"type": "enabled", "budget_tokens": 5}}),
                "thinking.budget_tokens",
            ),
        ] {
            let error = kwargs(&body.to_string()).unwrap_err();
            assert_eq!(
                (error.status, error.param.as_deref()),
                (400, Some(param)),
                "{body}"
            );
        }
    }

    #[test]
    fn reasoning_goes_where_the_client_wants_it() {
        let read = |body: Value| reasoning(&Object::top(&body).unwrap());
        for (body, expected) in [
            (json!({}), Reasoning::Apart),
            (json!({"include_reasoning": true}), Reasoning::Apart),
            (json!({"include_reasoning": false}), Reasoning::Hidden),
            (json!({"separate_reasoning": false}), Reasoning::Inline),
            (
                json!({"separate_reasoning": false, "include_reasoning": true}),
                Reasoning::Inline,
            ),
            (json!({"reasoning_format": "auto"}), Reasoning::Apart),
            (json!({"reasoning_format": "none"}), Reasoning::Inline),
            (json!({"reasoning_format": "hidden"}), Reasoning::Hidden),
        ] {
            assert_eq!(read(body.clone()), Ok(expected), "{body}");
        }
        for (body, param) in [
            (json!({"include_reasoning": 1}), "include_reasoning"),
            (json!({"reasoning_format": "xml"}), "reasoning_format"),
            (
                json!({"separate_reasoning": false, "include_reasoning": false}),
                "separate_reasoning",
            ),
        ] {
            let error = read(body.clone()).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{body}");
        }
    }
}
