//! Conversations, as clients send them and as none may be.

use super::*;
use crate::engine::ToolCall;
use serde_json::json;

const MAX_MESSAGES: u32 = 20;

fn messages(value: Value) -> Result<Vec<Message>, ApiError> {
    sent(&json!({ "messages": value }).to_string())
}

fn sent(body: &str) -> Result<Vec<Message>, ApiError> {
    let value: Value = serde_json::from_str(body).unwrap();
    chat(&Object::top(&value)?, Raw::new(body), MAX_MESSAGES)
}

#[test]
fn roles_and_contents() {
    let read = messages(json!([
        {"role": "developer", "content": "be brief"},
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}], "name": "Al"},
        {"role": "assistant", "content": "c", "tool_calls": [], "refusal": null, "annotations": []},
        {"role": "tool", "content": "", "tool_call_id": "1"},
        {"role": "function", "content": "5", "name": "f"},
        {"role": "assistant", "content": null},
        {"role": "assistant"},
        {"role": "assistant", "content": null, "refusal": "no"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "never"}]},
        {"role": "assistant", "content": []},
    ]))
    .unwrap();
    let texts: Vec<_> = read
        .iter()
        .map(|m| (m.role.as_str(), m.content.as_str()))
        .collect();
    let expected = [
        ("system", "be brief"),
        ("system", "be kind"),
        ("user", "a\nb"),
        ("assistant", "c"),
        ("tool", ""),
        ("tool", "5"),
        ("assistant", ""),
        ("assistant", ""),
        ("assistant", "no"),
        ("assistant", "never"),
        ("assistant", ""),
    ];
    assert_eq!(texts, expected);
    assert_eq!(read[2].name.as_deref(), Some("Al"));
    assert_eq!(read[4].tool_call_id.as_deref(), Some("1"));
    assert_eq!(read[5].name.as_deref(), Some("f"));
    assert!(read.iter().all(|message| message.tool_calls.is_empty()));
}

#[test]
fn calls_come_in_three_shapes() {
    let function = json!({"name": "f", "arguments": "{\"a\": 1}"});
    let read = messages(json!([
        {"role": "assistant", "content": null, "reasoning": "hm", "tool_calls": [
            {"id": "1", "type": "function", "index": 0, "function": function},
            {"function": {"name": "g", "arguments": {"b": [2]}}},
            {"function": {"name": "h"}},
        ]},
        {"role": "assistant", "content": null, "function_call": function, "reasoning_content": "so"},
    ]))
    .unwrap();
    let call = |id: &str, name: &str, arguments: &str| ToolCall {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
    };
    let expected = [
        call("1", "f", "{\"a\": 1}"),
        call("", "g", "{\"b\":[2]}"),
        call("", "h", ""),
    ];
    assert_eq!(read[0].tool_calls, expected);
    assert_eq!(read[1].tool_calls, [call("", "f", "{\"a\": 1}")]);
    assert_eq!(read[0].reasoning_content.as_deref(), Some("hm"));
    assert_eq!(read[1].reasoning_content.as_deref(), Some("so"));
}

#[test]
fn arguments_keep_the_order_they_were_sent_in() {
    let turn = |call: &str| {
        format!(r#"{{"messages":[{{"content":"a","role":"user"}},{{"role":"assistant",{call}}}]}}"#)
    };
    let object = r#"{"z":1.0, "a":{"y":[1e3],"b":"}"}}"#;
    for call in [
        format!(r#""tool_calls":[{{"function":{{"name":"f","arguments":{object}}}}}]"#),
        format!(r#""function_call":{{"arguments":{object},"name":"f"}}"#),
    ] {
        let read = sent(&turn(&call)).unwrap();
        assert_eq!(read[1].tool_calls[0].arguments, object);
    }
}

#[test]
fn wrong_messages_are_named() {
    let assistant = |field: &str, value: Value| json!([{"role": "assistant", field: value}]);
    for (value, param) in [
        (json!(null), "messages"),
        (json!("hi"), "messages"),
        (json!([]), "messages"),
        (json!(vec![0; MAX_MESSAGES as usize + 1]), "messages"),
        (json!(["hi"]), "messages[0]"),
        (json!([{"content": "x"}]), "messages[0].role"),
        (
            json!([{"role": "user", "content": "x"}, {"role": "wizard", "content": "x"}]),
            "messages[1].role",
        ),
        (json!([{"role": 1, "content": "x"}]), "messages[0].role"),
        (json!([{"role": "user"}]), "messages[0].content"),
        (
            json!([{"role": "user", "content": null}]),
            "messages[0].content",
        ),
        (json!([{"role": "tool"}]), "messages[0].content"),
        (
            json!([{"role": "user", "content": 5}]),
            "messages[0].content",
        ),
        (
            json!([{"role": "user", "content": ["x"]}]),
            "messages[0].content[0]",
        ),
        (
            json!([{"role": "user", "content": [{"text": "x"}]}]),
            "messages[0].content[0].type",
        ),
        (
            json!([{"role": "user", "content": [{"type": "text"}]}]),
            "messages[0].content[0].text",
        ),
        (
            json!([{"role": "user", "content": [{"type": "refusal", "text": "x"}]}]),
            "messages[0].content[0].refusal",
        ),
        (
            json!([{"role": "user", "content": [{"type": "text", "text": "x", "colour": 1}]}]),
            "messages[0].content[0].colour",
        ),
        (
            json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]),
            "messages[0].content[0].type",
        ),
        (
            json!([{"role": "user", "content": "x", "colour": "red"}]),
            "messages[0].colour",
        ),
        (
            json!([{"role": "user", "content": "x", "tool_calls": [{"function": {"name": "f"}}]}]),
            "messages[0].tool_calls",
        ),
        (
            json!([{"role": "user", "content": "x", "function_call": {"name": "f"}}]),
            "messages[0].function_call",
        ),
        (assistant("tool_calls", json!({})), "messages[0].tool_calls"),
        (
            assistant("tool_calls", json!([1])),
            "messages[0].tool_calls[0]",
        ),
        (
            assistant("tool_calls", json!([{}])),
            "messages[0].tool_calls[0].function",
        ),
        (
            assistant("tool_calls", json!([{"type": "custom", "custom": {}}])),
            "messages[0].tool_calls[0].type",
        ),
        (
            assistant("tool_calls", json!([{"function": {}}])),
            "messages[0].tool_calls[0].function.name",
        ),
        (
            assistant(
                "tool_calls",
                json!([{"function": {"name": "f", "arguments": 1}}]),
            ),
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            assistant("tool_calls", json!([{"function": {"name": "f", "x": 1}}])),
            "messages[0].tool_calls[0].function.x",
        ),
        (
            assistant(
                "tool_calls",
                json!(vec![json!({"function": {"name": "f"}}); 129]),
            ),
            "messages[0].tool_calls",
        ),
        (
            assistant("function_call", json!("f")),
            "messages[0].function_call",
        ),
        (assistant("name", json!(1)), "messages[0].name"),
        (assistant("refusal", json!(1)), "messages[0].refusal"),
        (assistant("audio", json!({"id": "x"})), "messages[0].audio"),
    ] {
        let error = messages(value.clone()).unwrap_err();
        assert_eq!(
            (error.status, error.param.as_deref()),
            (400, Some(param)),
            "{value}"
        );
    }
}

#[test]
fn arguments_count_as_values_although_they_are_text() {
    let heavy = format!("[{}]", vec!["{}"; 15_000].join(","));
    let turn = json!({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": heavy}}]});
    messages(json!([turn])).unwrap();
    assert_eq!(messages(json!([turn, turn])).unwrap_err().status, 413);
}
