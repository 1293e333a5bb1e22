//! `/v1/responses`: what the engine is asked, and the answer, whole and as events.

use super::*;
use crate::engine::{FinishReason, Prompt};

pub(super) const RESPONSES: &str = "/v1/responses";

pub(super) fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

pub(super) fn ask(input: Value) -> Value {
    json!({ "input": input })
}

pub(super) fn tool() -> Value {
    json!({"type": "function", "name": "f", "parameters": {"z": 1, "a": 2}, "strict": true})
}

#[test]
fn a_text_is_answered_by_a_message() {
    let engine = story();
    let body = json!({"input": "Hello", "instructions": "Be brief.", "max_output_tokens": 7, "store": true,
        "temperature": 0, "metadata": {"a": "b"}, "service_tier": "auto"});
    let got = post(&engine, RESPONSES, &body);
    assert_eq!(got.status, 200, "{}", String::from_utf8_lossy(&got.body));
    let expected = json!({
        "id": "resp_00000000000000000000000000000001", "object": "response", "created_at": 1_700_000_000,
        "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "error": null,
        "background": false, "model": "org/demo", "previous_response_id": null, "store": false, "top_logprobs": 0,
        "instructions": "Be brief.", "max_output_tokens": 7, "max_tool_calls": null, "metadata": {"a": "b"},
        "parallel_tool_calls": true, "prompt_cache_key": null, "safety_identifier": null, "user": null,
        "reasoning": {"effort": null, "summary": null}, "service_tier": "default", "temperature": 0,
        "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": null,
        "truncation": "disabled",
        "output": [{"id": "msg_00000000000000000000000000000001", "type": "message", "status": "incomplete",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Once upon", "annotations": [], "logprobs": []}]}],
        "usage": {"input_tokens": 3, "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0},
            "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 5},
    });
    let mut expected = expected;
    for name in ["presence_penalty", "frequency_penalty"] {
        expected[name] = Value::Null;
    }
    assert_eq!(got.json(), expected);
    let asked = engine.asked.borrow();
    let chat = json!({"messages": [{"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"}], "max_tokens": 7, "temperature": 0});
    let same = story();
    post(&same, CHAT, &chat);
    assert_eq!(*asked, *same.asked.borrow(), "it is the chat's request");
}

#[test]
fn items_are_the_turns_of_a_chat() {
    let input = json!([
        {"role": "developer", "content": [{"type": "input_text", "text": "Look it up."}]},
        {"type": "message", "role": "user", "content": "Weather?", "id": "i", "status": "completed"},
        {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "s"}],
            "content": [{"type": "reasoning_text", "text": "hm"}], "encrypted_content": null},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}]},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{\"z\": 1}", "id": "x", "status": "completed"},
        {"type": "function_call", "call_id": "b", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "sun"},
        {"type": "function_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "rain"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "so"}]},
        {"role": "assistant", "content": "Sun."},
        {"role": "assistant", "content": "Rain."},
        {"role": "user", "content": "And now?"},
    ]);
    let engine = story();
    let got = post(
        &engine,
        RESPONSES,
        &with(ask(input), "tools", json!([tool()])),
    );
    assert_eq!(got.status, 200, "{}", String::from_utf8_lossy(&got.body));
    let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "function": {"name": name, "arguments": arguments}});
    let chat = json!({"messages": [
        {"role": "system", "content": "Look it up."},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "reasoning_content": "hm", "content": "Let me see.",
            "tool_calls": [call("a", "f", "{\"z\": 1}"), call("b", "g", "{}")]},
        {"role": "tool", "tool_call_id": "a", "content": "sun"},
        {"role": "tool", "tool_call_id": "b", "content": "rain"},
        {"role": "assistant", "reasoning_content": "so", "content": "Sun."},
        {"role": "assistant", "content": "Rain."},
        {"role": "user", "content": "And now?"},
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
    let function = json!({"name": "f", "parameters": {"z": 1, "a": 2}, "strict": true});
    assert_eq!(tools, json!([{"type": "function", "function": function}]));
}

/// The events of a stream: each one's name, which its type repeats, and its data.
pub(super) fn events(got: &Got) -> Vec<Value> {
    let text = String::from_utf8(got.body.clone()).unwrap();
    let event = |event: &str| {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        data
    };
    text.trim_end().split("\n\n").map(event).collect()
}

#[test]
fn leading_system_texts_are_one_message() {
    let user = json!({"role": "user", "content": "Hello"});
    let developer = |content: Value| json!({"role": "developer", "content": content});
    let parts = json!([{"type": "input_text", "text": "Be kind."}]);
    for (instructions, items, expected) in [
        (
            json!("Be brief."),
            json!([developer(parts.clone()), user]),
            json!("Be brief.\n\nBe kind."),
        ),
        (
            Value::Null,
            json!([developer(json!("A")), developer(json!("B")), user]),
            json!("A\n\nB"),
        ),
    ] {
        let engine = story();
        let body = json!({"instructions": instructions, "input": items});
        assert_eq!(post(&engine, RESPONSES, &body).status, 200);
        let same = story();
        let chat = json!({"messages": [{"role": "system", "content": expected}, user]});
        post(&same, CHAT, &chat);
        assert_eq!(*engine.asked.borrow(), *same.asked.borrow());
    }
    // A later one stays where it is, and so does one alone.
    for items in [
        json!([user, developer(json!("A"))]),
        json!([developer(json!("A")), user]),
    ] {
        let (engine, same) = (story(), story());
        post(&engine, RESPONSES, &ask(items.clone()));
        post(&same, CHAT, &json!({ "messages": items }));
        assert_eq!(*engine.asked.borrow(), *same.asked.borrow());
    }
}

#[test]
fn hosted_tools_are_left_out_where_the_model_is_free() {
    let tools = json!([{"type": "web_search", "external_web_access": false}, tool()]);
    let body = with(ask(json!("x")), "tools", tools.clone());
    let (engine, same) = (story(), story());
    let got = post(&engine, RESPONSES, &body);
    assert_eq!((got.status, &got.json()["tools"]), (200, &json!([tool()])));
    post(
        &same,
        RESPONSES,
        &with(ask(json!("x")), "tools", json!([tool()])),
    );
    assert_eq!(*engine.asked.borrow(), *same.asked.borrow());
    let forced = with(body, "tool_choice", json!("required"));
    let (status, _, named) = post(&story(), RESPONSES, &forced).error();
    assert_eq!((status, named.as_deref()), (400, Some("tools[0].type")));
    // The place is the request's, whatever was left out before it.
    let wrong = json!([{"type": "web_search"}, {"type": "function", "name": "f", "parameters": 1}]);
    let (_, _, named) = post(&story(), RESPONSES, &with(ask(json!("x")), "tools", wrong)).error();
    assert_eq!(named.as_deref(), Some("tools[1].parameters"));
}

#[test]
fn labels_have_limits() {
    let of = |name: &str, value: Value| with(ask(json!("x")), name, value);
    let many: serde_json::Map<String, Value> =
        (0..17).map(|i| (i.to_string(), json!("x"))).collect();
    for (body, param) in [
        (of("metadata", json!({"a": "x".repeat(513)})), "metadata.a"),
        (of("metadata", Value::Object(many)), "metadata"),
        (of("user", json!("x".repeat(513))), "user"),
    ] {
        let (status, _, named) = post(&story(), RESPONSES, &body).error();
        assert_eq!((status, named.as_deref()), (400, Some(param)));
    }
    assert_eq!(
        post(&story(), RESPONSES, &of("user", json!("x".repeat(512)))).status,
        200
    );
}

#[test]
fn an_answer_without_text_is_an_empty_message() {
    let engine = ScriptedEngine::new(Ok(vec![end("")]));
    let output = &post(&engine, RESPONSES, &ask(json!("x"))).json()["output"];
    assert_eq!(output[0]["content"][0]["text"], "");
}

#[test]
fn what_cannot_be_done_is_named_as_the_request_has_it() {
    let of = |name: &str, value: Value| with(ask(json!("x")), name, value);
    let item = |item: Value| ask(json!([{"role": "user", "content": "x"}, item]));
    for (body, param) in [
        (json!({}), "input"),
        (ask(json!(5)), "input"),
        (ask(json!([])), "input"),
        (ask(json!(["x"])), "input[0]"),
        (
            item(json!({"role": "wizard", "content": "x"})),
            "input[1].role",
        ),
        (item(json!({"role": "user"})), "input[1].content"),
        (
            item(json!({"role": "user", "content": 5})),
            "input[1].content",
        ),
        (
            item(json!({"role": "user", "content": [{"type": "input_image", "image_url": "x"}]})),
            "input[1].content[0].type",
        ),
        (
            item(json!({"role": "user", "content": "x", "colour": 1})),
            "input[1].colour",
        ),
        (
            item(json!({"type": "item_reference", "id": "x"})),
            "input[1].type",
        ),
        (item(json!({"type": "computer_call"})), "input[1].type"),
        (item(json!({"type": "function_call"})), "input[1].name"),
        (
            item(json!({"type": "function_call", "name": "f", "arguments": {}})),
            "input[1].arguments",
        ),
        (
            item(json!({"type": "function_call_output", "output": "x"})),
            "input[1].call_id",
        ),
        (
            item(json!({"type": "function_call_output", "call_id": "x"})),
            "input[1].output",
        ),
        (
            item(json!({"type": "reasoning", "content": "x"})),
            "input[1].content",
        ),
        (
            item(json!({"type": "reasoning", "content": [{}]})),
            "input[1].content[0].text",
        ),
        (
            of("previous_response_id", json!("resp_1")),
            "previous_response_id",
        ),
        (of("conversation", json!("c")), "conversation"),
        (of("background", json!(true)), "background"),
        (of("prompt", json!({"id": "p"})), "prompt"),
        (
            of("include", json!(["file_search_call.results"])),
            "include[0]",
        ),
        (of("max_output_tokens", json!(0)), "max_output_tokens"),
        (of("temperature", json!(3)), "temperature"),
        (
            of("tools", json!([{"type": "file_search"}])),
            "tools[0].type",
        ),
        (of("tools", json!([{"type": "function"}])), "tools[0].name"),
        (
            of(
                "tools",
                json!([{"type": "function", "name": "f", "parameters": 1}]),
            ),
            "tools[0].parameters",
        ),
        (
            of("tool_choice", json!({"type": "web_search"})),
            "tool_choice",
        ),
        (
            of("reasoning", json!({"effort": "high"})),
            "reasoning.effort",
        ),
        (
            of("text", json!({"format": {"type": "xml"}})),
            "text.format",
        ),
        (of("metadata", json!({"a": 1})), "metadata.a"),
        (
            of("stream_options", json!({"include_usage": true})),
            "stream_options.include_usage",
        ),
        (
            of("response_format", json!({"type": "text"})),
            "response_format",
        ),
    ] {
        let got = post(&story(), RESPONSES, &body);
        assert_eq!(got.status, 400, "{body}");
        let (_, _, named) = got.error();
        let named = named.unwrap();
        // The format's type is a field of its own where formats are read.
        let named = named
            .strip_suffix(".type")
            .filter(|_| param == "text.format")
            .unwrap_or(&named);
        assert_eq!(named, param, "{body}");
    }
    let overflow = crate::engine::Error::ContextOverflow(crate::engine::ContextOverflow {
        limit: 512,
        requested: 600,
    });
    let (_, code, param) = post(
        &ScriptedEngine::new(Err(overflow)),
        RESPONSES,
        &ask(json!("x")),
    )
    .error();
    assert_eq!(
        (code.as_str(), param.as_deref()),
        ("context_length_exceeded", Some("input"))
    );
}

#[test]
fn functions_of_namespaces_have_both_names() {
    let pieces = ["<tool_call>{\"name\": \"mcp__a__f\", \"arguments\": {}}</tool_call>"];
    let engine = calls::qwen(&pieces, FinishReason::Stop);
    let space =
        json!({"type": "namespace", "name": "mcp__a__", "description": "d", "tools": [tool()]});
    let call = json!({"type": "function_call", "call_id": "1", "name": "f", "namespace": "mcp__a__", "arguments": "{}"});
    let output = json!({"type": "function_call_output", "call_id": "1", "output": "x"});
    let body = with(
        ask(json!([{"role": "user", "content": "Hi"}, call, output])),
        "tools",
        json!([space]),
    );
    let whole = post(&engine, RESPONSES, &body).json();
    let item = &whole["output"][0];
    assert_eq!(
        (&item["name"], &item["namespace"]),
        (&json!("f"), &json!("mcp__a__"))
    );
    assert_eq!(whole["tools"], json!([space]));
    let asked = engine.asked.borrow();
    let Prompt::Messages(conversation) = &asked[0].prompt else {
        panic!("a conversation");
    };
    assert_eq!(conversation.messages[1].tool_calls[0].name, "mcp__a__f");
    let tools: Value = serde_json::from_str(conversation.tools.as_deref().unwrap()).unwrap();
    assert_eq!(tools[0]["function"]["name"], "mcp__a__f");
    let odd = with(
        ask(json!("Hi")),
        "tools",
        json!([{"type": "namespace", "name": "n", "tools": [{"type": "custom", "name": "x"}]}]),
    );
    let (status, _, param) = post(&story(), RESPONSES, &odd).error();
    assert_eq!(
        (status, param.as_deref()),
        (400, Some("tools[0].tools[0].type"))
    );
}

#[test]
fn functions_that_a_model_could_not_tell_apart_are_refused() {
    let space = |name: &str, tool: &str| json!({"type": "namespace", "name": name, "tools": [{"type": "function", "name": tool}]});
    let plain = |name: &str| json!({"type": "function", "name": name});
    for (tools, param) in [
        (json!([space("a", "b"), plain("a__b")]), "tools[1].name"),
        (
            json!([plain("a__b"), space("a_", "b")]),
            "tools[1].tools[0].name",
        ),
        (
            json!([space("a__b", "c"), space("a", "b__c")]),
            "tools[1].tools[0].name",
        ),
        (json!([plain("f"), plain("f")]), "tools[1].name"),
    ] {
        let (status, _, found) =
            post(&story(), RESPONSES, &with(ask(json!("x")), "tools", tools)).error();
        assert_eq!((status, found.as_deref()), (400, Some(param)));
    }
}

#[test]
fn a_function_of_a_namespace_can_be_chosen() {
    let engine = calls::qwen(&calls::PIECES, FinishReason::Stop);
    let space = json!({"type": "namespace", "name": "a", "tools": [tool()]});
    let body = with(ask(json!("x")), "tools", json!([space]));
    let choose = |choice: Value| {
        post(
            &engine,
            RESPONSES,
            &with(body.clone(), "tool_choice", choice),
        )
    };
    let chosen = choose(json!({"type": "function", "name": "f", "namespace": "a"}));
    assert_eq!(
        chosen.status,
        200,
        "{}",
        String::from_utf8_lossy(&chosen.body)
    );
    for (choice, param) in [
        (
            json!({"type": "function", "name": "f", "namespace": 5}),
            "tool_choice.namespace",
        ),
        (
            json!({"type": "function", "name": "f", "space": "a"}),
            "tool_choice.space",
        ),
    ] {
        let (status, _, found) = choose(choice).error();
        assert_eq!((status, found.as_deref()), (400, Some(param)));
    }
    assert_eq!(choose(json!({"type": "function", "name": "f"})).status, 400);
}
