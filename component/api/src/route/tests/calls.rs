//! Functions, their calls, and reasoning: what the engine is asked, and the answer, whole and
//! streamed.

use super::*;
use crate::engine::{CallForm, Conversation, Event, Finish, FinishReason, Prompt, Tags, Usage};

/// A model with the tags of Qwen's, that answers with these pieces of text.
pub(super) fn qwen(pieces: &[&str], reason: FinishReason) -> ScriptedEngine {
    let tags = |begin: &str, end: &str| {
        Some(Tags {
            begin: begin.into(),
            end: end.into(),
        })
    };
    let usage = Usage {
        prompt_tokens: 3,
        completion_tokens: 9,
        cached_tokens: 1,
    };
    let last = Event {
        text: String::new(),
        tokens: Vec::new(),
        finish: Some(Finish { reason, usage }),
        details: Vec::new(),
        prompt: Vec::new(),
        embedding: None,
    };
    let script = pieces.iter().map(|piece| text(piece)).chain([Ok(last)]);
    let mut engine = ScriptedEngine::new(Ok(script.collect()));
    engine.models[0].reasoning_tags = tags("<think>", "</think>");
    engine.models[0].call_form = tags("<tool_call>", "</tool_call>").map(CallForm::Tagged);
    engine
}

/// Thinks, speaks and calls two functions.
pub(super) const PIECES: [&str; 8] = [
    "<think>",
    "\nhm\n",
    "</think>\n\nLook",
    ":\n<tool",
    "_call>\n{\"name\": \"f\", \"argu",
    "ments\": {\"z\": 1.0, \"a\": \"é\"}}\n</tool_call>\n<tool_call>\n{\"name\"",
    ": \"g\"}\n",
    "</tool_call>",
];

fn with_tools() -> Value {
    let mut body = hello();
    body["tools"] = json!([{"type": "function", "function": {"name": "f", "parameters": {}}}]);
    body
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

/// The grammar that the engine is asked to follow.
fn grammar(body: &Value) -> Option<crate::engine::Constraint> {
    let engine = qwen(&["x"], FinishReason::Stop);
    let got = post(&engine, CHAT, body);
    assert_eq!(got.status, 200, "{}", String::from_utf8_lossy(&got.body));
    engine.asked.borrow()[0].constraint.clone()
}

#[test]
fn an_answer_can_be_made_to_call() {
    use crate::engine::Grammar;
    let lark = |body: &Value| match grammar(body).unwrap().grammar {
        Grammar::Lark(lark) => lark,
        other => panic!("{other:?}"),
    };
    assert_eq!(grammar(&with_tools()), None, "the model decides");
    assert_eq!(
        grammar(&with(with_tools(), "tool_choice", json!("none"))),
        None
    );
    let required = with(with_tools(), "tool_choice", json!("required"));
    assert!(lark(&required).contains("one: \"<tool_call>\" call \"</tool_call>\""));
    assert!(grammar(&required).unwrap().after_reasoning);
    let one = with(required.clone(), "parallel_tool_calls", json!(false));
    assert!(lark(&one).starts_with("start: one\n"));
    let named = json!({"type": "function", "function": {"name": "f"}});
    assert_eq!(lark(&with(with_tools(), "tool_choice", named)), lark(&one));
    let mut strict = with_tools();
    strict["tools"][0]["function"]["strict"] = json!(true);
    assert_eq!(
        grammar(&strict).unwrap().trigger.as_deref(),
        Some("<tool_call>")
    );
    let both = with(required, "response_format", json!({"type": "json_object"}));
    let engine = qwen(&["x"], FinishReason::Stop);
    let (status, _, param) = post(&engine, CHAT, &both).error();
    assert_eq!((status, param.as_deref()), (400, Some("tool_choice")));
}

fn answer(engine: &ScriptedEngine, body: &Value) -> Value {
    let got = post(engine, CHAT, body);
    assert_eq!(got.status, 200, "{}", String::from_utf8_lossy(&got.body));
    got.json()["choices"][0].clone()
}

/// The deltas of a stream and why it ended.
fn deltas(engine: &ScriptedEngine, body: &Value) -> (Vec<Value>, Vec<Value>) {
    let got = post(engine, CHAT, &with(body.clone(), "stream", json!(true)));
    let sent = String::from_utf8(got.body).unwrap();
    assert!(sent.ends_with("data: [DONE]\n\n"), "{sent}");
    let data = sent.lines().filter_map(|line| line.strip_prefix("data: "));
    let chunks = data.filter_map(|data| serde_json::from_str::<Value>(data).ok());
    let choices: Vec<Value> = chunks.map(|chunk| chunk["choices"][0].clone()).collect();
    let ends = choices.iter().map(|choice| choice["finish_reason"].clone());
    let ends = ends.filter(|end| !end.is_null()).collect();
    (
        choices
            .iter()
            .map(|choice| choice["delta"].clone())
            .collect(),
        ends,
    )
}

const IDS: [&str; 2] = [
    "call_000000000000000000000000",
    "call_000000000000000000000001",
];

fn called(id: &str, name: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

#[test]
fn an_answer_that_calls_is_told_in_parts() {
    let engine = qwen(&PIECES, FinishReason::Stop);
    let choice = answer(&engine, &with_tools());
    let message = json!({
        "role": "assistant",
        "content": "Look:",
        "refusal": null,
        "reasoning_content": "hm",
        "tool_calls": [
            called(IDS[0], "f", "{\"z\": 1.0, \"a\": \"é\"}"),
            called(IDS[1], "g", "{}"),
        ],
    });
    assert_eq!(choice["message"], message);
    assert_eq!(choice["finish_reason"], "tool_calls");
    let (deltas, ends) = deltas(&engine, &with_tools());
    let named = |at: usize, name: &str| {
        let mut call = called(IDS[at], name, "");
        call["index"] = json!(at);
        json!({"tool_calls": [call]})
    };
    let rest = |at: usize, json: &str| json!({"tool_calls": [{"index": at, "function": {"arguments": json}}]});
    assert_eq!(
        deltas,
        [
            json!({"role": "assistant", "content": null}),
            json!({"reasoning_content": "hm"}),
            json!({"content": "Look"}),
            json!({"content": ":"}),
            named(0, "f"),
            rest(0, "{\"z\": 1.0, \"a\": \"é\"}"),
            named(1, "g"),
            rest(1, "{}"),
            json!({}),
        ]
    );
    assert_eq!(ends, [json!("tool_calls")]);
}

#[test]
fn the_engine_gets_functions_and_variables_as_they_were_sent() {
    let engine = qwen(&[], FinishReason::Stop);
    let body = br#"{"messages": [{"role": "user", "content": "Hi"}], "think": false,
        "tools": [ {"type": "function", "function": {"z": 1e5, "name": "f"}}],
        "chat_template_kwargs": {"b": 1, "a": 2}}"#;
    assert_eq!(send(&engine, "POST", CHAT, body).status, 200);
    let asked = engine.asked.borrow();
    let Prompt::Messages(Conversation {
        tools,
        template_kwargs,
        ..
    }) = &asked[0].prompt
    else {
        panic!("a conversation");
    };
    assert_eq!(
        tools.as_deref(),
        Some(r#"[ {"type": "function", "function": {"z": 1e5, "name": "f"}}]"#)
    );
    assert_eq!(
        template_kwargs.as_deref(),
        Some(r#"{"b": 1, "a": 2, "enable_thinking": false}"#)
    );
}

#[test]
fn a_call_alone_has_no_content() {
    let engine = qwen(
        &["<tool_call>{\"name\":\"f\"}</tool_call>"],
        FinishReason::Stop,
    );
    let choice = answer(&engine, &with_tools());
    assert_eq!(choice["message"]["content"], Value::Null);
    assert_eq!(choice["message"].get("reasoning_content"), None);
    assert_eq!(choice["message"]["tool_calls"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_cut_stays_text_and_its_end_is_length() {
    let pieces = ["Hi <tool_call>{\"name\": \"f\", \"argu"];
    let engine = qwen(&pieces, FinishReason::Length);
    let choice = answer(&engine, &with_tools());
    assert_eq!(choice["message"]["content"], pieces[0]);
    assert_eq!(choice["message"].get("tool_calls"), None);
    assert_eq!(choice["finish_reason"], "length");
    let (deltas, ends) = deltas(&engine, &with_tools());
    let texts = deltas.iter().filter_map(|delta| delta["content"].as_str());
    assert_eq!(texts.collect::<String>(), pieces[0]);
    assert_eq!(ends, [json!("length")]);
    // A call that is complete stays one.
    let engine = qwen(&PIECES[..7], FinishReason::Length);
    let choice = answer(&engine, &with_tools());
    assert_eq!(choice["message"]["tool_calls"].as_array().unwrap().len(), 2);
    assert_eq!(choice["finish_reason"], "length");
    let engine = qwen(&PIECES[..2], FinishReason::Length);
    let choice = answer(&engine, &hello());
    assert_eq!(choice["message"]["reasoning_content"], "hm");
    assert_eq!(choice["message"]["content"], "");
}

#[test]
fn without_functions_tags_are_text() {
    let engine = qwen(&PIECES[2..], FinishReason::Stop);
    let whole = PIECES[2..].concat();
    for body in [hello(), with(with_tools(), "tool_choice", json!("none"))] {
        let choice = answer(&engine, &body);
        assert_eq!(choice["message"]["content"], *whole);
        assert_eq!(choice["finish_reason"], "stop");
        let asked = engine.asked.borrow();
        let Prompt::Messages(conversation) = &asked.last().unwrap().prompt else {
            panic!("a conversation");
        };
        assert_eq!(conversation.tools, None);
    }
    // A completion is never taken apart.
    let engine = qwen(&PIECES, FinishReason::Stop);
    let got = post(&engine, TEXT, &json!({"prompt": "x"})).json();
    assert_eq!(got["choices"][0]["text"], *PIECES.concat());
}

#[test]
fn reasoning_goes_where_it_is_wanted() {
    let engine = qwen(&PIECES[..3], FinishReason::Stop);
    let body = |field: &str, value: Value| with(hello(), field, value);
    let inline = answer(&engine, &body("separate_reasoning", json!(false)));
    assert_eq!(inline["message"]["content"], *PIECES[..3].concat());
    let hidden = answer(&engine, &body("include_reasoning", json!(false)));
    assert_eq!(hidden["message"]["content"], "Look");
    assert_eq!(hidden["message"].get("reasoning_content"), None);
    let (deltas, _) = deltas(&engine, &body("reasoning_format", json!("hidden")));
    assert!(
        deltas
            .iter()
            .all(|delta| delta.get("reasoning_content").is_none())
    );
    // Some templates open it.
    let mut opened = qwen(&["hm</think>Hi"], FinishReason::Stop);
    opened.reasons = true;
    let choice = answer(&opened, &hello());
    assert_eq!(choice["message"]["reasoning_content"], "hm");
    assert_eq!(choice["message"]["content"], "Hi");
}

#[test]
fn one_call_is_enough_where_there_may_be_one() {
    let engine = qwen(&PIECES, FinishReason::Stop);
    let body = with(with_tools(), "parallel_tool_calls", json!(false));
    let got = post(&engine, CHAT, &body).json();
    let choice = &got["choices"][0];
    assert_eq!(choice["message"]["tool_calls"].as_array().unwrap().len(), 1);
    assert_eq!(choice["finish_reason"], "tool_calls");
    // The generation ended with it, and cost what had come.
    assert_eq!(got["usage"]["completion_tokens"], 6);
    assert_eq!(engine.alive(), 0);
    let (deltas, ends) = deltas(&engine, &body);
    assert_eq!(deltas.len(), 7);
    assert_eq!(ends, [json!("tool_calls")]);
}

#[test]
fn an_answer_can_be_sent_back() {
    let engine = qwen(&PIECES, FinishReason::Stop);
    let message = answer(&engine, &with_tools())["message"].clone();
    let mut body = with_tools();
    let tool = json!({"role": "tool", "tool_call_id": IDS[0], "content": "7"});
    body["messages"]
        .as_array_mut()
        .unwrap()
        .extend([message, tool]);
    answer(&engine, &body);
    let asked = engine.asked.borrow();
    let Prompt::Messages(conversation) = &asked[1].prompt else {
        panic!("a conversation");
    };
    let turn = &conversation.messages[1];
    assert_eq!(turn.reasoning_content.as_deref(), Some("hm"));
    assert_eq!(turn.tool_calls[0].id, IDS[0]);
    assert_eq!(turn.tool_calls[1].arguments, "{}");
    assert_eq!(
        conversation.messages[2].tool_call_id.as_deref(),
        Some(IDS[0])
    );
}

#[test]
fn what_the_engine_refuses_has_its_clients_name() {
    for (field, param) in [
        ("prompt.tools", "tools"),
        (
            "prompt.template-kwargs.messages",
            "chat_template_kwargs.messages",
        ),
    ] {
        let refusal = crate::engine::Error::InvalidRequest(crate::engine::InvalidRequest {
            field: field.into(),
            message: "no".into(),
        });
        let got = post(&ScriptedEngine::new(Err(refusal)), CHAT, &with_tools());
        assert_eq!(got.error().2.as_deref(), Some(param));
    }
}

#[test]
fn a_stream_that_breaks_within_a_call_says_what_was_told() {
    let told = |n: usize| {
        let mut engine = qwen(&PIECES, FinishReason::Stop);
        engine.answer.as_mut().unwrap().truncate(n);
        let body = with(with_tools(), "stream", json!(true));
        let sent = String::from_utf8(post(&engine, CHAT, &body).body).unwrap();
        let last = sent.lines().rfind(|line| line.starts_with("data: "));
        let error: Value = serde_json::from_str(&last.unwrap()["data: ".len()..]).unwrap();
        let resume = &error["error"]["resume"];
        let tokens = resume["tokens"].as_array().unwrap().len();
        assert_eq!(resume["completion_tokens"], tokens);
        tokens
    };
    // Line breaks and what may be a tag are held back, and so is the second call, which begins in
    // the piece that ends the first.
    assert_eq!([1, 2, 3, 4, 5, 6, 7, 8].map(told), [1, 1, 3, 3, 3, 3, 3, 8]);
}

#[test]
fn a_long_call_keeps_its_connection_alive() {
    let pieces = [
        vec!["<tool_call>{\"arguments\": {\"a\": \""],
        vec!["x"; 100],
        vec!["\"}, \"name\": \"f\"}</tool_call>"],
    ]
    .concat();
    let body = with(with_tools(), "stream", json!(true));
    let got = post(&qwen(&pieces, FinishReason::Stop), CHAT, &body);
    let sent = String::from_utf8(got.body).unwrap();
    assert_eq!(sent.lines().filter(|line| *line == ":").count(), 3);
}

#[test]
fn arguments_are_told_as_they_come() {
    let pieces = [
        "<tool_call>\n{\"name\": \"f\", ",
        "\"arguments\": {",
        "\"a\": ",
        "\"é\"}",
        "}\n</tool_call>",
    ];
    let engine = qwen(&pieces, FinishReason::Stop);
    let (deltas, ends) = deltas(&engine, &with_tools());
    let mut named = called(IDS[0], "f", "");
    named["index"] = json!(0);
    let rest = |json: &str| json!({"tool_calls": [{"index": 0, "function": {"arguments": json}}]});
    let expected = [
        json!({"role": "assistant", "content": null}),
        json!({"tool_calls": [named]}),
        rest("{"),
        rest("\"a\": "),
        rest("\"é\"}"),
        json!({}),
    ];
    assert_eq!(deltas, expected);
    assert_eq!(ends, [json!("tool_calls")]);
    // What is cut stays a call, as OpenAI's is.
    let engine = qwen(&pieces[..3], FinishReason::Length);
    let choice = answer(&engine, &with_tools());
    assert_eq!(
        choice["message"]["tool_calls"],
        json!([called(IDS[0], "f", "{\"a\": ")])
    );
    assert_eq!(choice["message"]["content"], Value::Null);
    assert_eq!(choice["finish_reason"], "length");
}

#[test]
fn llama_calls_with_its_whole_answer_where_there_are_functions() {
    let pieces = ["{\"name\": \"f\",", " \"parameters\": {\"a\": 1}", "}"];
    let mut engine = qwen(&pieces, FinishReason::Stop);
    engine.models[0].call_form = Some(CallForm::Bare);
    let choice = answer(&engine, &with_tools());
    assert_eq!(
        choice["message"]["tool_calls"],
        json!([called(IDS[0], "f", "{\"a\": 1}")])
    );
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert!(engine.asked.borrow()[0].show_special);
    let plain = answer(&engine, &hello());
    assert_eq!(plain["message"]["content"], *pieces.concat());
    assert_eq!(plain["finish_reason"], "stop");
    assert!(!engine.asked.borrow()[1].show_special);
    let mut other = with_tools();
    other["tools"][0]["function"]["name"] = json!("g");
    let choice = answer(&engine, &other);
    assert_eq!(choice["message"]["content"], *pieces.concat());
    assert_eq!(choice["message"].get("tool_calls"), None);
}
