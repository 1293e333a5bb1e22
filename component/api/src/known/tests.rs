//! Every row of the table: what it refuses, what it lets pass, and that the documentation has it.

use super::*;
use crate::error::ApiError;
use serde_json::json;
use std::collections::HashSet;

/// Values that ask for something, of every type.
fn active() -> Vec<Value> {
    vec![
        json!(true),
        json!("x"),
        json!(7),
        json!(0.25),
        json!([1]),
        json!(["x"]),
        json!({"x": 1}),
    ]
}

fn checked(place: Place, object: &Value) -> Result<(), ApiError> {
    check(&Object::top(object).unwrap(), place)
}

/// All rows, each with its place.
fn rows() -> impl Iterator<Item = (Place, &'static Field)> {
    let of = |group: &'static Group| group.fields.iter().map(move |field| (group.place, field));
    table::groups().flat_map(of)
}

#[test]
fn each_refused_field_is_refused_and_passes_where_it_asks_for_nothing() {
    let mut tried = 0;
    for (place, field) in rows() {
        let Rule::Refuse { idle, unless } = field.rule else {
            continue;
        };
        let is_idle = |value: &Value| idle.iter().any(|idle| is(value, idle));
        for value in active().into_iter().filter(|value| !is_idle(value)) {
            let body = json!({ field.name: value });
            let error = checked(place, &body).unwrap_err();
            assert_eq!(
                (error.status, error.code, error.param.as_deref()),
                (400, Some("unsupported_parameter"), Some(field.name)),
                "{body}"
            );
            assert!(error.message.contains(field.note), "{}", error.message);
            if let Some((other, off)) = unless {
                let off: Value = serde_json::from_str(off).unwrap();
                let body = json!({ field.name: value, other: off });
                checked(place, &body).unwrap();
            }
            tried += 1;
        }
        let nothing = idle.iter().map(|json| serde_json::from_str(json).unwrap());
        for value in nothing.chain([Value::Null]) {
            let body = json!({ field.name: value });
            assert_eq!(checked(place, &body), Ok(()), "{body}");
        }
    }
    assert!(tried > 500, "{tried}");
}

#[test]
fn harmless_and_honoured_fields_pass_the_table_with_any_value() {
    for (place, field) in rows() {
        if matches!(field.rule, Rule::Refuse { .. }) {
            continue;
        }
        for value in active() {
            checked(place, &json!({ field.name: value })).unwrap();
        }
    }
}

#[test]
fn no_field_has_two_rows() {
    for place in [Place::Chat, Place::Text] {
        let mut names = HashSet::new();
        for field in table::rows(place) {
            assert!(names.insert(field.name), "{}", field.name);
        }
        assert!(names.len() > 250);
    }
    let mut names = HashSet::new();
    for field in table::rows(Place::Embeddings) {
        assert!(names.insert(field.name), "{}", field.name);
    }
    let mut pairs = HashSet::new();
    for (place, field) in rows() {
        assert!(
            pairs.insert(format!("{place:?} {}", field.name)),
            "{}",
            field.name
        );
        assert!(
            !field.note.is_empty() && !field.note.ends_with('.'),
            "{}",
            field.name
        );
    }
}

#[test]
fn unknown_fields_are_refused_as_openai_does() {
    let error = checked(Place::Chat, &json!({"temprature": 0})).unwrap_err();
    assert_eq!(error.status, 400);
    assert_eq!(
        error.message,
        "Unrecognized request argument supplied: temprature"
    );
    assert_eq!(error.param.as_deref(), Some("temprature"));
    let long = "x".repeat(100_000);
    let error = checked(Place::Text, &json!({ long: 1 })).unwrap_err();
    assert!(error.message.len() < 200);
    // Names are told apart by case, as in OpenAI's schema.
    assert!(checked(Place::Chat, &json!({"Temperature": 1})).is_err());
    checked(Place::Chat, &json!({"temprature": null})).unwrap();
    let body = json!({"a": {"colour": 1}});
    let object = Object::top(&body).unwrap().object("a").unwrap().unwrap();
    let error = check(&object, Place::Message).unwrap_err();
    assert_eq!(error.message, "Unknown parameter: 'a.colour'.");
}

#[test]
fn numbers_are_compared_as_numbers() {
    for value in [json!(1), json!(1.0), json!(1e0)] {
        checked(Place::Chat, &json!({ "num_beams": value })).unwrap();
    }
    assert!(checked(Place::Chat, &json!({"num_beams": true})).is_err());
    assert!(checked(Place::Chat, &json!({"num_beams": "1"})).is_err());
}

/// The table as `docs/api.md` shows it.
fn documented() -> String {
    let mut text = String::new();
    for (place, title) in [
        (Place::Body, "Both completion routes"),
        (Place::Chat, "`/v1/chat/completions`"),
        (Place::Text, "`/v1/completions`"),
        (Place::Embeddings, "`/v1/embeddings`"),
        (Place::Tokenize, "`/tokenize`"),
        (Place::Detokenize, "`/detokenize`"),
        (Place::Template, "`/apply-template`"),
        (
            Place::LlamaCompletion,
            "`/completion`, beside those of both completion routes",
        ),
        (
            Place::PromptObject,
            "A prompt of `/completion` or an input that is an object",
        ),
        (Place::PromptPart, "One of its `content`"),
        (Place::Responses, "`/v1/responses`"),
        (Place::ResponsesText, "`text` of a response's request"),
        (
            Place::ResponsesFormat,
            "`text.format`, of the type json_schema",
        ),
        (
            Place::ResponsesReasoning,
            "`reasoning` of a response's request",
        ),
        (Place::ResponsesMessage, "One of `input`: a message"),
        (Place::ResponsesCall, "One of `input`: a call"),
        (Place::ResponsesOutput, "One of `input`: a call's output"),
        (Place::ResponsesThought, "One of `input`: reasoning"),
        (
            Place::ResponsesTool,
            "One of `tools` of a response's request",
        ),
        (
            Place::ResponsesNamespace,
            "One of `tools` of a response's request: a namespace",
        ),
        (Place::Messages, "`/v1/messages`"),
        (Place::MessagesThinking, "`thinking` of `/v1/messages`"),
        (Place::MessagesOutput, "`output_config`"),
        (Place::MessagesFormat, "`output_config.format`"),
        (Place::MessagesChoice, "`tool_choice` of `/v1/messages`"),
        (Place::MessagesTool, "One of `tools` of `/v1/messages`"),
        (Place::MessagesTurn, "One of `messages` of `/v1/messages`"),
        (Place::MessagesText, "A block: text"),
        (Place::MessagesThought, "A block: thinking"),
        (Place::MessagesCall, "A block: tool_use"),
        (Place::MessagesResult, "A block: tool_result"),
        (Place::OllamaChat, "`/api/chat`"),
        (Place::OllamaGenerate, "`/api/generate`"),
        (
            Place::OllamaOptions,
            "`options` of `/api/chat` and `/api/generate`",
        ),
        (Place::OllamaMessage, "One of `messages` of `/api/chat`"),
        (Place::OllamaCall, "One of `tool_calls` of `/api/chat`"),
        (Place::OllamaFunction, "`function` of it"),
        (Place::OllamaShow, "`/api/show`"),
        (Place::OllamaEmbed, "`/api/embed`"),
        (Place::OllamaEmbedOne, "`/api/embeddings`"),
        (Place::ResponseFormat, "`response_format`"),
        (Place::JsonSchema, "`response_format.json_schema`"),
        (Place::StructuredOutputs, "`structured_outputs`"),
        (Place::StreamOptions, "`stream_options`"),
        (Place::Message, "One of `messages`"),
        (Place::Part, "One of a message's `content`"),
        (Place::Tool, "One of `tools`"),
        (Place::ToolCall, "One of a message's `tool_calls`"),
        (Place::Function, "`function` of a call, and `function_call`"),
    ] {
        text += &format!("### {title}\n");
        for (rule, name) in [(0, "Honoured"), (1, "Refused"), (2, "Harmless")] {
            let fields: Vec<_> = rows()
                .filter(|(at, field)| *at == place && order(field.rule) == rule)
                .map(|(_, field)| line(field))
                .collect();
            if !fields.is_empty() {
                text += &format!("\n{name}:\n\n{}", fields.concat());
            }
        }
        text += "\n";
    }
    text
}

fn order(rule: Rule) -> u8 {
    match rule {
        Rule::Honour => 0,
        Rule::Refuse { .. } => 1,
        Rule::Harmless => 2,
    }
}

/// A list item; where it would be too long for a line, in two.
fn line(field: &Field) -> String {
    let mut head = format!("- `{}`", field.name);
    if let Rule::Refuse { idle, unless } = field.rule {
        let unless = unless.map(|(other, off)| format!("any with `{other}` {off}"));
        let idle: Vec<String> = idle
            .iter()
            .map(|json| format!("`{json}`"))
            .chain(unless)
            .collect();
        if !idle.is_empty() {
            head += &format!(" (passes: {})", idle.join(", "));
        }
    }
    let whole = format!("{head}: {}\n", field.note);
    if whole.len() <= 101 {
        whole
    } else {
        format!("{head}:\n  {}\n", field.note)
    }
}

#[test]
fn the_documentation_is_the_table() {
    const BEGIN: &str = "<!-- The table begins -->\n\n";
    const END: &str = "<!-- The table ends -->\n";
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/api.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (shown, after) = rest.split_once(END).unwrap();
    let table = documented();
    if std::env::var_os("STERNA_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    let hint = "run this test with STERNA_WRITE_DOCS=1 to bring docs/api.md up to date";
    assert!(shown == table, "{hint}");
    assert!(
        table.lines().all(|line| line.len() <= 100),
        "a note is too long"
    );
}
