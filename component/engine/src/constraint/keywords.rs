//! The types of a JSON Schema's keywords, and the numbers that they may hold. Their compiler is
//! made for schemas that are right, and computes with doubles and 32 bits.

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

/// Those whose values are an answer's.
const CONSTANTS: [&str; 2] = ["const", "enum"];
/// Integers up to here are told apart by a double.
const MAX_INTEGER: u64 = 1 << 53;
/// Keywords that put what a schema says together with what others say.
const TOGETHER: [&str; 4] = ["allOf", "anyOf", "oneOf", "$ref"];

/// Check a schema and those within it.
///
/// # Errors
/// `InvalidRequest` with the first keyword whose value has another type, or numbers that cannot be
/// computed with.
pub(super) fn check(schema: &Value) -> Result<(), EngineError> {
    types(schema)?;
    let mut multiples = Vec::new();
    let is_together = collect_multiples(schema, &mut multiples);
    if multiples.contains(&(0, 0)) {
        return Err(invalid("`multipleOf` in the schema must be above 0"));
    }
    multiples.sort_unstable();
    multiples.dedup();
    if is_together && common_multiple(&multiples).is_none() {
        return Err(invalid(
            "the multiples (`multipleOf`) that the schema may put together have too large a common one: above 2^32",
        ));
    }
    Ok(())
}

/// Every `multipleOf`, as a number and how many of its digits are decimals, so far as it is below
/// 2^32. True if the schema puts schemas together.
fn collect_multiples(value: &Value, multiples: &mut Vec<(u32, u32)>) -> bool {
    match value {
        Value::Array(items) => items
            .iter()
            .fold(false, |any, item| collect_multiples(item, multiples) | any),
        Value::Object(fields) => {
            let number = fields.get("multipleOf").and_then(Value::as_f64);
            multiples.extend(number.and_then(decimal));
            let own = TOGETHER.iter().any(|name| fields.contains_key(*name));
            let parts = fields.values();
            parts.fold(own, |any, part| collect_multiples(part, multiples) | any)
        }
        _ => false,
    }
}

/// As llguidance reads a multiple; it says itself that others have too many digits.
fn decimal(value: f64) -> Option<(u32, u32)> {
    let (mut value, mut digits) = (value.abs(), 0);
    while value.fract() != 0.0 {
        value *= 10.0;
        digits += 1;
    }
    let fits = value <= f64::from(u32::MAX);
    fits.then_some((value as u32, if value == 0.0 { 0 } else { digits }))
}

/// The smallest common multiple of all, if 32 bits are enough to compute it in any order.
fn common_multiple(multiples: &[(u32, u32)]) -> Option<u32> {
    let most = multiples
        .iter()
        .map(|&(_, digits)| digits)
        .max()
        .unwrap_or(0);
    let mut all = 1_u32;
    for &(number, digits) in multiples {
        let scaled = number.checked_mul(10_u32.checked_pow(most - digits)?)?;
        all = all.checked_mul(scaled)? / gcd(all, scaled);
    }
    Some(all)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// An integer in a constant that a double does not tell from others.
fn large_integer(value: &Value) -> Option<&serde_json::Number> {
    match value {
        Value::Number(number) => {
            let size = number.as_i64().map(i64::unsigned_abs).or(number.as_u64());
            size.filter(|&size| size > MAX_INTEGER).map(|_| number)
        }
        Value::Array(items) => items.iter().find_map(large_integer),
        Value::Object(fields) => fields.values().find_map(large_integer),
        _ => None,
    }
}

fn types(schema: &Value) -> Result<(), EngineError> {
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
            all.iter().try_for_each(types)?;
        } else if SCHEMAS.contains(&name) {
            types(value)?;
        } else if OBJECTS.contains(&name) {
            let Some(all) = value.as_object() else {
                return wrong("an object of schemas");
            };
            all.values().try_for_each(types)?;
        } else if CONSTANTS.contains(&name)
            && let Some(number) = large_integer(value)
        {
            return Err(invalid(format!(
                "`{name}` in the schema has the integer {number}; they go up to 2^53 (say it as a text)"
            )));
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

    #[test]
    fn numbers_can_be_computed_with() {
        let together = |all: &[f64]| {
            let all: Vec<_> = all.iter().map(|it| json!({"multipleOf": it})).collect();
            json!({"allOf": all})
        };
        for right in [
            json!({"const": 9_007_199_254_740_992_u64, "enum": [-1, 1.5e300, "9007199254740993"]}),
            json!({"maximum": i64::MAX, "default": u64::MAX}),
            json!({"properties": {"a": {"multipleOf": 4_294_967_295_u64}, "b": {"multipleOf": 0.01}}}),
            together(&[60.0, 3600.0, 86400.0]),
            together(&[]),
        ] {
            assert!(check(&right).is_ok(), "{right}");
        }
        for (wrong, name) in [
            (json!({"const": 9_007_199_254_740_993_u64}), "`const`"),
            (json!({"items": {"enum": ["a", [i64::MIN]]}}), "`enum`"),
            (json!({"multipleOf": 0}), "`multipleOf`"),
            (together(&[65537.0, 65539.0]), "`multipleOf`"),
            (together(&[4_294_967_295.0, 0.1]), "`multipleOf`"),
        ] {
            let error = check(&wrong).unwrap_err().to_string();
            assert!(error.contains(name), "{wrong}: {error}");
        }
    }
}
