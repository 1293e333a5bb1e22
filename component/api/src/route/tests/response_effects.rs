//! `/v1/responses`: what each honoured field changes.

use super::known_fields::Effect;
use super::responses::{RESPONSES, ask, tool, with};
use super::*;
use crate::known::Place;

/// A case for each honoured field.
pub(super) fn effects() -> Vec<Effect> {
    let mut effects = Vec::new();
    let body = || ask(json!("Hello"));
    let mut of = |place, name, without: Value, with: Value| {
        effects.push((place, name, RESPONSES, (without, with)));
    };
    for (name, value) in [
        ("model", json!("other")),
        ("instructions", json!("Be brief.")),
        ("max_output_tokens", json!(3)),
        ("temperature", json!(0.5)),
        ("top_p", json!(0.5)),
        ("top_k", json!(5)),
        ("min_p", json!(0.5)),
        ("seed", json!(9)),
        ("stop", json!("x")),
        ("presence_penalty", json!(1.5)),
        ("frequency_penalty", json!(1.5)),
        ("repetition_penalty", json!(1.5)),
        ("tools", json!([tool()])),
        ("text", json!({"format": {"type": "json_object"}})),
        ("reasoning", json!({"effort": "none"})),
        ("chat_template_kwargs", json!({"a": 1})),
        ("stream", json!(true)),
        ("metadata", json!({"a": "b"})),
        ("user", json!("u")),
        ("prompt_cache_key", json!("k")),
        ("safety_identifier", json!("s")),
        ("service_tier", json!("flex")),
        ("include", json!(["message.output_text.logprobs"])),
        ("top_logprobs", json!(2)),
        ("stream_options", json!({"include_usage": true})),
        ("cache_salt", json!("me")),
        ("priority", json!(1)),
        ("timeout", json!(1.5)),
        ("resume", json!("x")),
    ] {
        of(Place::Responses, name, body(), with(body(), name, value));
    }
    of(Place::Responses, "input", json!({}), body());
    let called = || with(body(), "tools", json!([tool()]));
    for (name, value) in [
        ("tool_choice", json!("none")),
        ("parallel_tool_calls", json!(false)),
    ] {
        of(
            Place::Responses,
            name,
            called(),
            with(called(), name, value),
        );
    }
    let mut within = |place,
                      outer: &dyn Fn(Value) -> Value,
                      plain: Value,
                      fields: Vec<(&'static str, Value)>| {
        for (name, value) in fields {
            let changed = with(plain.clone(), name, value);
            of(place, name, outer(plain.clone()), outer(changed));
        }
    };
    let text = |text: Value| with(body(), "text", text);
    let fields = vec![
        ("format", json!({"type": "x"})),
        ("verbosity", json!("low")),
    ];
    within(Place::ResponsesText, &text, json!({}), fields);
    let format = |format: Value| text(json!({ "format": format }));
    let plain = json!({"type": "json_schema", "name": "n", "schema": {"type": "object"}});
    let wrong = || json!(7);
    let fields = vec![
        ("name", wrong()),
        ("description", wrong()),
        ("schema", wrong()),
        ("strict", wrong()),
    ];
    let text_only = format(json!({"type": "text"}));
    of(
        Place::ResponsesFormat,
        "type",
        text_only,
        format(plain.clone()),
    );
    // Wherever schemas are refused, they are without looking at them.
    let refused = post(&story(), RESPONSES, &format(plain.clone())).status == 400;
    for (name, value) in fields {
        let changed = with(plain.clone(), name, value);
        let (before, after) = (format(plain.clone()), format(changed));
        if refused {
            of(Place::ResponsesFormat, name, body(), after);
        } else {
            of(Place::ResponsesFormat, name, before, after);
        }
    }
    let reasoning = |it: Value| with(body(), "reasoning", it);
    let mut within = |place,
                      outer: &dyn Fn(Value) -> Value,
                      plain: Value,
                      fields: Vec<(&'static str, Value)>| {
        for (name, value) in fields {
            let changed = with(plain.clone(), name, value);
            of(place, name, outer(plain.clone()), outer(changed));
        }
    };
    within(
        Place::ResponsesReasoning,
        &reasoning,
        json!({}),
        vec![("effort", json!("none"))],
    );
    let item = |item: Value| ask(json!([item]));
    within(
        Place::ResponsesMessage,
        &item,
        json!({"role": "user", "content": "x"}),
        vec![
            ("type", json!("reasoning")),
            ("role", json!("system")),
            ("content", json!("y")),
        ],
    );
    within(
        Place::ResponsesCall,
        &item,
        json!({"type": "function_call", "name": "f", "call_id": "1"}),
        vec![
            ("type", json!("message")),
            ("name", json!("g")),
            ("call_id", json!("2")),
            ("arguments", json!("{}")),
            ("namespace", json!("n")),
        ],
    );
    within(
        Place::ResponsesOutput,
        &item,
        json!({"type": "function_call_output", "call_id": "1", "output": "x"}),
        vec![
            ("type", json!("message")),
            ("call_id", json!("2")),
            ("output", json!("y")),
        ],
    );
    let part = |text: &str| json!([{"type": "reasoning_text", "text": text}]);
    let thought = |it: Value| ask(json!([it, {"role": "user", "content": "x"}]));
    within(
        Place::ResponsesThought,
        &thought,
        json!({"type": "reasoning"}),
        vec![
            ("type", json!("message")),
            ("content", part("a")),
            ("summary", part("b")),
        ],
    );
    let tools = |tool: Value| with(body(), "tools", json!([tool]));
    let functions = json!([{"type": "function", "name": "f"}]);
    within(
        Place::ResponsesNamespace,
        &tools,
        json!({"type": "namespace", "name": "n", "tools": functions}),
        vec![
            ("type", json!("custom")),
            ("name", json!("m")),
            ("tools", json!([])),
        ],
    );
    within(
        Place::ResponsesTool,
        &tools,
        json!({"type": "function", "name": "f"}),
        vec![
            ("type", json!("custom")),
            ("name", json!("g")),
            ("description", json!("d")),
            ("parameters", json!({"a": 1})),
            ("strict", json!(true)),
        ],
    );
    effects
}
