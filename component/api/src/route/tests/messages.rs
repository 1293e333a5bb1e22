//! `/v1/messages`: what the engine is asked, and the answer, whole and as events.

use super::known_fields::Effect;
use super::*;
use crate::engine::{Event, Finish, FinishReason, Prompt, Usage};
use crate::known::Place;

const MESSAGES: &str = "/v1/messages";
const COUNT: &str = "/v1/messages/count_tokens";

pub(super) fn hello() -> Value {
    json!({"max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]})
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

fn of(name: &str, value: Value) -> Value {
    with(hello(), name, value)
}

fn tool() -> Value {
    json!({"name": "f", "description": "d", "input_schema": {"z": 1, "a": 2}})
}

/// A conversation with this message before the user's.
fn after(message: Value) -> Value {
    of(
        "messages",
        json!([message, {"role": "user", "content": "Hello"}]),
    )
}

fn block(role: &str, block: Value) -> Value {
    after(json!({"role": role, "content": [block]}))
}

/// A case for each honoured field.
pub(super) fn effects() -> Vec<Effect> {
    let mut effects = Vec::new();
    let mut add = |place, name, without: Value, with: Value| {
        effects.push((place, name, MESSAGES, (without, with)));
    };
    for (name, value) in [
        ("model", json!("other")),
        ("max_tokens", json!(3)),
        ("messages", json!([{"role": "user", "content": "x"}])),
        ("system", json!("Be brief.")),
        ("temperature", json!(0.5)),
        ("top_p", json!(0.5)),
        ("top_k", json!(5)),
        ("stop_sequences", json!(["x"])),
        ("stream", json!(true)),
        ("thinking", json!({"type": "disabled"})),
        ("tools", json!([tool()])),
        ("output_config", json!({"format": {"type": "x"}})),
        ("output_format", json!({"type": "x"})),
        ("chat_template_kwargs", json!({"a": 1})),
        ("cache_salt", json!("me")),
        ("priority", json!(1)),
        ("timeout", json!(1.5)),
        ("resume", json!("x")),
    ] {
        add(Place::Messages, name, hello(), of(name, value));
    }
    let with_tools = |choice: Value| with(of("tools", json!([tool()])), "tool_choice", choice);
    add(
        Place::Messages,
        "tool_choice",
        of("tools", json!([tool()])),
        with_tools(json!({"type": "none"})),
    );
    let mut within =
        |place, outer: &dyn Fn(Value) -> Value, plain: Value, fields: &[(&'static str, Value)]| {
            for (name, value) in fields {
                let changed = with(plain.clone(), name, value.clone());
                add(place, name, outer(plain.clone()), outer(changed));
            }
        };
    let thinking = |it| of("thinking", it);
    within(
        Place::MessagesThinking,
        &thinking,
        json!({"type": "enabled"}),
        &[("type", json!("disabled"))],
    );
    let output = |it| of("output_config", it);
    within(
        Place::MessagesOutput,
        &output,
        json!({}),
        &[("format", json!({"type": "x"}))],
    );
    let format = |it| output(json!({ "format": it }));
    within(
        Place::MessagesFormat,
        &format,
        json!({"type": "json_schema", "schema": {}}),
        &[("type", json!("x")), ("schema", Value::Null)],
    );
    within(
        Place::MessagesChoice,
        &with_tools,
        json!({"type": "tool"}),
        &[("type", json!("auto")), ("name", json!("f"))],
    );
    within(
        Place::MessagesChoice,
        &with_tools,
        json!({"type": "auto"}),
        &[("disable_parallel_tool_use", json!(true))],
    );
    let tools = |it| of("tools", json!([it]));
    within(
        Place::MessagesTool,
        &tools,
        tool(),
        &[
            ("name", json!("g")),
            ("description", json!("e")),
            ("input_schema", json!({})),
            ("strict", json!(true)),
        ],
    );
    within(
        Place::MessagesTurn,
        &after,
        json!({"role": "user", "content": "x"}),
        &[("role", json!("system")), ("content", json!("y"))],
    );
    let said = |it| block("user", it);
    within(
        Place::MessagesText,
        &said,
        json!({"type": "text", "text": "x"}),
        &[("text", json!("y"))],
    );
    within(
        Place::MessagesResult,
        &said,
        json!({"type": "tool_result", "tool_use_id": "1", "content": "x"}),
        &[
            ("tool_use_id", json!("2")),
            ("content", json!([{"type": "text", "text": "y"}])),
            ("is_error", json!(true)),
        ],
    );
    let answered = |it| block("assistant", it);
    within(
        Place::MessagesThought,
        &answered,
        json!({"type": "thinking", "thinking": "x"}),
        &[("thinking", json!("y"))],
    );
    within(
        Place::MessagesCall,
        &answered,
        json!({"type": "tool_use", "id": "1", "name": "f", "input": {}}),
        &[
            ("id", json!("2")),
            ("name", json!("g")),
            ("input", json!({"a": 1})),
        ],
    );
    effects
}

#[test]
fn a_message_is_answered() {
    let engine = story();
    let body = with(
        of("system", json!([{"type": "text", "text": "Be brief."}])),
        "temperature",
        json!(0),
    );
    let got = post(&engine, MESSAGES, &body);
    assert_eq!(got.status, 200, "{}", String::from_utf8_lossy(&got.body));
    assert_eq!(got.header("request-id"), got.header("x-request-id"));
    let expected = json!({
        "id": "msg_00000000000000000000000000000001", "type": "message", "role": "assistant", "model": "org/demo",
        "content": [{"type": "text", "text": "Once upon"}], "stop_reason": "max_tokens", "stop_sequence": null,
        "usage": {"input_tokens": 2, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 1, "output_tokens": 2},
    });
    assert_eq!(got.json(), expected);
    let chat = json!({"messages": [{"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"}], "max_tokens": 9, "temperature": 0});
    let same = story();
    post(&same, CHAT, &chat);
    assert_eq!(
        *engine.asked.borrow(),
        *same.asked.borrow(),
        "it is the chat's request"
    );
}

#[test]
fn blocks_are_the_turns_of_a_chat() {
    let text =
        |text: &str| json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}});
    let call =
        |id: &str, input: Value| json!({"type": "tool_use", "id": id, "name": "f", "input": input});
    let result = |id: &str, content: Value| json!({"type": "tool_result", "tool_use_id": id, "content": content});
    let mut failed = result("b", json!([text("no"), text("sun")]));
    failed["is_error"] = json!(true);
    let body = of(
        "messages",
        json!([
            {"role": "user", "content": [text("Weather?"), text("Today.")]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "x"}, text("Let me see."),
                call("a", json!({"z": 1})), call("b", json!({})),
            ]},
            {"role": "user", "content": [result("a", json!("sun")), failed, text("So?")]},
            {"role": "assistant", "content": "Sun."},
            {"role": "user", "content": "Thanks."},
        ]),
    );
    let engine = story();
    let got = post(&engine, MESSAGES, &with(body, "tools", json!([tool()])));
    assert_eq!(got.status, 200, "{}", String::from_utf8_lossy(&got.body));
    let call = |id: &str, arguments: &str| json!({"id": id, "function": {"name": "f", "arguments": arguments}});
    let chat = json!({"messages": [
        {"role": "user", "content": "Weather?\nToday."},
        {"role": "assistant", "reasoning_content": "hm", "content": "Let me see.",
            "tool_calls": [call("a", "{\"z\":1}"), call("b", "{}")]},
        {"role": "tool", "tool_call_id": "a", "content": "sun"},
        {"role": "tool", "tool_call_id": "b", "content": "Error: no\nsun"},
        {"role": "user", "content": "So?"},
        {"role": "assistant", "content": "Sun."},
        {"role": "user", "content": "Thanks."},
    ]});
    let same = story();
    post(&same, CHAT, &chat);
    let (asked, expected) = (engine.asked.borrow(), same.asked.borrow());
    let (Prompt::Messages(asked), Prompt::Messages(expected)) =
        (&asked[0].prompt, &expected[0].prompt)
    else {
        panic!("no conversation");
    };
    assert_eq!(asked.messages, expected.messages);
    let tools: Value = serde_json::from_str(asked.tools.as_ref().unwrap()).unwrap();
    let function = json!({"name": "f", "description": "d", "parameters": {"z": 1, "a": 2}});
    assert_eq!(tools, json!([{"type": "function", "function": function}]));
}

/// The events of a stream: each one's name, which its type repeats, and its data.
fn events(got: &Got) -> Vec<Value> {
    let text = String::from_utf8(got.body.clone()).unwrap();
    let event = |event: &str| {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        data
    };
    text.trim_end().split("\n\n").map(event).collect()
}

/// The message that events come to.
fn accumulated(events: &[Value]) -> Value {
    let mut message = events[0]["message"].clone();
    let mut json = String::new();
    for event in events {
        let index = event["index"].as_u64().unwrap_or_default() as usize;
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!(message["content"].as_array().unwrap().len(), index);
                let block = event["content_block"].clone();
                message["content"].as_array_mut().unwrap().push(block);
                json.clear();
            }
            "content_block_delta" => {
                let (delta, block) = (&event["delta"], &mut message["content"][index]);
                for (kind, name) in [("text_delta", "text"), ("thinking_delta", "thinking")] {
                    if delta["type"] == kind {
                        let text = block[name].as_str().unwrap().to_owned();
                        block[name] = json!(text + delta[name].as_str().unwrap());
                    }
                }
                if delta["type"] == "input_json_delta" {
                    json += delta["partial_json"].as_str().unwrap();
                    block["input"] =
                        serde_json::from_str(&crate::partial_json::closed(&json)).unwrap();
                }
            }
            "message_delta" => {
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                message["stop_sequence"] = event["delta"]["stop_sequence"].clone();
                message["usage"] = event["usage"].clone();
            }
            _ => {}
        }
    }
    message
}

#[test]
fn a_stream_comes_to_the_whole_message() {
    let engine = calls::qwen(&calls::PIECES, FinishReason::Stop);
    let body = of("tools", json!([tool()]));
    let whole = post(&engine, MESSAGES, &body).json();
    let got = post(&engine, MESSAGES, &with(body, "stream", json!(true)));
    let events = events(&got);
    let kinds: Vec<&str> = events
        .iter()
        .map(|it| it["type"].as_str().unwrap())
        .collect();
    let (start, delta, stop) = (
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
    );
    let mut expected = vec!["message_start", "ping"];
    expected.extend([start, delta, stop, start, delta, delta, stop]);
    expected.extend([start, delta, stop, start, delta, stop]);
    expected.extend(["message_delta", "message_stop"]);
    assert_eq!(kinds, expected);
    assert_eq!(accumulated(&events), whole);
    let types: Vec<&str> = whole["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["thinking", "text", "tool_use", "tool_use"]);
    assert_eq!(whole["content"][2]["input"], json!({"z": 1.0, "a": "é"}));
    assert_eq!(whole["stop_reason"], "tool_use");
    assert_eq!(events[0]["message"]["usage"]["input_tokens"], 3);
}

#[test]
fn text_and_calls_stand_in_their_order_and_a_cut_call_is_told_as_far_as_it_goes() {
    let pieces = [
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1, \"b\": \"x\"}}</tool_call>",
        "\nSo\n",
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1, \"b\": \"x",
    ];
    let engine = calls::qwen(&pieces, FinishReason::Length);
    let body = of("tools", json!([tool()]));
    let whole = post(&engine, MESSAGES, &body).json();
    let id = |n: usize| whole["content"][n]["id"].clone();
    assert_eq!(
        whole["content"],
        json!([
            {"type": "tool_use", "id": id(0), "name": "f", "input": {"a": 1, "b": "x"}},
            {"type": "text", "text": "\nSo"},
            {"type": "tool_use", "id": id(2), "name": "f", "input": {"a": 1}},
        ])
    );
    assert_ne!(id(0), id(2));
    assert_eq!(whole["stop_reason"], "max_tokens");
    let got = post(&engine, MESSAGES, &with(body, "stream", json!(true)));
    assert_eq!(accumulated(&events(&got)), whole);
}

#[test]
fn a_stop_is_told_wherever_it_comes() {
    for (pieces, content) in [
        (
            &["<think>a b", " END"][..],
            json!([{"type": "thinking", "thinking": "a b ", "signature": ""}]),
        ),
        (
            &["<think>a</think>\n\n", "\n\n"],
            json!([{"type": "thinking", "thinking": "a", "signature": ""}]),
        ),
        (
            &["<think>a", "</think>"],
            json!([{"type": "thinking", "thinking": "a", "signature": ""}]),
        ),
    ] {
        let engine = stopping(pieces);
        let mut models = engine.models.clone();
        models[0].reasoning_tags = calls::qwen(&[], FinishReason::Stop).models[0]
            .reasoning_tags
            .clone();
        let engine = ScriptedEngine { models, ..engine };
        let body = of("stop_sequences", json!(["END", "\n\n", "</think>"]));
        let whole = post(&engine, MESSAGES, &body).json();
        assert_eq!(whole["content"], content, "{pieces:?}");
        assert_eq!(whole["stop_reason"], "stop_sequence");
        let stop = whole["stop_sequence"].as_str().unwrap();
        assert!(pieces[1].ends_with(stop), "{stop}");
        let streamed = post(&engine, MESSAGES, &with(body, "stream", json!(true)));
        assert_eq!(accumulated(&events(&streamed)), whole, "{pieces:?}");
    }
}

/// An engine that says these pieces and stops there.
fn stopping(pieces: &[&str]) -> ScriptedEngine {
    let usage = Usage {
        prompt_tokens: 3,
        completion_tokens: 2,
        cached_tokens: 0,
    };
    let reason = FinishReason::Stop;
    let mut events: Vec<_> = pieces.iter().map(|piece| text(piece)).collect();
    if let Some(Ok(last)) = events.last_mut() {
        *last = Event {
            finish: Some(Finish { reason, usage }),
            ..last.clone()
        };
    }
    ScriptedEngine::new(Ok(events))
}

#[test]
fn the_text_that_stopped_it_is_told_and_not_shown() {
    for (pieces, said, reason, stop) in [
        (
            &["One", " two END"][..],
            "One two ",
            "stop_sequence",
            json!("END"),
        ),
        (&["One", "END"], "One", "stop_sequence", json!("END")),
        (&["END"], "", "stop_sequence", json!("END")),
        (&["One \n\n"], "One ", "stop_sequence", json!("\n\n")),
        (&["One"], "One", "end_turn", Value::Null),
    ] {
        let engine = stopping(pieces);
        let body = of("stop_sequences", json!(["END", "\n\n", "xEND"]));
        let whole = post(&engine, MESSAGES, &body).json();
        let text = whole["content"][0]["text"].as_str().unwrap_or_default();
        let ended = (
            text,
            whole["stop_reason"].as_str().unwrap(),
            &whole["stop_sequence"],
        );
        assert_eq!(ended, (said, reason, &stop), "{pieces:?}");
        assert!(engine.asked.borrow()[0].include_stop);
        let streamed = post(&engine, MESSAGES, &with(body, "stream", json!(true)));
        assert_eq!(accumulated(&events(&streamed)), whole, "{pieces:?}");
    }
}

#[test]
fn tokens_are_counted_without_an_answer() {
    let mut body = hello();
    body.as_object_mut().unwrap().remove("max_tokens");
    body["system"] = json!("Hi");
    let engine = story();
    let got = post(&engine, COUNT, &body);
    assert_eq!(
        got.json(),
        json!({"input_tokens": "system: Hi\nuser: Hello\n".len()})
    );
    assert!(engine.asked.borrow().is_empty());
    assert_eq!(post(&engine, COUNT, &json!({})).status, 400);
}

#[test]
fn errors_have_anthropics_form_and_the_requests_names() {
    let turn = |content: Value| after(json!({"role": "user", "content": content}));
    let said = |it: Value| block("assistant", it);
    for (body, named) in [
        (json!({"messages": hello()["messages"]}), "max_tokens"),
        (json!({"max_tokens": 5}), "messages"),
        (of("messages", json!([])), "messages"),
        (of("messages", json!("x")), "messages"),
        (
            of("messages", json!([{"role": "user"}])),
            "messages[0].content",
        ),
        (
            of("messages", json!([{"content": "x"}])),
            "messages[0].role",
        ),
        (
            of("messages", json!([{"role": "tool", "content": "x"}])),
            "messages[0].role",
        ),
        (of("max_tokens", json!(0)), "max_tokens"),
        (of("system", json!(5)), "system"),
        (of("system", json!([{"type": "image"}])), "system[0].type"),
        (turn(json!(5)), "messages[0].content"),
        (turn(json!(["x"])), "messages[0].content[0]"),
        (
            turn(json!([{"type": "image", "source": {}}])),
            "messages[0].content[0].type",
        ),
        (
            turn(json!([{"type": "text"}])),
            "messages[0].content[0].text",
        ),
        (
            turn(json!([{"type": "tool_result"}])),
            "messages[0].content[0].tool_use_id",
        ),
        (
            turn(json!([{"type": "text", "text": "x", "colour": 1}])),
            "messages[0].content[0].colour",
        ),
        (
            said(json!({"type": "tool_use"})),
            "messages[0].content[0].name",
        ),
        (
            said(json!({"type": "tool_use", "name": "f", "input": "x"})),
            "messages[0].content[0].input",
        ),
        (
            said(json!({"type": "thinking"})),
            "messages[0].content[0].thinking",
        ),
        (of("stop_sequences", json!("x")), "stop_sequences"),
        (of("stop_sequences", json!(["x", ""])), "stop_sequences[1]"),
        (
            of(
                "tools",
                json!([{"type": "web_search_20250305", "name": "w"}]),
            ),
            "tools[0].type",
        ),
        (of("tools", json!([{"input_schema": {}}])), "tools[0].name"),
        (
            of("tools", json!([{"name": "f", "input_schema": 1}])),
            "tools[0].input_schema",
        ),
        (of("tool_choice", json!({})), "tool_choice.type"),
        (
            of("tool_choice", json!({"type": "tool"})),
            "tool_choice.name",
        ),
        (
            of("output_config", json!({"effort": "low"})),
            "output_config.effort",
        ),
        (of("mcp_servers", json!([{}])), "mcp_servers"),
    ] {
        let got = post(&story(), MESSAGES, &body);
        let document = got.json();
        assert_eq!(
            (got.status, &document["type"]),
            (400, &json!("error")),
            "{body}"
        );
        assert_eq!(document["error"]["type"], "invalid_request_error");
        assert_eq!(document["request_id"], got.header("x-request-id").unwrap());
        let message = document["error"]["message"].as_str().unwrap();
        let unknown = message.ends_with(&format!(": {named}"));
        assert!(
            unknown || message.contains(&format!("'{named}'")),
            "{body}: {message}"
        );
    }
    for (status, path, body, kind) in [
        (404, MESSAGES, of("model", json!("x")), "not_found_error"),
        (405, COUNT, Value::Null, "invalid_request_error"),
    ] {
        let got = if body.is_null() {
            send(&story(), "GET", path, b"")
        } else {
            post(&story(), path, &body)
        };
        assert_eq!(
            (got.status, &got.json()["error"]["type"]),
            (status, &json!(kind))
        );
    }
    let fault = crate::engine::Error::Internal("NaN in layer 3".into());
    let engine = ScriptedEngine::new(Ok(vec![text("Once"), Err(fault)]));
    let got = post(&engine, MESSAGES, &of("stream", json!(true)));
    let events = events(&got);
    let last = events.last().unwrap();
    assert_eq!(
        (&last["type"], &last["error"]["type"]),
        (&json!("error"), &json!("api_error"))
    );
}

#[test]
fn the_key_may_come_as_anthropics_clients_send_it() {
    let mut settings = settings();
    settings.api_keys = vec!["sesame".into()];
    let body = hello().to_string();
    for (key, status) in [(Some("sesame"), 200), (Some("x"), 401), (None, 401)] {
        let head = Head {
            api_key: key.map(str::to_owned),
            ..head("POST", MESSAGES, body.as_bytes())
        };
        let got = ask_under(&settings, &story(), &head, body.as_bytes());
        assert_eq!(got.status, status);
        if status == 401 {
            assert_eq!(got.json()["error"]["type"], "authentication_error");
        }
    }
}
