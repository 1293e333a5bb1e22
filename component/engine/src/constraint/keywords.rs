//! The types of a JSON Schema's keywords. Their compiler is made for schemas that are right.

use serde_json::Value;

use super::invalid;
use crate::error::EngineError;

/// Keywords whose value is a number.
const NUMBERS: [&str; 11] = [
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
];
/// Those whose value is a text.
const TEXTS: [&str; 3] = ["pattern", "format", "$ref"];
/// Those whose value is a list of texts.
const LISTS_OF_TEXTS: [&str; 1] = ["required"];
/// Those whose value is a schema.
const SCHEMAS: [&str; 6] = [
    "items",
    "additionalItems",
    "additionalProperties",
    "propertyNames",
    "contains",
    "not",
];
/// Those whose value is a list of schemas.
const LISTS: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
/// Those whose value is an object of schemas.
const OBJECTS: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];

/// Check a schema and those within it.
///
/// # Errors
/// `InvalidRequest` with the first keyword whose value has another type.
pub(super) fn check(schema: &Value) -> Result<(), EngineError> {
    let fields = match schema {
        Value::Object(fields) => fields,
        Value::Bool(_) => return Ok(()),
        _ => return Err(invalid("the schema has a schema that is no object")),
    };
    let is_list_of_texts = |value: &Value| {
        value
            .as_array()
            .is_some_and(|all| all.iter().all(Value::is_string))
    };
    for (name, value) in fields {
        let name = name.as_str();
        let wrong = |expected: &str| {
            let message = format!("`{name}` in the schema must be {expected}");
            Err(invalid(message))
        };
        if NUMBERS.contains(&name) {
            // Draft 4 has flags of the exclusive ones.
            let is_flag = name.starts_with("exclusive") && value.is_boolean();
            if !value.is_number() && !is_flag {
                return wrong("a number");
            }
        } else if TEXTS.contains(&name) {
            if !value.is_string() {
                return wrong("a text");
            }
        } else if LISTS_OF_TEXTS.contains(&name) {
            if !is_list_of_texts(value) {
                return wrong("a list of texts");
            }
        } else if name == "type" {
            if !value.is_string() && !is_list_of_texts(value) {
                return wrong("a text or a list of texts");
            }
        } else if LISTS.contains(&name) || (name == "items" && value.is_array()) {
            let Some(all) = value.as_array() else {
                return wrong("a list of schemas");
            };
            all.iter().try_for_each(check)?;
        } else if SCHEMAS.contains(&name) {
            check(value)?;
        } else if OBJECTS.contains(&name) {
            let Some(all) = value.as_object() else {
                return wrong("an object of schemas");
            };
            all.values().try_for_each(check)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keywords_have_their_types() {
        for right in [
            json!(true),
            json!({"type": ["string", "null"], "minLength": 1, "pattern": "a", "format": "date"}),
            json!({"properties": {"minLength": {"type": "string"}, "$ref": true}, "required": ["a"]}),
            json!({"items": [{}, true], "additionalItems": false, "const": {"minLength": "x"}}),
            json!({"enum": [{"pattern": 1}], "default": {"required": 1}, "exclusiveMinimum": true}),
        ] {
            assert!(check(&right).is_ok(), "{right}");
        }
        for (wrong, name) in [
            (json!({"minLength": "1"}), "`minLength`"),
            (json!({"properties": {"a": {"maximum": {}}}}), "`maximum`"),
            (json!({"anyOf": [{"pattern": 1}]}), "`pattern`"),
            (json!({"anyOf": {}}), "`anyOf`"),
            (json!({"$defs": {"a": {"required": "b"}}}), "`required`"),
            (json!({"not": {"type": 1}}), "`type`"),
            (json!({"properties": []}), "`properties`"),
            (json!({"items": 1}), "no object"),
            (json!({"$ref": 1}), "`$ref`"),
        ] {
            let error = check(&wrong).unwrap_err().to_string();
            assert!(error.contains(name), "{wrong}: {error}");
        }
    }
}
