//! Every spelling of a grammar, and what is wrong with some.

use super::*;
use serde_json::json;

fn of(body: &Value) -> Result<Option<Structured>, ApiError> {
    let text = body.to_string();
    read(&Object::top(body).unwrap(), Raw::new(&text))
}

fn schema(text: &str, strict: bool) -> Grammar {
    Grammar::JsonSchema(JsonSchema {
        schema: text.into(),
        strict,
    })
}

#[test]
fn each_spelling_is_understood() {
    let integer = r#"{"type":"integer"}"#;
    let value = json!({"type": "integer"});
    let gbnf = "root ::= \"a\"";
    let lark = "start: \"a\"";
    for (body, grammar) in [
        (json!({}), None),
        (json!({"response_format": null}), None),
        (json!({"response_format": {}}), None),
        (json!({"response_format": {"type": "text"}}), None),
        (
            json!({"response_format": {"type": "json_object"}}),
            Some(Grammar::JsonObject),
        ),
        (
            json!({"response_format": {"type": "json_object", "schema": value}}),
            Some(schema(integer, true)),
        ),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": value}}}),
            Some(schema(integer, false)),
        ),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"schema": value, "strict": true}}}),
            Some(schema(integer, true)),
        ),
        (
            json!({"response_format": {"type": "json", "value": value}}),
            Some(schema(integer, true)),
        ),
        (
            json!({"response_format": {"type": "json_schema", "schema": integer}}),
            Some(schema(integer, true)),
        ),
        (
            json!({"response_format": {"type": "regex", "value": "a+"}}),
            Some(Grammar::Regex("a+".into())),
        ),
        (
            json!({"response_format": {"type": "grammar", "grammar": lark}}),
            Some(Grammar::Lark(lark.into())),
        ),
        (json!({"structured_outputs": {}}), None),
        (
            json!({"structured_outputs": {"json": integer}}),
            Some(schema(integer, true)),
        ),
        (
            json!({"structured_outputs": {"choice": ["a", "b"], "regex": null}}),
            Some(Grammar::Choice(vec!["a".into(), "b".into()])),
        ),
        (
            json!({"structured_outputs": {"json_object": true, "regex": ""}}),
            Some(Grammar::JsonObject),
        ),
        (json!({"structured_outputs": {"json_object": false}}), None),
        (json!({"guided_json": value}), Some(schema(integer, true))),
        (
            json!({"guided_grammar": gbnf}),
            Some(Grammar::Gbnf(gbnf.into())),
        ),
        (
            json!({"guided_regex": "x"}),
            Some(Grammar::Regex("x".into())),
        ),
        (json!({"guided_choice": []}), None),
        (json!({"json_schema": integer}), Some(schema(integer, true))),
        (json!({"grammar": gbnf}), Some(Grammar::Gbnf(gbnf.into()))),
        (json!({"ebnf": gbnf}), Some(Grammar::Gbnf(gbnf.into()))),
        (json!({"format": "json"}), Some(Grammar::JsonObject)),
        (json!({"format": value}), Some(schema(integer, true))),
        (json!({"format": ""}), None),
        (
            json!({"regex": "x", "guided_regex": "x"}),
            Some(Grammar::Regex("x".into())),
        ),
    ] {
        let read = of(&body).unwrap();
        assert_eq!(read.map(|read| read.grammar), grammar, "{body}");
    }
}

#[test]
fn a_schema_keeps_its_order() {
    let text = r#"{"guided_json": {"properties": {"z": {}, "a": {}}}}"#;
    let body: Value = serde_json::from_str(text).unwrap();
    let read = read(&Object::top(&body).unwrap(), Raw::new(text)).unwrap();
    let wanted = schema(r#"{"properties": {"z": {}, "a": {}}}"#, true);
    assert_eq!(read.unwrap().grammar, wanted);
}

#[test]
fn a_chat_may_reason_first() {
    let wanted = of(&json!({"regex": "x"})).unwrap().unwrap();
    assert!(wanted.constraint(true).after_reasoning);
    assert!(!wanted.constraint(false).after_reasoning);
}

#[test]
fn what_is_wrong_names_its_field() {
    let format = |format: Value| json!({ "response_format": format });
    for (body, param) in [
        (format(json!(1)), "response_format"),
        (format(json!({"schema": {}})), "response_format.type"),
        (format(json!({"type": 1})), "response_format.type"),
        (format(json!({"type": "yaml"})), "response_format.type"),
        (format(json!({"type": "json"})), "response_format.value"),
        (
            format(json!({"type": "json_schema"})),
            "response_format.json_schema",
        ),
        (
            format(json!({"type": "json_schema", "json_schema": {}})),
            "response_format.json_schema.schema",
        ),
        (
            format(json!({"type": "json_schema", "json_schema": {"schema": 3}})),
            "response_format.json_schema.schema",
        ),
        (
            format(json!({"type": "json_schema", "json_schema": {"schema": {}, "strict": 1}})),
            "response_format.json_schema.strict",
        ),
        (
            format(json!({"type": "json_schema", "json_schema": {"schema": {}, "colour": 1}})),
            "response_format.json_schema.colour",
        ),
        (format(json!({"type": "regex"})), "response_format.pattern"),
        (
            format(json!({"type": "grammar"})),
            "response_format.grammar",
        ),
        (
            json!({"structured_outputs": {"regex": "a", "json": {}}}),
            "structured_outputs.regex",
        ),
        (
            json!({"structured_outputs": {"structural_tag": "x"}}),
            "structured_outputs.structural_tag",
        ),
        (json!({"guided_json": 3}), "guided_json"),
        (json!({"guided_choice": "a"}), "guided_choice"),
        (json!({"guided_choice": ["a", 1]}), "guided_choice[1]"),
        (json!({"guided_regex": ["a"]}), "guided_regex"),
        (json!({"format": "yaml"}), "format"),
        (json!({"format": 1}), "format"),
        (json!({"regex": "a", "grammar": "start: \"a\""}), "regex"),
    ] {
        let error = of(&body).unwrap_err();
        assert_eq!(
            (error.status, error.param.as_deref()),
            (400, Some(param)),
            "{body}"
        );
    }
}
