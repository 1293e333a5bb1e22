//! A turn of a conversation as templates read it: the dictionary Hugging Face's
//! `apply_chat_template` gets.
//!
//! What a turn does not have is not there, so that `'tool_calls' in message` tells. A call's
//! arguments are JSON text in OpenAI's format and a dictionary here, as templates expect and vLLM
//! passes them; text that is no JSON stays text.

use minijinja::Value;
use minijinja::value::ValueKind;

use crate::request::{Message, ToolCall};

/// The turn, with each of its texts as `text` makes it: those within a call's arguments too. `said` makes what the
/// model itself said, as far as the conversation can be believed.
pub(super) fn value(
    message: &Message,
    text: &dyn Fn(&str) -> String,
    said: &dyn Fn(&str) -> String,
) -> Value {
    let said = if message.role == "assistant" {
        said
    } else {
        text
    };
    let mut fields = vec![
        ("role", Value::from(text(&message.role))),
        ("content", Value::from(said(&message.content))),
    ];
    let reasoning = message.reasoning_content.as_ref();
    fields.extend(reasoning.map(|value| ("reasoning_content", Value::from(said(value)))));
    for (field, value) in [
        ("name", &message.name),
        ("tool_call_id", &message.tool_call_id),
    ] {
        fields.extend(
            value
                .as_ref()
                .map(|value| (field, Value::from(text(value)))),
        );
    }
    if !message.tool_calls.is_empty() {
        let calls = message.tool_calls.iter().map(|call| call_value(call, text));
        fields.push(("tool_calls", calls.collect()));
    }
    Value::from_pairs(fields)
}

fn call_value(call: &ToolCall, text: &dyn Fn(&str) -> String) -> Value {
    let arguments = match call.arguments.trim() {
        "" => Value::from_pairs::<_, &str, Value>([]),
        // serde_json itself refuses more than 128 levels.
        json => match serde_json::from_str::<Value>(json) {
            Ok(parsed) => rewritten(&parsed, text),
            Err(_) => Value::from(text(&call.arguments)),
        },
    };
    let function = Value::from_pairs([
        ("name", Value::from(text(&call.name))),
        ("arguments", arguments),
    ]);
    Value::from_pairs([
        ("id", Value::from(text(&call.id))),
        ("type", Value::from("function")),
        ("function", function),
    ])
}

/// The value with every text in it as `text` makes it. Its depth is that of JSON as it was parsed.
fn rewritten(value: &Value, text: &dyn Fn(&str) -> String) -> Value {
    let items = || value.try_iter().into_iter().flatten();
    match value.kind() {
        ValueKind::String => Value::from(text(value.as_str().unwrap_or_default())),
        ValueKind::Seq => items().map(|item| rewritten(&item, text)).collect(),
        ValueKind::Map => Value::from_pairs(items().map(|key| {
            let item = value.get_item(&key).unwrap_or_default();
            (rewritten(&key, text), rewritten(&item, text))
        })),
        _ => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::ChatTemplate;

    fn turn() -> Message {
        let call = |arguments: &str| ToolCall {
            id: "c1".into(),
            name: "look".into(),
            arguments: arguments.into(),
        };
        Message {
            tool_calls: vec![
                call(r#"{"where": ["<s>", {"b": 1, "a<s>": null}], "depth": 2.5}"#),
                call("not JSON <s>"),
                call(""),
            ],
            ..Message::new("assistant", "")
        }
    }

    fn render(source: &str, turns: &[Message]) -> String {
        let template = ChatTemplate::new(Some(source), "", "").unwrap();
        template.render(turns).unwrap()
    }

    #[test]
    fn calls_and_answers_are_there_as_templates_look_for_them() {
        let answer = Message {
            tool_call_id: Some("c1".into()),
            name: Some("look".into()),
            ..Message::new("tool", "5")
        };
        let source = "{% for m in messages %}{% if 'tool_calls' in m %}{% for c in m.tool_calls %}\
            {{ c.id }} {{ c.type }} {{ c.function.name }} {{ c.function.arguments.depth }};{% endfor %}\
            {% elif m.tool_call_id is defined %}{{ m.tool_call_id }} {{ m.name }} {{ m.content }}\
            {% else %}{{ m.name is defined }}{% endif %}|{% endfor %}";
        let turns = [turn(), answer, Message::new("user", "x")];
        assert_eq!(
            render(source, &turns),
            "c1 function look 2.5;c1 function look ;c1 function look ;|c1 look 5|False|"
        );
    }

    #[test]
    fn arguments_keep_their_order() {
        let source = "{% for c in messages[0].tool_calls %}{% for k in c.function.arguments %}{{ k }} {% endfor %}{% endfor %}";
        let mut turn = turn();
        turn.tool_calls.truncate(1);
        assert_eq!(render(source, &[turn]), "where depth ");
    }

    #[test]
    fn every_text_is_rewritten() {
        let mark = |text: &str| text.replace('<', "[").to_uppercase();
        let marked = value(&turn(), &mark, &mark);
        let shown = marked.to_string();
        assert!(
            !shown.contains('<') && shown.contains("[S>") && shown.contains("A[S>"),
            "{shown}"
        );
    }

    #[test]
    fn arguments_that_nest_without_end_stay_text() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let mut turn = turn();
        turn.tool_calls[0].arguments = deep.clone();
        let shown = render(
            "{{ messages[0].tool_calls[0].function.arguments }}",
            &[turn],
        );
        assert_eq!(shown, deep);
    }
}
