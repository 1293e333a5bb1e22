//! Both completion routes and `/v1/embeddings`: what each honoured field changes.

use super::known_fields::{Effect, with};
use super::*;
use crate::known::Place;

/// A conversation with this message before the user's.
fn after(message: Value) -> Value {
    json!({"messages": [message, {"role": "user", "content": "Hello"}]})
}

fn call(call: Value) -> Value {
    after(json!({"role": "assistant", "tool_calls": [call]}))
}

/// A case for each honoured field.
pub(super) fn effects() -> Vec<Effect> {
    let text = || json!({"prompt": "x"});
    let user = |rest: &Value| {
        let mut message = json!({"role": "user", "content": "Hello"});
        message
            .as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        after(message)
    };
    let part = |part: Value| after(json!({"role": "user", "content": [part]}));
    let streamed = || json!({"prompt": "x", "stream": true});
    let options = |options: Value| with(streamed(), "stream_options", options);
    let f = || json!({"name": "f"});
    let plain_call = || call(json!({"function": f()}));
    let silent = || after(json!({"role": "assistant"}));
    let body = |field: &str, value: Value| (text(), with(text(), field, value));
    let probable = || with(text(), "logprobs", json!(1));
    let embed = |field: &str, value: Value| {
        let input = json!({"input": "x"});
        (input.clone(), with(input, field, value))
    };
    let tools = |function: Value| {
        let tools = json!([{"type": "function", "function": function}]);
        with(hello(), "tools", tools)
    };
    let chat = |field: &str, value: Value| (tools(f()), with(tools(f()), field, value));
    let formatted = |schema: Value| {
        let format = json!({"type": "json_schema", "json_schema": schema});
        with(text(), "response_format", format)
    };
    let cases: Vec<(Place, &str, (Value, Value))> = vec![
        (
            Place::Body,
            "timings_per_token",
            body("timings_per_token", json!(true)),
        ),
        (Place::Body, "model", body("model", json!("other"))),
        (Place::Body, "max_tokens", body("max_tokens", json!(3))),
        (
            Place::Body,
            "max_completion_tokens",
            body("max_completion_tokens", json!(3)),
        ),
        (
            Place::Body,
            "max_new_tokens",
            body("max_new_tokens", json!(3)),
        ),
        (Place::Body, "n_predict", body("n_predict", json!(3))),
        (Place::Body, "num_predict", body("num_predict", json!(3))),
        (Place::Body, "min_tokens", body("min_tokens", json!(3))),
        (
            Place::Body,
            "min_new_tokens",
            body("min_new_tokens", json!(3)),
        ),
        (Place::Body, "temperature", body("temperature", json!(0.5))),
        (Place::Body, "top_p", body("top_p", json!(0.5))),
        (Place::Body, "top_k", body("top_k", json!(5))),
        (Place::Body, "min_p", body("min_p", json!(0.5))),
        (
            Place::Body,
            "repetition_penalty",
            body("repetition_penalty", json!(1.5)),
        ),
        (
            Place::Body,
            "repeat_penalty",
            body("repeat_penalty", json!(1.5)),
        ),
        (
            Place::Body,
            "presence_penalty",
            body("presence_penalty", json!(1.5)),
        ),
        (
            Place::Body,
            "frequency_penalty",
            body("frequency_penalty", json!(1.5)),
        ),
        (Place::Body, "seed", body("seed", json!(9))),
        (Place::Body, "random_seed", body("random_seed", json!(9))),
        (Place::Body, "stop", body("stop", json!("x"))),
        (
            Place::Body,
            "stop_token_ids",
            body("stop_token_ids", json!([3])),
        ),
        (
            Place::Body,
            "include_stop_str_in_output",
            body("include_stop_str_in_output", json!(true)),
        ),
        (Place::Body, "ignore_eos", body("ignore_eos", json!(true))),
        (Place::Body, "n", body("n", json!(2))),
        (Place::Body, "n_cmpl", body("n_cmpl", json!(2))),
        (
            Place::Body,
            "num_return_sequences",
            body("num_return_sequences", json!(2)),
        ),
        (Place::Body, "best_of", body("best_of", json!(2))),
        (
            Place::Body,
            "logit_bias",
            body("logit_bias", json!({"5": 1})),
        ),
        (
            Place::Body,
            "allowed_token_ids",
            body("allowed_token_ids", json!([5])),
        ),
        (Place::Body, "bad_words", body("bad_words", json!(["x"]))),
        (
            Place::Body,
            "prompt_logprobs",
            body("prompt_logprobs", json!(0)),
        ),
        (Place::Body, "n_probs", body("n_probs", json!(1))),
        (
            Place::Body,
            "return_token_ids",
            body("return_token_ids", json!(true)),
        ),
        (
            Place::Body,
            "return_tokens_as_token_ids",
            (
                probable(),
                with(probable(), "return_tokens_as_token_ids", json!(true)),
            ),
        ),
        (
            Place::Body,
            "skip_special_tokens",
            body("skip_special_tokens", json!(false)),
        ),
        (
            Place::Body,
            "truncate_prompt_tokens",
            body("truncate_prompt_tokens", json!(-1)),
        ),
        (Place::Text, "logprobs", body("logprobs", json!(0))),
        (Place::Text, "echo", body("echo", json!(true))),
        (Place::Chat, "logprobs", chat("logprobs", json!(true))),
        (
            Place::Chat,
            "top_logprobs",
            (
                with(hello(), "logprobs", json!(true)),
                json!({"messages": hello()["messages"], "logprobs": true, "top_logprobs": 2}),
            ),
        ),
        (
            Place::Chat,
            "add_generation_prompt",
            chat("add_generation_prompt", json!(false)),
        ),
        (
            Place::Chat,
            "continue_final_message",
            chat("continue_final_message", json!(true)),
        ),
        (Place::Body, "priority", body("priority", json!(1))),
        (Place::Body, "timeout", body("timeout", json!(1.5))),
        (Place::Body, "cache_salt", body("cache_salt", json!("me"))),
        (Place::Body, "stream", body("stream", json!(true))),
        (Place::Body, "resume", body("resume", json!("x"))),
        (
            Place::Body,
            "stream_options",
            (streamed(), options(json!({"include_usage": true}))),
        ),
        (
            Place::Body,
            "response_format",
            body("response_format", json!({"type": "json_object"})),
        ),
        (
            Place::Body,
            "structured_outputs",
            body("structured_outputs", json!({"json_object": true})),
        ),
        (Place::Body, "guided_json", body("guided_json", json!({}))),
        (
            Place::Body,
            "guided_json_object",
            body("guided_json_object", json!(true)),
        ),
        (
            Place::Body,
            "guided_regex",
            body("guided_regex", json!("a")),
        ),
        (
            Place::Body,
            "guided_choice",
            body("guided_choice", json!(["a"])),
        ),
        (
            Place::Body,
            "guided_grammar",
            body("guided_grammar", json!("start: A")),
        ),
        (Place::Body, "json_schema", body("json_schema", json!({}))),
        (Place::Body, "regex", body("regex", json!("a"))),
        (Place::Body, "choice", body("choice", json!(["a"]))),
        (
            Place::Body,
            "grammar",
            body("grammar", json!("root ::= \"a\"")),
        ),
        (Place::Body, "ebnf", body("ebnf", json!("root ::= \"a\""))),
        (Place::Body, "format", body("format", json!("json"))),
        (
            Place::ResponseFormat,
            "type",
            body("response_format", json!({"type": "json_object"})),
        ),
        (
            Place::ResponseFormat,
            "json_schema",
            body(
                "response_format",
                json!({"type": "json_schema", "json_schema": {"schema": {}}}),
            ),
        ),
        (
            Place::ResponseFormat,
            "schema",
            (
                with(text(), "response_format", json!({"type": "json_object"})),
                with(
                    text(),
                    "response_format",
                    json!({"type": "json_object", "schema": {}}),
                ),
            ),
        ),
        (
            Place::ResponseFormat,
            "value",
            body("response_format", json!({"type": "json", "value": {}})),
        ),
        (
            Place::ResponseFormat,
            "pattern",
            body("response_format", json!({"type": "regex", "pattern": "a"})),
        ),
        (
            Place::ResponseFormat,
            "grammar",
            body(
                "response_format",
                json!({"type": "grammar", "grammar": "start: A"}),
            ),
        ),
        (
            Place::JsonSchema,
            "schema",
            (
                formatted(json!({"schema": {}})),
                formatted(json!({"schema": {"type": "null"}})),
            ),
        ),
        (
            Place::JsonSchema,
            "strict",
            (
                formatted(json!({"schema": {}})),
                formatted(json!({"schema": {}, "strict": true})),
            ),
        ),
        (
            Place::StructuredOutputs,
            "json",
            body("structured_outputs", json!({"json": {}})),
        ),
        (
            Place::StructuredOutputs,
            "regex",
            body("structured_outputs", json!({"regex": "a"})),
        ),
        (
            Place::StructuredOutputs,
            "choice",
            body("structured_outputs", json!({"choice": ["a"]})),
        ),
        (
            Place::StructuredOutputs,
            "grammar",
            body("structured_outputs", json!({"grammar": "start: A"})),
        ),
        (
            Place::StructuredOutputs,
            "json_object",
            body("structured_outputs", json!({"json_object": true})),
        ),
        (Place::Chat, "messages", (json!({}), hello())),
        (Place::Chat, "tools", (hello(), tools(f()))),
        (
            Place::Chat,
            "tool_choice",
            chat("tool_choice", json!("none")),
        ),
        (
            Place::Chat,
            "parallel_tool_calls",
            chat("parallel_tool_calls", json!(false)),
        ),
        (
            Place::Chat,
            "chat_template_kwargs",
            chat("chat_template_kwargs", json!({"a": 1})),
        ),
        (
            Place::Chat,
            "enable_thinking",
            chat("enable_thinking", json!(true)),
        ),
        (Place::Chat, "think", chat("think", json!(false))),
        (
            Place::Chat,
            "thinking",
            chat("thinking", json!({"type": "disabled"})),
        ),
        (
            Place::Chat,
            "reasoning",
            chat("reasoning", json!({"enabled": false})),
        ),
        (
            Place::Chat,
            "reasoning_effort",
            chat("reasoning_effort", json!("none")),
        ),
        (
            Place::Chat,
            "include_reasoning",
            chat("include_reasoning", json!(false)),
        ),
        (
            Place::Chat,
            "separate_reasoning",
            chat("separate_reasoning", json!(false)),
        ),
        (
            Place::Chat,
            "reasoning_format",
            chat("reasoning_format", json!("none")),
        ),
        (
            Place::Tool,
            "type",
            (
                tools(f()),
                with(
                    hello(),
                    "tools",
                    json!([{"type": "web_search", "function": f()}]),
                ),
            ),
        ),
        (
            Place::Tool,
            "function",
            (tools(f()), tools(json!({"name": "g"}))),
        ),
        (
            Place::Tool,
            "strict",
            (
                tools(f()),
                with(
                    hello(),
                    "tools",
                    json!([{"type": "function", "function": f(), "strict": true}]),
                ),
            ),
        ),
        (Place::Text, "prompt", (json!({}), text())),
        (
            Place::StreamOptions,
            "include_usage",
            (options(json!({})), options(json!({"include_usage": true}))),
        ),
        (
            Place::StreamOptions,
            "continuous_usage_stats",
            (
                options(json!({"include_usage": true})),
                options(json!({"include_usage": true, "continuous_usage_stats": true})),
            ),
        ),
        (
            Place::Message,
            "role",
            (user(&json!({})), user(&json!({"role": "system"}))),
        ),
        (Place::Embeddings, "priority", embed("priority", json!(1))),
        (Place::Embeddings, "timeout", embed("timeout", json!(1.5))),
        (
            Place::Embeddings,
            "cache_salt",
            embed("cache_salt", json!("me")),
        ),
        (Place::Embeddings, "model", embed("model", json!("other"))),
        (Place::Embeddings, "input", embed("input", json!("more"))),
        (
            Place::Embeddings,
            "encoding_format",
            embed("encoding_format", json!("base64")),
        ),
        (
            Place::Embeddings,
            "dimensions",
            embed("dimensions", json!(2)),
        ),
        (
            Place::Message,
            "content",
            (user(&json!({})), user(&json!({"content": "Bye"}))),
        ),
        (
            Place::Message,
            "name",
            (user(&json!({})), user(&json!({"name": "Al"}))),
        ),
        (
            Place::Message,
            "refusal",
            (
                silent(),
                after(json!({"role": "assistant", "refusal": "no"})),
            ),
        ),
        (
            Place::Message,
            "reasoning_content",
            (
                silent(),
                after(json!({"role": "assistant", "reasoning_content": "hm"})),
            ),
        ),
        (
            Place::Message,
            "reasoning",
            (
                silent(),
                after(json!({"role": "assistant", "reasoning": "hm"})),
            ),
        ),
        (Place::Message, "tool_calls", (silent(), plain_call())),
        (
            Place::Message,
            "function_call",
            (
                silent(),
                after(json!({"role": "assistant", "function_call": f()})),
            ),
        ),
        (
            Place::Message,
            "tool_call_id",
            (user(&json!({})), user(&json!({"tool_call_id": "1"}))),
        ),
        (
            Place::Part,
            "type",
            (
                part(json!({"text": "a"})),
                part(json!({"type": "text", "text": "a"})),
            ),
        ),
        (
            Place::Part,
            "text",
            (
                part(json!({"type": "text", "text": "a"})),
                part(json!({"type": "text", "text": "b"})),
            ),
        ),
        (
            Place::Part,
            "refusal",
            (
                part(json!({"type": "refusal", "refusal": "a"})),
                part(json!({"type": "refusal", "refusal": "b"})),
            ),
        ),
        (
            Place::ToolCall,
            "id",
            (plain_call(), call(json!({"id": "1", "function": f()}))),
        ),
        (
            Place::ToolCall,
            "type",
            (
                plain_call(),
                call(json!({"type": "custom", "function": f()})),
            ),
        ),
        (
            Place::ToolCall,
            "function",
            (plain_call(), call(json!({"function": {"name": "g"}}))),
        ),
        (
            Place::Function,
            "name",
            (plain_call(), call(json!({"function": {"name": "g"}}))),
        ),
        (
            Place::Function,
            "arguments",
            (
                plain_call(),
                call(json!({"function": {"name": "f", "arguments": "{}"}})),
            ),
        ),
    ];
    let path = |(place, name, (without, with)): (Place, _, (Value, Value))| {
        let path = if place == Place::Embeddings {
            EMBED
        } else if with.get("messages").is_some() {
            CHAT
        } else {
            TEXT
        };
        (place, name, path, (without, with))
    };
    cases.into_iter().map(path).collect()
}
