//! `/v1/responses` as events: their order, their faults and bounds, and log probabilities.

use super::responses::{RESPONSES, ask, events, tool, with};
use super::*;
use crate::choices::MAX_BYTES;
use crate::engine::FinishReason;

#[test]
fn a_stream_tells_reasoning_text_and_calls_by_typed_events() {
    let engine = calls::qwen(&calls::PIECES, FinishReason::Stop);
    let body = with(ask(json!("Hello")), "tools", json!([tool()]));
    let whole = post(&engine, RESPONSES, &body).json();
    let got = post(&engine, RESPONSES, &with(body, "stream", json!(true)));
    assert_eq!(
        got.header("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    let events = events(&got);
    for (i, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], i);
    }
    let kind = |event: &Value| {
        event["type"]
            .as_str()
            .unwrap()
            .strip_prefix("response.")
            .unwrap()
            .to_owned()
    };
    let kinds: Vec<String> = events.iter().map(kind).collect();
    let item = ["output_item.added", "content_part.added"];
    let done = ["content_part.done", "output_item.done"];
    let call = [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ];
    let mut expected = vec!["created", "in_progress"];
    expected.extend(item);
    expected.extend(["reasoning_text.delta", "reasoning_text.done"]);
    expected.extend(done);
    expected.extend(item);
    expected.extend(["output_text.delta", "output_text.delta", "output_text.done"]);
    expected.extend(done);
    expected.extend(call);
    expected.extend(call);
    expected.push("completed");
    assert_eq!(kinds, expected);
    let last = events.last().unwrap();
    assert_eq!(
        last["response"], whole,
        "the whole is what the events come to"
    );
    let output = whole["output"].as_array().unwrap();
    let done: Vec<&Value> = events
        .iter()
        .filter(|it| it["type"] == "response.output_item.done")
        .map(|it| &it["item"])
        .collect();
    assert_eq!(done, output.iter().collect::<Vec<_>>());
    let types: Vec<_> = output
        .iter()
        .map(|item| item["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        types,
        ["reasoning", "message", "function_call", "function_call"]
    );
    assert_eq!(output[2]["arguments"], "{\"z\": 1.0, \"a\": \"é\"}");
    assert_ne!(output[2]["call_id"], output[3]["call_id"]);
    let ids: std::collections::BTreeSet<_> =
        output.iter().map(|item| item["id"].as_str()).collect();
    assert_eq!(ids.len(), 4);
    // Of the eight pieces the first three are told by the reasoning.
    let details = &whole["usage"]["output_tokens_details"];
    assert_eq!(details["reasoning_tokens"], 2, "{whole}");
    for event in &events {
        if let Some(at) = event["output_index"].as_u64() {
            let id = event["item_id"].as_str().or(event["item"]["id"].as_str());
            assert_eq!(id, output[at as usize]["id"].as_str());
        }
    }
    assert_eq!(events[0]["response"]["status"], "in_progress");
    assert_eq!(events[0]["response"]["usage"], Value::Null);
}

#[test]
fn items_stand_in_their_order_and_a_cut_call_is_incomplete() {
    let pieces = [
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\"",
        ": 1}}</tool_call>",
        "\nSo\n",
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"a",
    ];
    let engine = calls::qwen(&pieces, FinishReason::Length);
    let body = with(ask(json!("Hi")), "tools", json!([tool()]));
    let whole = post(&engine, RESPONSES, &body).json();
    let output = whole["output"].as_array().unwrap();
    let told = |item: &Value| {
        let text = item["arguments"].as_str();
        let text = text.or(item["content"][0]["text"].as_str());
        (item["status"].clone(), text.unwrap().to_owned())
    };
    let expected = [
        ("completed", "{\"a\": 1}"),
        ("completed", "\nSo"),
        ("incomplete", "{\"a"),
    ];
    let expected = expected.map(|(status, text)| (json!(status), text.to_owned()));
    assert_eq!(output.iter().map(told).collect::<Vec<_>>(), expected);
    let got = post(&engine, RESPONSES, &with(body, "stream", json!(true)));
    let events = events(&got);
    assert_eq!(events.last().unwrap()["response"], whole);
    let deltas: Vec<&str> = events
        .iter()
        .filter(|it| it["type"] == "response.function_call_arguments.delta")
        .map(|it| it["delta"].as_str().unwrap())
        .collect();
    assert_eq!(deltas, ["{\"a\"", ": 1}", "{\"a"]);
}

#[test]
fn a_fault_midway_fails_the_response() {
    let fault = crate::engine::Error::Internal("NaN in layer 3".into());
    let engine = ScriptedEngine::new(Ok(vec![text("Once"), Err(fault)]));
    let got = post(
        &engine,
        RESPONSES,
        &with(ask(json!("x")), "stream", json!(true)),
    );
    let events = events(&got);
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.failed");
    assert_eq!(last["response"]["status"], "failed");
    assert_eq!(last["response"]["error"]["code"], "server_error");
    assert!(last["response"]["resume"]["seed"].is_u64(), "{last}");
    // What came is whole, and in the answer.
    let output = &last["response"]["output"][0];
    assert_eq!(
        (&output["status"], &output["content"][0]["text"]),
        (&json!("incomplete"), &json!("Once"))
    );
    let is_done = |event: &&Value| event["type"] == "response.output_item.done";
    assert_eq!(events.iter().filter(is_done).count(), 1);
}

#[test]
fn a_stream_has_a_bound_since_its_end_tells_all_of_it() {
    let piece = "x".repeat(100_000);
    let of = |n: usize| {
        let mut script = vec![text(&piece); n];
        script.push(end(""));
        let engine = ScriptedEngine::new(Ok(script));
        let body = with(ask(json!("x")), "stream", json!(true));
        events(&post(&engine, RESPONSES, &body)).pop().unwrap()
    };
    let most = MAX_BYTES / 2 / 100_000;
    // The script ends by its length.
    assert_eq!(of(most)["type"], "response.incomplete");
    let last = of(most + 1);
    assert_eq!(last["type"], "response.failed");
    let message = last["response"]["error"]["message"].to_string();
    assert!(message.contains("4 MiB"), "{message}");
}

#[test]
fn each_event_is_a_line_however_the_request_is_written() {
    let body = json!({"input": "Hello", "stream": true, "metadata": {"a b": "c\n\"d\""}, "tools": [tool()],
        "text": {"format": {"type": "text"}}});
    let pretty = serde_json::to_string_pretty(&body).unwrap();
    let sent = send(&story(), "POST", RESPONSES, pretty.as_bytes());
    assert_eq!(sent.status, 200);
    for event in events(&sent) {
        if let Some(response) = event.get("response") {
            assert_eq!(response["metadata"], body["metadata"]);
            assert_eq!(response["tools"], body["tools"]);
        }
    }
}

#[test]
fn log_probabilities_are_those_of_the_messages_tokens() {
    let token = |id: u32, piece: &str| {
        let mut event = text(piece).unwrap();
        event.tokens = vec![id];
        event.details = vec![crate::testing::detail(id, piece.as_bytes(), Some(1))];
        Ok(event)
    };
    let mut engine = calls::qwen(&[], FinishReason::Stop);
    let script = engine.answer.as_mut().unwrap();
    for (id, piece) in (1..).zip([
        "<think>",
        "hm",
        "</think>",
        "\n\n",
        "Hi",
        " <",
        "b",
        "\n",
        "<tool_call>",
        "{\"name\": \"f\"}",
        "</tool_call>",
    ]) {
        script.insert(script.len() - 1, token(id, piece));
    }
    let body = with(
        with(ask(json!("Hi")), "tools", json!([tool()])),
        "top_logprobs",
        json!(1),
    );
    let whole = post(&engine, RESPONSES, &body).json();
    assert_eq!(whole["top_logprobs"], 1);
    let part = &whole["output"][1]["content"][0];
    assert_eq!(part["text"], "Hi <b");
    let told: Vec<&str> = part["logprobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["token"].as_str().unwrap())
        .collect();
    assert_eq!(told, ["Hi", " <", "b"]);
    assert_eq!(
        part["logprobs"][0]["top_logprobs"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(engine.asked.borrow()[0].logprobs, Some(1));
    let got = post(&engine, RESPONSES, &with(body, "stream", json!(true)));
    let events = events(&got);
    assert_eq!(events.last().unwrap()["response"], whole);
    let deltas: Vec<Value> = events
        .iter()
        .filter(|it| it["type"] == "response.output_text.delta")
        .flat_map(|it| it["logprobs"].as_array().unwrap().clone())
        .collect();
    assert_eq!(json!(deltas), part["logprobs"]);
    let plain = post(&engine, RESPONSES, &ask(json!("Hi"))).json();
    assert_eq!(plain["output"][1]["content"][0]["logprobs"], json!([]));
}
