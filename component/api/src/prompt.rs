//! The prompt of a completion (`prompt`) or the input of an embedding (`input`), which may be
//! several.

use crate::{engine::Prompt, error::ApiError, fields::Object, params::token_ids};
use serde_json::Value;

/// Prompts of one completion. Each gets a choice of its own.
pub const MAX_PROMPTS: usize = 128;

/// The field `name`: a text or a list of token ids, or a list of up to `most` of either.
pub fn read(body: &Object<'_>, name: &str, most: usize) -> Result<Vec<Prompt>, ApiError> {
    of(body.path(name), body.require(name)?, most)
}

/// The same of a value at `path`.
pub fn of(path: String, value: &Value, most: usize) -> Result<Vec<Prompt>, ApiError> {
    match value {
        Value::String(text) => Ok(vec![Prompt::Text(text.clone())]),
        Value::Array(items) => match items.first() {
            Some(Value::String(_) | Value::Array(_)) => list(&path, items, most),
            _ => Ok(vec![tokens(&path, items)?]),
        },
        other => Err(ApiError::invalid_type(
            path,
            "a string, an array of token ids, or an array of either",
            other,
        )),
    }
}

fn list(path: &str, items: &[Value], most: usize) -> Result<Vec<Prompt>, ApiError> {
    if items.len() > most {
        let why = format!("at most {most} in one request, but got {}", items.len());
        return Err(ApiError::invalid_value(path.to_owned(), &why));
    }
    let one = |(i, item): (usize, &Value)| match item {
        Value::String(text) => Ok(Prompt::Text(text.clone())),
        Value::Array(ids) => tokens(&format!("{path}[{i}]"), ids),
        other => Err(ApiError::invalid_type(
            format!("{path}[{i}]"),
            "a string or an array of token ids",
            other,
        )),
    };
    items.iter().enumerate().map(one).collect()
}

fn tokens(path: &str, ids: &[Value]) -> Result<Prompt, ApiError> {
    if ids.is_empty() {
        return Err(ApiError::invalid_value(path.to_owned(), "it is empty"));
    }
    Ok(Prompt::Tokens(token_ids(path, ids)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn prompts(value: Value) -> Result<Vec<Prompt>, ApiError> {
        read(
            &Object::top(&json!({ "prompt": value }))?,
            "prompt",
            MAX_PROMPTS,
        )
    }

    #[test]
    fn prompts_come_in_four_shapes() {
        let a = || Prompt::Text("a".into());
        let ids = |ids: &[u32]| Prompt::Tokens(ids.into());
        assert_eq!(prompts(json!("a")).unwrap(), [a()]);
        assert_eq!(prompts(json!(["a"])).unwrap(), [a()]);
        assert_eq!(prompts(json!([1, 2])).unwrap(), [ids(&[1, 2])]);
        assert_eq!(prompts(json!([[1, 2]])).unwrap(), [ids(&[1, 2])]);
        assert_eq!(
            prompts(json!(["a", ""])).unwrap(),
            [a(), Prompt::Text(String::new())]
        );
        let mixed = json!([[1, 2], "a", [3]]);
        assert_eq!(prompts(mixed).unwrap(), [ids(&[1, 2]), a(), ids(&[3])]);
        assert_eq!(
            prompts(json!(vec!["a"; MAX_PROMPTS])).unwrap().len(),
            MAX_PROMPTS
        );
    }

    #[test]
    fn wrong_prompts_are_named() {
        for (value, param) in [
            (json!(null), "prompt"),
            (json!(5), "prompt"),
            (json!({}), "prompt"),
            (json!([]), "prompt"),
            (json!([[]]), "prompt[0]"),
            (json!(["a", []]), "prompt[1]"),
            (json!(["a", 1]), "prompt[1]"),
            (json!([[1], 2]), "prompt[1]"),
            (json!(["a", null]), "prompt[1]"),
            (json!([null]), "prompt[0]"),
            (json!([1, "a"]), "prompt[1]"),
            (json!([1, -2]), "prompt[1]"),
            (json!([1.5]), "prompt[0]"),
            (json!([[1, 4_294_967_296_u64]]), "prompt[0][1]"),
            (json!(["a", [1, [2]]]), "prompt[1][1]"),
            (json!(vec!["a"; MAX_PROMPTS + 1]), "prompt"),
        ] {
            let error = prompts(value.clone()).unwrap_err();
            assert_eq!(
                (error.status, error.param.as_deref()),
                (400, Some(param)),
                "{value}"
            );
        }
    }
}
