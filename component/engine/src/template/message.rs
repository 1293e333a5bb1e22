//! A turn of a conversation as templates read it: the dictionary Hugging Face's
//! `apply_chat_template` gets.
//!
//! A field that a turn does not have is absent, so that `'tool_calls' in message` tells. A call's
//! arguments are JSON text in OpenAI's format and a dictionary here, as templates expect and vLLM
//! passes them; text that is no JSON stays text.

use super::jinja::limits::Budget;
use super::jinja::{self, Error, Value, dict, json_value, text};
use crate::request::{Message, ToolCall};

/// The treatment of each text of a conversation.
#[derive(Clone, Copy)]
pub(super) struct Rewrite<'a> {
    /// To what users wrote.
    pub(super) text: &'a dyn Fn(&str) -> String,
    /// To what the model itself said, as far as the conversation can be believed.
    pub(super) said: &'a dyn Fn(&str) -> String,
}

/// Bytes of all texts of a turn.
pub(super) fn bytes(message: &Message) -> usize {
    let optional = [
        &message.name,
        &message.reasoning_content,
        &message.tool_call_id,
    ];
    let calls = message.tool_calls.iter();
    let calls = calls.map(|call| call.id.len() + call.name.len() + call.arguments.len());
    let optional = optional.into_iter().flatten().map(String::len);
    message.role.len() + message.content.len() + optional.chain(calls).sum::<usize>()
}

/// The turns, with each of their texts as `rewrite` makes it.
pub(super) fn list(
    messages: &[Message],
    rewrite: Rewrite,
    budget: &Budget,
) -> Result<Value, Error> {
    let turns = messages.iter();
    let turns = turns.map(|turn| value(turn, rewrite, budget));
    jinja::list(turns.collect::<Result<_, _>>()?, budget)
}

/// The turn, with each of its texts as `rewrite` makes it: those within a call's arguments too.
fn value(message: &Message, rewrite: Rewrite, budget: &Budget) -> Result<Value, Error> {
    let said = match &*message.role {
        "assistant" => rewrite.said,
        _ => rewrite.text,
    };
    let rewrite = rewrite.text;
    let mut fields = vec![
        ("role", text(rewrite(&message.role), budget)?),
        ("content", text(said(&message.content), budget)?),
    ];
    for (field, value, rewrite) in [
        ("reasoning_content", &message.reasoning_content, said),
        ("name", &message.name, rewrite),
        ("tool_call_id", &message.tool_call_id, rewrite),
    ] {
        if let Some(value) = value {
            fields.push((field, text(rewrite(value), budget)?));
        }
    }
    if !message.tool_calls.is_empty() {
        let calls = message.tool_calls.iter();
        let calls = calls.map(|call| call_value(call, rewrite, budget));
        let calls = calls.collect::<Result<_, _>>()?;
        fields.push(("tool_calls", jinja::list(calls, budget)?));
    }
    dict(fields, budget)
}

fn call_value(
    call: &ToolCall,
    rewrite: &dyn Fn(&str) -> String,
    budget: &Budget,
) -> Result<Value, Error> {
    let arguments = match call.arguments.trim() {
        "" => dict(Vec::new(), budget)?,
        json => match json_value(json, rewrite, budget) {
            Some(parsed) => parsed,
            None => text(rewrite(&call.arguments), budget)?,
        },
    };
    let function = vec![
        ("name", text(rewrite(&call.name), budget)?),
        ("arguments", arguments),
    ];
    let fields = vec![
        ("id", text(rewrite(&call.id), budget)?),
        ("type", text("function".into(), budget)?),
        ("function", dict(function, budget)?),
    ];
    dict(fields, budget)
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
        let template = ChatTemplate::new(Some(source), "", "");
        template.render(&turns.to_vec().into()).unwrap()
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
    fn arguments_keep_their_order_and_are_json_again() {
        let mut turn = turn();
        turn.tool_calls.truncate(1);
        assert_eq!(
            render(
                "{{ messages[0].tool_calls[0].function.arguments | tojson }}",
                &[turn]
            ),
            r#"{"where": ["<s>", {"b": 1, "a<s>": null}], "depth": 2.5}"#
        );
    }

    #[test]
    fn every_text_is_rewritten() {
        let template = ChatTemplate::new(Some("{{ messages }}"), "", "");
        let mark = |text: &str| text.replace('<', "[").to_uppercase();
        let rewrite = Rewrite {
            text: &mark,
            said: &mark,
        };
        let shown = template
            .render_texts(&vec![turn()].into(), rewrite)
            .unwrap();
        assert!(
            !shown.contains('<') && shown.contains("[S>") && shown.contains("A[S>"),
            "{shown}"
        );
    }

    #[test]
    fn arguments_that_nest_without_end_stay_text() {
        for depth in [40, 100, 100_000] {
            let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let mut turn = turn();
            turn.tool_calls[0].arguments = deep.clone();
            let source = "{{ messages[0].tool_calls[0].function.arguments }}";
            assert_eq!(render(source, &[turn]), deep);
        }
    }
}
