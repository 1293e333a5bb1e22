//! `/api/...`: what the engine is asked, and the answer, whole and by lines.

use super::known_fields::Effect;
use super::*;
use crate::engine::{FinishReason, Prompt};
use crate::known::Place;

const CHAT: &str = "/api/chat";
const GENERATE: &str = "/api/generate";
const WHEN: &str = "2023-11-14T22:13:20Z";

pub(super) fn hello() -> Value {
    json!({"model": "org/demo", "messages": [{"role": "user", "content": "Hello"}]})
}

fn prompt() -> Value {
    json!({"model": "org/demo", "prompt": "Hello"})
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

fn whole(body: Value) -> Value {
    with(body, "stream", json!(false))
}

fn after(message: Value) -> Value {
    let messages = json!([message, {"role": "user", "content": "Hello"}]);
    with(hello(), "messages", messages)
}

fn tools() -> Value {
    json!([{"type": "function", "function": {"name": "f", "parameters": {"z": 1, "a": 2}}}])
}

/// A case for each honoured field.
pub(super) fn effects() -> Vec<Effect> {
    let mut effects = Vec::new();
    let mut add = |place, path, name, without: Value, with: Value| {
        effects.push((place, name, path, (without, with)));
    };
    let common = [
        ("model", json!("other")),
        ("stream", json!(false)),
        ("format", json!("json")),
        ("think", json!(false)),
        ("options", json!({"seed": 5})),
        ("resume", json!("x")),
    ];
    for (place, path, body) in [
        (Place::OllamaChat, CHAT, hello()),
        (Place::OllamaGenerate, GENERATE, prompt()),
    ] {
        for (name, value) in common.clone() {
            add(
                place,
                path,
                name,
                body.clone(),
                with(body.clone(), name, value),
            );
        }
    }
    let model = || json!({"model": "org/demo"});
    add(Place::OllamaChat, CHAT, "messages", model(), hello());
    add(
        Place::OllamaChat,
        CHAT,
        "tools",
        hello(),
        with(hello(), "tools", tools()),
    );
    add(Place::OllamaGenerate, GENERATE, "prompt", model(), prompt());
    for (name, value) in [("system", json!("Be brief.")), ("raw", json!(true))] {
        add(
            Place::OllamaGenerate,
            GENERATE,
            name,
            prompt(),
            with(prompt(), name, value),
        );
    }
    for (name, value) in [
        ("num_predict", json!(3)),
        ("temperature", json!(0.5)),
        ("top_k", json!(5)),
        ("top_p", json!(0.5)),
        ("min_p", json!(0.5)),
        ("repeat_penalty", json!(1.5)),
        ("presence_penalty", json!(1.5)),
        ("frequency_penalty", json!(1.5)),
        ("seed", json!(9)),
        ("stop", json!(["x"])),
        ("num_ctx", json!(513)),
    ] {
        let options = with(hello(), "options", json!({ name: value }));
        add(Place::OllamaOptions, CHAT, name, hello(), options);
    }
    let mut within =
        |place, outer: &dyn Fn(Value) -> Value, plain: Value, fields: &[(&'static str, Value)]| {
            for (name, value) in fields {
                let changed = with(plain.clone(), name, value.clone());
                add(place, CHAT, name, outer(plain.clone()), outer(changed));
            }
        };
    let function = || json!({"name": "f", "arguments": {}});
    let call = || json!({"function": function()});
    within(
        Place::OllamaMessage,
        &after,
        json!({"role": "assistant", "content": "x"}),
        &[
            ("role", json!("system")),
            ("content", json!("y")),
            ("thinking", json!("hm")),
            ("tool_calls", json!([call()])),
            ("tool_name", json!("f")),
            ("tool_call_id", json!("1")),
        ],
    );
    let called = |call: Value| after(json!({"role": "assistant", "tool_calls": [call]}));
    let other = json!({"name": "g"});
    within(
        Place::OllamaCall,
        &called,
        call(),
        &[("function", other), ("id", json!("1"))],
    );
    let of = |function: Value| called(json!({ "function": function }));
    within(
        Place::OllamaFunction,
        &of,
        function(),
        &[("name", json!("g")), ("arguments", json!({"a": 1}))],
    );
    for (place, path, plain, name, value) in [
        (
            Place::OllamaShow,
            "/api/show",
            json!({}),
            "model",
            json!("org/demo"),
        ),
        (
            Place::OllamaShow,
            "/api/show",
            json!({}),
            "name",
            json!("org/demo"),
        ),
        (
            Place::OllamaEmbed,
            "/api/embed",
            json!({"input": "x"}),
            "model",
            json!("org/demo"),
        ),
        (
            Place::OllamaEmbed,
            "/api/embed",
            model(),
            "input",
            json!("x"),
        ),
        (
            Place::OllamaEmbedOne,
            "/api/embeddings",
            json!({"prompt": "x"}),
            "model",
            json!("org/demo"),
        ),
        (
            Place::OllamaEmbedOne,
            "/api/embeddings",
            model(),
            "prompt",
            json!("x"),
        ),
    ] {
        add(place, path, name, plain.clone(), with(plain, name, value));
    }
    let input = with(model(), "input", json!("x"));
    let short = with(input.clone(), "dimensions", json!(2));
    add(Place::OllamaEmbed, "/api/embed", "dimensions", input, short);
    effects
}

/// The lines of a stream.
fn lines(got: &Got) -> Vec<Value> {
    assert_eq!(got.header("content-type"), Some("application/x-ndjson"));
    let text = String::from_utf8(got.body.clone()).unwrap();
    assert!(text.ends_with('\n'));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_chat_is_answered_whole_or_by_lines() {
    let engine = story();
    let options =
        json!({"num_predict": 7, "temperature": 0, "stop": ["x"], "num_ctx": 256, "num_thread": 4});
    let body = with(
        with(hello(), "options", options),
        "model",
        json!("org/demo:latest"),
    );
    let got = post(&engine, CHAT, &whole(body.clone()));
    assert_eq!(got.status, 200, "{}", String::from_utf8_lossy(&got.body));
    assert_eq!(
        got.json(),
        json!({
            "model": "org/demo", "created_at": WHEN, "message": {"role": "assistant", "content": "Once upon"},
            "done": true, "done_reason": "length", "prompt_eval_count": 3, "eval_count": 2,
        })
    );
    let same = story();
    let chat = json!({"model": "org/demo", "messages": hello()["messages"], "max_tokens": 7, "temperature": 0, "stop": ["x"]});
    post(&same, super::CHAT, &chat);
    assert_eq!(
        *engine.asked.borrow(),
        *same.asked.borrow(),
        "it is the chat's request"
    );
    let piece = |text: &str| {
        json!({"model": "org/demo", "created_at": WHEN,
        "message": {"role": "assistant", "content": text}, "done": false})
    };
    let mut last = got.json();
    last["message"]["content"] = json!("");
    let streamed = post(&story(), CHAT, &body);
    assert_eq!(lines(&streamed), [piece("Once"), piece(" upon"), last]);
}

#[test]
fn a_prompt_is_one_message_or_used_as_it_is() {
    let engine = story();
    let got = post(
        &engine,
        GENERATE,
        &whole(with(prompt(), "system", json!("Be brief."))),
    )
    .json();
    assert_eq!(got["response"], "Once upon");
    let Prompt::Messages(asked) = &engine.asked.borrow()[0].prompt else {
        panic!("no conversation");
    };
    let turns: Vec<_> = asked
        .messages
        .iter()
        .map(|it| (it.role.as_str(), it.content.as_str()))
        .collect();
    assert_eq!(turns, [("system", "Be brief."), ("user", "Hello")]);
    let engine = story();
    let raw = post(&engine, GENERATE, &with(prompt(), "raw", json!(true)));
    let said: Vec<Value> = lines(&raw)
        .iter()
        .map(|line| line["response"].clone())
        .collect();
    assert_eq!(said, ["Once", " upon", ""]);
    assert_eq!(
        engine.asked.borrow()[0].prompt,
        Prompt::Text("Hello".into())
    );
}

#[test]
fn arguments_over_several_lines_are_told_in_one() {
    let call = "<tool_call>{\"name\": \"f\", \"arguments\": {\n \"a\": \"x y\"\n}}</tool_call>";
    let engine = calls::qwen(&[call], FinishReason::Stop);
    let body = with(hello(), "tools", tools());
    let lines = lines(&post(&engine, CHAT, &body));
    let told: Vec<&Value> = lines
        .iter()
        .flat_map(|line| line["message"]["tool_calls"].as_array())
        .flatten()
        .map(|call| &call["function"]["arguments"])
        .collect();
    assert_eq!(told, [&json!({"a": "x y"})]);
}

#[test]
fn reasoning_and_calls_have_fields_of_their_own() {
    let body = with(hello(), "tools", tools());
    let engine = calls::qwen(&calls::PIECES, FinishReason::Stop);
    let got = post(&engine, CHAT, &whole(body.clone())).json();
    let message = &got["message"];
    assert_eq!(
        (&message["thinking"], &message["content"]),
        (&json!("hm"), &json!("Look:"))
    );
    let functions: Vec<&Value> = message["tool_calls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["function"])
        .collect();
    assert_eq!(
        functions,
        [
            &json!({"index": 0, "name": "f", "arguments": {"z": 1.0, "a": "é"}}),
            &json!({"index": 1, "name": "g", "arguments": {}}),
        ]
    );
    let engine = calls::qwen(&calls::PIECES, FinishReason::Stop);
    let lines = lines(&post(&engine, CHAT, &body));
    let told: Vec<&Value> = lines
        .iter()
        .flat_map(|line| line["message"]["tool_calls"].as_array())
        .flatten()
        .collect();
    assert_eq!(
        told,
        message["tool_calls"]
            .as_array()
            .unwrap()
            .iter()
            .collect::<Vec<_>>()
    );
    let thought: String = lines
        .iter()
        .filter_map(|line| line["message"]["thinking"].as_str())
        .collect();
    assert_eq!(thought, "hm");
    assert_eq!(lines.last().unwrap()["done_reason"], "stop");
}

#[test]
fn a_history_is_the_chats() {
    let messages = json!([
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [
            {"id": "a", "function": {"index": 0, "name": "f", "arguments": {"a": 2, "z": 1}}}]},
        {"role": "tool", "tool_name": "f", "tool_call_id": "a", "content": "sun"},
    ]);
    let engine = story();
    let got = post(&engine, CHAT, &whole(with(hello(), "messages", messages)));
    assert_eq!(got.status, 200, "{}", String::from_utf8_lossy(&got.body));
    let asked = engine.asked.borrow();
    let Prompt::Messages(asked) = &asked[0].prompt else {
        panic!("no conversation");
    };
    let [_, answer, tool] = asked.messages.as_slice() else {
        panic!("three turns");
    };
    assert_eq!(answer.reasoning_content.as_deref(), Some("hm"));
    assert_eq!(
        (
            answer.tool_calls[0].id.as_str(),
            answer.tool_calls[0].arguments.as_str()
        ),
        ("a", r#"{"a":2,"z":1}"#)
    );
    assert_eq!(
        (tool.name.as_deref(), tool.tool_call_id.as_deref()),
        (Some("f"), Some("a"))
    );
}

#[test]
fn nothing_to_answer_says_that_the_model_is_loaded() {
    for (path, body) in [
        (CHAT, json!({"model": "org/demo", "messages": []})),
        (GENERATE, json!({"model": "org/demo", "keep_alive": 0})),
    ] {
        let got = post(&story(), path, &body).json();
        assert_eq!(
            (&got["done"], &got["done_reason"]),
            (&json!(true), &json!("load"))
        );
        let got = post(&story(), path, &with(body, "model", json!("x")));
        assert_eq!(got.status, 404);
    }
}

#[test]
fn embeddings_are_openais() {
    let openai = json!({"input": ["ab", "c"], "dimensions": 2});
    let openai = post(&story(), EMBED, &openai).json();
    let body =
        json!({"model": "org/demo", "input": ["ab", "c"], "dimensions": 2, "truncate": false});
    let got = post(&story(), "/api/embed", &body).json();
    let vectors: Vec<&Value> = openai["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["embedding"])
        .collect();
    assert_eq!(
        got,
        json!({"model": "org/demo", "embeddings": vectors, "prompt_eval_count": 6})
    );
    let one = post(
        &story(),
        "/api/embeddings",
        &json!({"model": "org/demo", "prompt": "ab"}),
    )
    .json();
    let whole = post(&story(), EMBED, &json!({"input": "ab"})).json();
    assert_eq!(one, json!({"embedding": whole["data"][0]["embedding"]}));
}

#[test]
fn facts_of_the_models() {
    let mut engine = story();
    engine.models[0].call_form = calls::qwen(&[], FinishReason::Stop).models[0]
        .call_form
        .clone();
    let get = |path: &str| send(&engine, "GET", path, b"").json();
    assert_eq!(
        get("/api/version"),
        json!({"version": env!("CARGO_PKG_VERSION")})
    );
    let details =
        json!({"family": "bitnet-b1.58", "families": ["bitnet-b1.58"], "parameter_size": "5.8M"});
    let one =
        json!({"name": "org/demo", "model": "org/demo", "modified_at": WHEN, "details": details});
    assert_eq!(get("/api/tags/"), json!({"models": [one]}));
    assert_eq!(get("/api/ps")["models"][0]["context_length"], 512);
    let show = post(
        &engine,
        "/api/show",
        &json!({"model": "org/demo:latest", "verbose": true}),
    )
    .json();
    assert_eq!(
        show,
        json!({
            "modified_at": WHEN, "details": details, "capabilities": ["completion", "embedding", "tools"],
            "model_info": {"general.architecture": "bitnet-b1.58", "general.parameter_count": 5_800_000,
                "bitnet-b1.58.context_length": 512, "bitnet-b1.58.embedding_length": 4, "bitnet-b1.58.vocab_size": 4096},
        })
    );
    assert_eq!(send(&engine, "POST", "/api/tags", b"{}").status, 405);
    assert_eq!(send(&engine, "GET", CHAT, b"").status, 405);
    assert_eq!(send(&engine, "HEAD", "/api/version", b"").status, 200);
}

#[test]
fn errors_have_ollamas_form_and_the_requests_names() {
    let option = |name: &str, value: Value| with(hello(), "options", json!({ name: value }));
    let of = |name: &str, value: Value| with(hello(), name, value);
    let alone = |name: &str, value: Value| with(prompt(), name, value);
    for (path, body, named) in [
        (CHAT, json!({"messages": hello()["messages"]}), "model"),
        (CHAT, of("messages", json!("x")), "messages"),
        (
            CHAT,
            of("messages", json!([{"role": "wizard", "content": "x"}])),
            "messages[0].role",
        ),
        (
            CHAT,
            of(
                "messages",
                json!([{"role": "user", "content": "x", "images": ["x"]}]),
            ),
            "messages[0].images",
        ),
        (
            CHAT,
            of(
                "messages",
                json!([{"role": "assistant", "tool_calls": [{}]}]),
            ),
            "messages[0].tool_calls[0].function",
        ),
        (CHAT, of("truncate", json!(true)), "truncate"),
        (CHAT, of("logprobs", json!(true)), "logprobs"),
        (CHAT, of("format", json!("xml")), "format"),
        (CHAT, of("format", json!(5)), "format"),
        (CHAT, of("think", json!("high")), "think"),
        (CHAT, of("colour", json!(1)), "colour"),
        (CHAT, option("temperature", json!(9)), "options.temperature"),
        (CHAT, option("num_predict", json!(0)), "options.num_predict"),
        (CHAT, option("num_ctx", json!(513)), "options.num_ctx"),
        (CHAT, option("num_ctx", json!("x")), "options.num_ctx"),
        (CHAT, option("mirostat", json!(2)), "options.mirostat"),
        (CHAT, option("messages", json!([])), "options.messages"),
        (GENERATE, alone("suffix", json!("x")), "suffix"),
        (GENERATE, alone("template", json!("x")), "template"),
        (GENERATE, alone("context", json!([1])), "context"),
        (GENERATE, alone("images", json!(["x"])), "images"),
        (
            GENERATE,
            with(alone("raw", json!(true)), "system", json!("x")),
            "system",
        ),
        (
            GENERATE,
            with(alone("raw", json!(true)), "think", json!(true)),
            "think",
        ),
        ("/api/embed", json!({"model": "org/demo"}), "input"),
        (
            "/api/embed",
            json!({"model": "org/demo", "input": "x", "truncate": true}),
            "truncate",
        ),
        ("/api/embeddings", json!({"model": "org/demo"}), "prompt"),
        ("/api/show", json!({}), "model"),
    ] {
        let got = post(&story(), path, &body);
        let document = got.json();
        assert_eq!(got.status, 400, "{body}");
        let message = document["error"].as_str().unwrap();
        let unknown = message.ends_with(&format!(": {named}"));
        assert!(
            unknown || message.contains(&format!("'{named}'")),
            "{body}: {message}"
        );
    }
    let overflow = crate::engine::Error::ContextOverflow(crate::engine::ContextOverflow {
        limit: 512,
        requested: 600,
    });
    assert_eq!(
        post(&ScriptedEngine::new(Err(overflow)), GENERATE, &prompt()).status,
        400
    );
    assert_eq!(
        post(&story(), "/api/show", &json!({"model": "x"})).status,
        404
    );
    let fault = crate::engine::Error::Internal("NaN in layer 3".into());
    let engine = ScriptedEngine::new(Ok(vec![text("Once"), Err(fault)]));
    let lines = lines(&post(&engine, CHAT, &hello()));
    assert!(
        lines[1]["error"]
            .as_str()
            .unwrap()
            .contains("NaN in layer 3")
    );
}

#[test]
fn a_silent_stream_is_kept_alive_by_empty_pieces() {
    let mut script = vec![text(
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"",
    )];
    script.extend(vec![text("x"); 40]);
    script.push(end(""));
    let engine = calls::qwen(&[], FinishReason::Stop);
    let engine = ScriptedEngine {
        answer: Ok(script),
        ..engine
    };
    let lines = lines(&post(&engine, CHAT, &with(hello(), "tools", tools())));
    assert_eq!(lines[0]["message"]["content"], "");
    assert_eq!(lines[0]["done"], false);
    // What is cut is told as far as it is complete.
    let call = &lines[1]["message"]["tool_calls"][0]["function"];
    assert_eq!(
        (&call["name"], &call["arguments"]),
        (&json!("f"), &json!({}))
    );
    assert_eq!(lines.last().unwrap()["done"], true);
}
