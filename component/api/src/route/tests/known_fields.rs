//! The table of fields, tested from outside: harmless fields change nothing, honoured ones
//! something.

use super::*;
use crate::engine::FinishReason;
use crate::known::{self, Place};
use std::collections::BTreeSet;

/// A field of a place, a route that reads it, and a request without it and with it.
pub(super) type Effect = (Place, &'static str, &'static str, (Value, Value));

/// All that a request leads to: what the engine is asked, and the answer.
fn observed(path: &str, body: &Value) -> (u16, String, String) {
    let engine = calls::qwen(&calls::PIECES, FinishReason::Stop);
    let got = post(&engine, path, body);
    let asked = format!("{:?}", engine.asked.borrow());
    (got.status, asked, String::from_utf8(got.body).unwrap())
}

pub(super) fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

#[test]
fn harmless_fields_change_nothing() {
    for (path, body, place) in [
        (CHAT, hello(), Place::Chat),
        (TEXT, json!({"prompt": "x"}), Place::Text),
        (EMBED, json!({"input": "x"}), Place::Embeddings),
        ("/tokenize", json!({"content": "x"}), Place::Tokenize),
        ("/detokenize", json!({"tokens": [80]}), Place::Detokenize),
        ("/apply-template", hello(), Place::Template),
        (
            "/completion",
            json!({"prompt": "x"}),
            Place::LlamaCompletion,
        ),
        ("/v1/responses", json!({"input": "x"}), Place::Responses),
        ("/v1/messages", messages::hello(), Place::Messages),
        ("/api/chat", ollama::hello(), Place::OllamaChat),
        (
            "/api/generate",
            json!({"model": "org/demo", "prompt": "x"}),
            Place::OllamaGenerate,
        ),
        ("/api/show", json!({"model": "org/demo"}), Place::OllamaShow),
        (
            "/api/embed",
            json!({"model": "org/demo", "input": "x"}),
            Place::OllamaEmbed,
        ),
        (
            "/api/embeddings",
            json!({"model": "org/demo", "prompt": "x"}),
            Place::OllamaEmbedOne,
        ),
    ] {
        let plain = observed(path, &body);
        assert_eq!(plain.0, 200);
        for name in known::harmless_names(place) {
            for value in [json!(true), json!(0), json!("x"), json!({"a": [1]})] {
                let sent = with(body.clone(), name, value);
                assert_eq!(observed(path, &sent), plain, "{sent}");
            }
        }
    }
}

#[test]
fn every_honoured_field_has_an_effect() {
    let mut tried = BTreeSet::new();
    for (place, name, path, (without, with)) in completion_effects::effects()
        .into_iter()
        .chain(tokens::effects())
        .chain(llama_cpp::effects())
        .chain(response_effects::effects())
        .chain(messages::effects())
        .chain(ollama::effects())
    {
        assert_ne!(
            observed(path, &without),
            observed(path, &with),
            "{place:?} {name}"
        );
        tried.insert((format!("{place:?}"), name));
    }
    let honoured: BTreeSet<_> = known::honoured_names()
        .map(|(place, name)| (format!("{place:?}"), name))
        .collect();
    assert_eq!(tried, honoured);
}

#[test]
fn only_the_model_decides_whether_it_calls() {
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {}}}]);
    let plain = observed(CHAT, &hello());
    let body = |choice| with(with(hello(), "tools", tools.clone()), "tool_choice", choice);
    assert_eq!(observed(CHAT, &body(json!("none"))), plain);
    assert_eq!(
        observed(CHAT, &body(json!("auto"))),
        observed(CHAT, &body(Value::Null))
    );
    let named = json!({"type": "function", "function": {"name": "f"}});
    for choice in [json!("required"), named] {
        let (status, code, param) = post(&story(), CHAT, &body(choice)).error();
        assert_eq!((status, code.as_str()), (400, "unsupported_parameter"));
        assert_eq!(param.as_deref(), Some("tool_choice"));
    }
}

#[test]
fn two_prompts_get_two_choices() {
    let engine = story();
    let body = json!({"prompt": ["a", [1, 2]], "seed": 4});
    let got = post(&engine, TEXT, &body).json();
    let choice = |index: u32| json!({"index": index, "text": "Once upon", "logprobs": null, "finish_reason": "length"});
    assert_eq!(got["choices"], json!([choice(0), choice(1)]));
    assert_eq!(got["usage"]["total_tokens"], 10);
    let seeds: Vec<_> = engine
        .asked
        .borrow()
        .iter()
        .map(|asked| asked.sampling.seed)
        .collect();
    assert_eq!(
        seeds,
        [Some(4), Some(4)],
        "a seed that was chosen is every choice's"
    );
}
