//! Whatever is sent, the answer has the right shape.

use super::*;
use proptest::prelude::*;

/// JSON that has the right field names often enough to reach every reader.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["user", "system", "text", "none", "function", "{}", ""])
            .prop_map(Value::from),
    ];
    let names = vec![
        "model",
        "messages",
        "prompt",
        "input",
        "dimensions",
        "encoding_format",
        "role",
        "content",
        "type",
        "text",
        "stop",
        "stream",
        "stream_options",
        "include_usage",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "seed",
        "repetition_penalty",
        "n",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "chat_template_kwargs",
        "enable_thinking",
        "reasoning",
        "reasoning_format",
        "name",
        "parameters",
        "response_format",
        "structured_outputs",
        "json_schema",
        "schema",
        "guided_choice",
        "grammar",
        "type",
        "logprobs",
        "logit_bias",
        "tool_calls",
        "min_tokens",
        "stop_token_ids",
        "function",
        "arguments",
        "refusal",
        "x",
    ];
    leaf.prop_recursive(4, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(names.clone()), inner), 0..7)
                .prop_map(|fields| fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

/// Whatever the engine answers, a reply is an answer, a stream, or an error in OpenAI's shape.
fn check(engine: &ScriptedEngine, method: &str, path: &str, body: &[u8]) {
    let got = send(engine, method, path, body);
    match got.status {
        200 => {}
        _ if method == "HEAD" => {}
        _ => assert_eq!(got.error().0, got.status),
    }
}

proptest! {
    #[test]
    fn any_json_gets_an_answer(body in any_json(), path in prop::sample::select(vec![CHAT, TEXT, EMBED])) {
        check(&story(), "POST", path, body.to_string().as_bytes());
    }

    #[test]
    fn one_wrong_field_gets_an_answer(value in any_json(), field in "messages|prompt|input|dimensions|stop|n|seed|model|stream") {
        for (path, mut body) in [(CHAT, hello()), (TEXT, json!({"prompt": "x"})), (EMBED, json!({"input": "x"}))] {
            body[&field] = value.clone();
            check(&story(), "POST", path, body.to_string().as_bytes());
        }
    }

    #[test]
    fn any_bytes_get_an_answer(body: Vec<u8>, method in "GET|HEAD|POST|OPTIONS|PUT|.{0,3}", path in "/v1/(chat/)?completions|/v1/embeddings|/v1/models/.{0,9}|.{0,9}") {
        check(&story(), &method, &path, &body);
    }
}
