//! Functions, calls and reasoning through the whole server, with the scripted model of
//! `tests/fixtures/scripted`: linked, sandboxed, and under a plain host.

use serde_json::{Value, json};

use crate::baked::bake;
use crate::support::plain_host::PlainHost;
use crate::support::server::Server;

const CHAT: &str = "/v1/chat/completions";

fn asking() -> Value {
    let parameters = json!({"type": "object", "properties": {"place": {"type": "string"}}});
    json!({
        "messages": [{"role": "user", "content": "How is the weather?"}],
        "tools": [{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}],
    })
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

/// The same request answered by a tool.
fn answered() -> Value {
    let call = json!({"id": "c", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}});
    let mut body = asking();
    body["messages"].as_array_mut().unwrap().extend([
        json!({"role": "assistant", "content": null, "tool_calls": [call]}),
        json!({"role": "tool", "tool_call_id": "c", "content": "7 degrees"}),
    ]);
    body
}

/// What matters of a whole answer: why it ended, its text, reasoning and calls.
fn told(answer: &Value) -> Value {
    let choice = &answer["choices"][0];
    let message = &choice["message"];
    let calls = message["tool_calls"].as_array();
    let calls = calls.into_iter().flatten();
    let calls: Vec<_> = calls.map(|call| call["function"].clone()).collect();
    json!([
        choice["finish_reason"],
        message["content"],
        message["reasoning_content"],
        calls
    ])
}

/// The same of a stream.
fn told_by(stream: &str) -> Value {
    let data = stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    let chunks = data.filter_map(|data| serde_json::from_str::<Value>(data).ok());
    let (mut end, mut text, mut thought) = (Value::Null, String::new(), String::new());
    let mut calls: Vec<Value> = Vec::new();
    for chunk in chunks {
        let choice = &chunk["choices"][0];
        let delta = &choice["delta"];
        text += delta["content"].as_str().unwrap_or_default();
        thought += delta["reasoning_content"].as_str().unwrap_or_default();
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let at = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
            if at == calls.len() {
                assert!(call["id"].as_str().unwrap().starts_with("call_"));
                calls.push(call["function"].clone());
            } else {
                let more = call["function"]["arguments"].as_str().unwrap();
                let before = calls[at]["arguments"].as_str().unwrap();
                calls[at]["arguments"] = json!(before.to_owned() + more);
            }
        }
        if !choice["finish_reason"].is_null() {
            end = choice["finish_reason"].clone();
        }
    }
    let some = |text: String, without: Value| {
        if text.is_empty() {
            without
        } else {
            json!(text)
        }
    };
    let no_text = if calls.is_empty() {
        json!("")
    } else {
        Value::Null
    };
    json!([end, some(text, no_text), some(thought, Value::Null), calls])
}

/// Requests and what is told of their answers.
fn cases() -> Vec<(Value, Value)> {
    let weather = json!({"name": "get_weather", "arguments": "{\"place\": \"Köln\", \"days\": 2}"});
    let clock = json!({"name": "clock", "arguments": "{}"});
    let thought = "Two calls,\nI think.";
    let acts = json!(["tool_calls", "Let me look.", thought, [weather, clock]]);
    let thinking = |is: bool| {
        with(
            asking(),
            "chat_template_kwargs",
            json!({"enable_thinking": is}),
        )
    };
    let plain = json!({"messages": [{"role": "user", "content": "Hi"}]});
    vec![
        (asking(), acts.clone()),
        (thinking(true), acts),
        (
            thinking(false),
            json!(["stop", "Without a thought", null, []]),
        ),
        (
            with(asking(), "parallel_tool_calls", json!(false)),
            json!(["tool_calls", "Let me look.", thought, [weather]]),
        ),
        (answered(), json!(["stop", "It is cold in Köln.", null, []])),
        // Without functions a tag is text.
        (
            plain.clone(),
            json!(["stop", "Hello <tool_call> there!", null, []]),
        ),
        (
            with(asking(), "tool_choice", json!("none")),
            json!(["stop", "Hello <tool_call> there!", null, []]),
        ),
        // It must call, and has nothing to say.
        (
            with(
                with(
                    asking(),
                    "tools",
                    json!([{"type": "function", "function": {"name": "clock",
                    "parameters": {"type": "object", "additionalProperties": false}}}]),
                ),
                "tool_choice",
                json!({"type": "function", "function": {"name": "clock"}}),
            ),
            json!(["tool_calls", null, thought, [clock]]),
        ),
        // Cut within a call, before its arguments and in them, and within reasoning.
        (
            with(asking(), "max_tokens", json!(9)),
            json!([
                "length",
                "Let me look.\n<tool_call>\n{\"name\": \"get_weather\", \"argum",
                thought,
                []
            ]),
        ),
        (
            with(asking(), "stop", json!("days")),
            json!([
                "tool_calls",
                "Let me look.",
                thought,
                [{"name": "get_weather", "arguments": "{\"place\": \"Köln\", \""}]
            ]),
        ),
        (
            with(asking(), "max_tokens", json!(2)),
            json!(["length", "", "Two calls", []]),
        ),
    ]
}

fn check(server: &Server) {
    for (request, expected) in cases() {
        let answer = server.post(CHAT, &request);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(told(&answer.json()), expected, "{request}");
        let streamed = server.post(CHAT, &with(request.clone(), "stream", json!(true)));
        assert_eq!(told_by(&streamed.text()), expected, "{request}");
    }
    let wrong = json!({"messages": 1});
    for (field, value, param) in [
        (
            "tool_choice",
            json!({"type": "function", "function": {"name": "none"}}),
            "tool_choice",
        ),
        (
            "tools",
            json!([{"type": "function", "function": {}}]),
            "tools[0].function.name",
        ),
        (
            "chat_template_kwargs",
            wrong,
            "chat_template_kwargs.messages",
        ),
    ] {
        let answer = server.post(CHAT, &with(asking(), field, value));
        assert_eq!(
            (answer.status, &answer.json()["error"]["param"]),
            (400, &json!(param))
        );
    }
}

fn scripted() -> String {
    let host = env!("CARGO_MANIFEST_DIR");
    format!("{host}/../tests/fixtures/scripted/scripted.gguf")
}

#[test]
fn a_model_in_the_process_calls() {
    check(&Server::start(&["--model", &scripted()]));
}

#[test]
fn a_model_in_a_sandbox_calls() {
    let folder = tempfile::tempdir().unwrap();
    let app = bake(folder.path(), &["--model", &scripted()]);
    check(&Server::start(&[app.to_str().unwrap()]));
    let plain = PlainHost::new(&app);
    for (request, expected) in cases() {
        let answer = plain.answer_at(CHAT, plain.instantiate(), &request).0;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(told(&answer), expected, "{request}");
    }
}

#[test]
fn a_model_without_a_place_for_functions_says_so() {
    let answer = Server::start(&[]).post(CHAT, &asking());
    assert!(answer.error(400).contains("no place for functions"));
    assert_eq!(answer.json()["error"]["param"], "tools");
}
