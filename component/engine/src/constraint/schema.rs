//! A JSON Schema as llguidance takes it, once its depth is bounded: its compiler goes from each
//! schema to those within it and to those that it refers to, one call within another.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::grammar::MAX_DEPTH;
use super::{invalid, keywords};
use crate::error::EngineError;

/// Schemas that are referred to, at most.
const MAX_REFERRED: usize = 500;
/// Levels of arrays and objects, references followed, at most.
const MAX_LEVELS: usize = 200;

/// Properties of one object at most: compiling looks for each of them among all others.
const MAX_PROPERTIES: usize = 1000;

/// Values that alternatives come to together with what stands beside them, at most: their compiler
/// writes each alternative out with all of that.
const MAX_MERGED: usize = 200_000;

/// Blanks between two parts of a JSON text: one space, or a line break and an indentation. Without
/// an end to them a weak model writes nothing else.
const BLANKS: &str = r" |\n[ \t]{0,40}";

/// Read a schema.
///
/// # Errors
/// `InvalidRequest` where it is no JSON object, or too deep.
pub(super) fn read(text: &str, strict: bool) -> Result<Value, EngineError> {
    let schema: Value = serde_json::from_str(text)
        .map_err(|error| invalid(format!("the schema is no JSON: {error}")))?;
    match &schema {
        Value::Bool(true) => return Ok(with_options(json!({}), strict)),
        Value::Object(_) => {}
        _ => return Err(invalid("the schema must be an object")),
    }
    if depth(&schema) > MAX_DEPTH {
        return Err(invalid(format!(
            "the schema has more than {MAX_DEPTH} levels"
        )));
    }
    keywords::check(&schema)?;
    let widest = widest(&schema);
    if widest > MAX_PROPERTIES {
        return Err(invalid(format!(
            "the schema has an object of {widest} properties, at most {MAX_PROPERTIES} are allowed"
        )));
    }
    let values = values(&schema);
    if merged(&schema, values) > MAX_MERGED {
        return Err(invalid(format!(
            "the schema puts more than {MAX_MERGED} values together: alternatives (anyOf, oneOf, several types) beside \
             others; take apart what each of them needs"
        )));
    }
    let referred = referred(&schema);
    if referred.len() > MAX_REFERRED {
        return Err(invalid(format!(
            "the schema refers to {} others, at most {MAX_REFERRED} are allowed",
            referred.len()
        )));
    }
    if levels(&schema, referred) > MAX_LEVELS {
        return Err(invalid(format!(
            "the schema has more than {MAX_LEVELS} levels once its references are followed"
        )));
    }
    Ok(with_options(schema, strict))
}

/// Any object.
pub(super) fn any_object() -> Value {
    with_options(json!({"type": "object"}), true)
}

/// A schema with the options of its compiler: what a lenient one asks for and cannot be enforced is
/// passed over, and `oneOf` is `anyOf`.
fn with_options(mut schema: Value, strict: bool) -> Value {
    if let Value::Object(fields) = &mut schema {
        let options = json!({
            "whitespace_pattern": BLANKS,
            "lenient": !strict,
            "coerce_one_of": !strict,
        });
        fields.insert("x-guidance".into(), options);
    }
    schema
}

/// The values of an array or object.
fn parts(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(fields) => Box::new(fields.values()),
        _ => Box::new(std::iter::empty()),
    }
}

/// The levels of arrays and objects; JSON's reader allows 128.
fn depth(value: &Value) -> usize {
    let deepest = parts(value).map(depth).max();
    deepest.map_or(0, |deepest| deepest + 1)
}

/// The most fields of an object, and the most names of a list of them.
fn widest(value: &Value) -> usize {
    let own = match value {
        Value::Object(fields) => {
            let required = fields.get("required").and_then(Value::as_array);
            fields.len().max(required.map_or(0, Vec::len))
        }
        _ => 0,
    };
    parts(value).map(widest).fold(own, usize::max)
}

/// Values within a value, itself counted.
fn values(value: &Value) -> usize {
    1 + parts(value).map(values).sum::<usize>()
}

/// The ways in which an object's alternatives can be chosen.
fn alternatives(value: &Value) -> usize {
    let Value::Object(fields) = value else {
        return 1;
    };
    let of_field = |(name, value): (&String, &Value)| match (name.as_str(), value) {
        ("anyOf" | "oneOf", Value::Array(all)) => {
            all.iter().map(alternatives).fold(0, usize::saturating_add)
        }
        ("type", Value::Array(types)) => types.len(),
        ("allOf", Value::Array(all)) => all.iter().map(alternatives).fold(1, usize::saturating_mul),
        _ => 1,
    };
    let ways = fields.iter().map(of_field);
    ways.fold(1, |all, ways| all.saturating_mul(ways.max(1)))
}

/// The values that a schema's alternatives come to; `all` are those of the whole schema, of which
/// an object that refers to another may have any.
fn merged(value: &Value, all: usize) -> usize {
    let mut own = 0;
    if let Value::Object(fields) = value {
        let ways = alternatives(value);
        if ways > 1 {
            let beside = fields
                .iter()
                .filter(|(name, _)| !matches!(name.as_str(), "anyOf" | "oneOf" | "type"));
            let beside = beside.map(|(name, value)| match name.as_str() {
                "$ref" => all,
                _ => values(value),
            });
            own = ways.saturating_mul(beside.fold(0, usize::saturating_add));
        }
    }
    let within = parts(value).map(|part| merged(part, all));
    within.fold(own, usize::saturating_add)
}

/// The references within a value.
fn referred(value: &Value) -> HashSet<&str> {
    let mut found = HashSet::new();
    let mut left = vec![value];
    while let Some(value) = left.pop() {
        if let Some(Value::String(reference)) = value.get("$ref") {
            found.insert(reference.as_str());
        }
        left.extend(parts(value));
    }
    found
}

/// A bound on the levels of the schemas that refer to each other one after the other. What comes
/// back to itself, and what refers to that, counts as if all of it did.
fn levels(schema: &Value, references: HashSet<&str>) -> usize {
    let mut left: HashMap<&str, (usize, HashSet<&str>)> = HashMap::new();
    for reference in references {
        // One that leads nowhere is the compiler's to refuse.
        if let Some(target) = find(schema, reference) {
            left.insert(reference, (depth(target) + 1, referred(target)));
        }
    }
    let mut longest: HashMap<&str, usize> = HashMap::new();
    let mut most = 0;
    loop {
        let is_done = |to: &HashSet<&str>| to.iter().all(|name| !left.contains_key(name));
        let done = left.iter().filter(|(_, (_, to))| is_done(to));
        let done: Vec<&str> = done.map(|(name, _)| *name).collect();
        if done.is_empty() {
            break;
        }
        for name in done {
            let Some((own, to)) = left.remove(name) else {
                continue;
            };
            let behind = to.iter().filter_map(|name| longest.get(name)).max();
            let length = own + behind.unwrap_or(&0);
            most = most.max(length);
            longest.insert(name, length);
        }
    }
    most + left.values().map(|(own, _)| own).sum::<usize>()
}

/// The place that a reference names.
fn find<'a>(schema: &'a Value, reference: &str) -> Option<&'a Value> {
    let path = reference.strip_prefix('#')?;
    let steps = path.split('/').filter(|step| !step.is_empty());
    steps.into_iter().try_fold(schema, |at, step| match at {
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        other => other.get(step),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels_of(schema: &Value) -> usize {
        levels(schema, referred(schema))
    }

    #[test]
    fn what_alternatives_come_to_is_bounded() {
        let merged_of = |schema: &Value| merged(schema, values(schema));
        assert_eq!(
            merged_of(&json!({"properties": {"a": {"type": "string"}}})),
            0
        );
        // Two ways, each with the three values of `properties`.
        let two = json!({"anyOf": [{}, {}], "properties": {"a": {"type": "string"}}});
        assert_eq!(merged_of(&two), 6);
        let squared = json!({"allOf": [{"anyOf": [{}, {}, {}]}, {"anyOf": [{}, {}, {}]}]});
        assert!(merged_of(&squared) >= 9);
        let wide =
            json!({"anyOf": vec![json!({}); 1000], "properties": {"p": {"enum": vec![1; 1000]}}});
        assert!(read(&wide.to_string(), true).is_err());
        let plain =
            json!({"anyOf": vec![json!({"properties": {"p": {"enum": vec![1; 100]}}}); 100]});
        assert!(read(&plain.to_string(), true).is_ok());
    }

    #[test]
    fn levels_follow_references() {
        let chain = json!({"$ref": "#/$defs/a", "$defs": {
            "a": {"items": {"$ref": "#/$defs/b"}},
            "b": {"properties": {"x": {"$ref": "#/$defs/c"}}},
            "c": {},
        }});
        // `a` has 2 levels, `b` 3, `c` none, and one more for each reference.
        assert_eq!(levels_of(&chain), 8);
        let tree = json!({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}});
        assert_eq!(levels_of(&tree), 3);
        assert_eq!(levels_of(&json!({"$ref": "#/nowhere"})), 0);
        assert!(levels_of(&json!({"items": {"$ref": "#"}})) > 1);
    }
}
