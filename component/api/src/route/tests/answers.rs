//! Answers to valid requests.

use super::*;
use crate::engine::{Conversation, ConversationEnd, Message, Prompt};

#[test]
fn a_chat_is_answered_whole() {
    let engine = story();
    let got = post(&engine, CHAT, &hello());
    assert_eq!(
        (got.status, got.header("content-type")),
        (200, Some("application/json"))
    );
    assert_eq!(
        got.json(),
        json!({
            "id": "chatcmpl-00000000000000000000000000000001",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": "org/demo",
            "system_fingerprint": concat!("sterna-", env!("CARGO_PKG_VERSION")),
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": "Once upon", "refusal": null},
                "logprobs": null,
                "finish_reason": "length",
            }],
            "usage": {
                "prompt_tokens": 3,
                "completion_tokens": 2,
                "total_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 1},
            },
        })
    );
    let asked = engine.asked.borrow();
    assert_eq!(asked[0].model, "org/demo", "the first model is the default");
    let turn = Message {
        role: "user".into(),
        content: "Hello".into(),
        name: None,
        reasoning_content: None,
        tool_call_id: None,
        tool_calls: Vec::new(),
    };
    let conversation = Conversation {
        messages: vec![turn],
        tools: None,
        template_kwargs: None,
        end: ConversationEnd::AnswerOpening,
    };
    assert_eq!(asked[0].prompt, Prompt::Messages(conversation));
}

#[test]
fn a_completion_is_answered_whole() {
    let engine = story();
    let body =
        json!({"model": "org/demo", "prompt": [1, 2], "max_tokens": 2, "stop": "x", "seed": 1});
    let document = post(&engine, TEXT, &body).json();
    assert_eq!(document["object"], "text_completion");
    assert_eq!(
        document["choices"],
        json!([{"index": 0, "text": "Once upon", "logprobs": null, "finish_reason": "length"}])
    );
    let asked = engine.asked.borrow();
    assert_eq!(asked[0].prompt, Prompt::Tokens(vec![1, 2]));
    assert_eq!(
        (asked[0].max_tokens, asked[0].sampling.seed),
        (Some(2), Some(1))
    );
    assert_eq!(asked[0].stop, ["x"]);
}

#[test]
fn streams_are_events() {
    let mut body = hello();
    body["stream"] = json!(true);
    let got = post(&story(), CHAT, &body);
    assert_eq!(
        got.header("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    assert_eq!(got.header("cache-control"), Some("no-cache"));
    let sent = String::from_utf8(got.body).unwrap();
    assert!(sent.ends_with("data: [DONE]\n\n"));
    assert_eq!(
        sent.matches("data: ").count(),
        5,
        "role, two texts, finish, end: {sent}"
    );
}

#[test]
fn models_by_name() {
    let mut body = hello();
    body["model"] = json!("gpt-4\r\nx: y");
    let (status, code, param) = post(&story(), CHAT, &body).error();
    assert_eq!(
        (status, code.as_str(), param.as_deref()),
        (404, "model_not_found", Some("model"))
    );
    let mut none = story();
    none.models.clear();
    assert_eq!(post(&none, CHAT, &hello()).error().0, 503);
}
