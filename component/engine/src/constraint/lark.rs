//! JSON Schemas within a Lark grammar (`%json { ... }`): they have the limits and the options of
//! those that come alone.

use serde_json::{Deserializer, Value};

use super::{invalid, schema};
use crate::error::EngineError;

const KEYWORD: &str = "%json";

/// A Lark grammar whose schemas were checked.
pub(super) struct Checked {
    /// The grammar, its schemas with their compiler's options.
    pub(super) grammar: String,
    /// The same with nothing in the place of each schema.
    pub(super) outline: String,
}

/// Check the schemas of a Lark grammar. One that says `"x-guidance": {"lenient": true}` is a
/// lenient one.
///
/// # Errors
/// `InvalidRequest` where one of them is no JSON Schema, or too deep.
pub(super) fn check_schemas(lark: &str) -> Result<Checked, EngineError> {
    let mut checked = Checked {
        grammar: String::new(),
        outline: String::new(),
    };
    let mut rest = lark;
    while let Some(at) = rest.find(KEYWORD) {
        let (before, behind) = rest.split_at(at + KEYWORD.len());
        let mut values = Deserializer::from_str(behind).into_iter::<Value>();
        let Some(Ok(value)) = values.next() else {
            return Err(invalid(format!(
                "`{KEYWORD}` in the grammar is not followed by a JSON Schema"
            )));
        };
        let strict = value.pointer("/x-guidance/lenient") != Some(&Value::Bool(true));
        rest = &behind[values.byte_offset()..];
        let schema = schema::read(&value.to_string(), strict)?;
        checked.grammar += before;
        checked.grammar += &format!(" {schema}");
        checked.outline += &before[..at];
    }
    checked.grammar += rest;
    checked.outline += rest;
    Ok(checked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_found_and_what_is_around_them_stays() {
        let lark = "start: \"a\" x\nx: %json\n{\"b\": {}, \"a\": [1, \"}\"]} \"y\" | %json {}\n";
        let Checked { grammar, outline } = check_schemas(lark).unwrap();
        assert_eq!(outline, "start: \"a\" x\nx:  \"y\" | \n");
        assert!(
            grammar
                .starts_with("start: \"a\" x\nx: %json {\"b\":{},\"a\":[1,\"}\"],\"x-guidance\":")
        );
        assert_eq!(grammar.matches("\"lenient\":false").count(), 2);
        let lenient = r#"start: %json {"x-guidance": {"lenient": true}}"#;
        assert!(
            check_schemas(lenient)
                .unwrap()
                .grammar
                .contains("\"lenient\":true")
        );
        assert_eq!(
            check_schemas("start: \"x\"").unwrap().grammar,
            "start: \"x\""
        );
    }

    #[test]
    fn they_have_the_limits_of_others() {
        let deep = format!("start: %json {}{}", "{\"a\":".repeat(70), "}".repeat(70));
        let refs: String = (0..300)
            .map(|n| {
                format!(
                    "\"d{n}\":{{\"allOf\":[{{\"$ref\":\"#/$defs/d{}\"}}]}},",
                    n + 1
                )
            })
            .collect();
        let chain =
            format!("start: %json {{\"$ref\":\"#/$defs/d0\",\"$defs\":{{{refs}\"d300\":{{}}}}}}");
        for lark in [
            deep.as_str(),
            &chain,
            "start: %json",
            "start: %json x",
            "start: %json [1]",
        ] {
            assert!(
                check_schemas(lark).is_err(),
                "{}",
                &lark[..20.min(lark.len())]
            );
        }
    }
}
