//! `/tokenize`, `/detokenize` and `/apply-template`, in llama.cpp's form and in vLLM's.

use super::known_fields::Effect;
use super::*;
use crate::{known::Place, testing::FIRST_BYTE, tokens::MAX_PIECES};

const TOKENIZE: &str = "/tokenize";
const DETOKENIZE: &str = "/detokenize";
const TEMPLATE: &str = "/apply-template";

fn bytes(text: &str) -> Vec<u32> {
    text.bytes().map(|b| FIRST_BYTE + u32::from(b)).collect()
}

/// A case for each honoured field.
pub(super) fn effects() -> Vec<Effect> {
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let mut effects = Vec::new();
    let mut effect = |place, path, name, body: Value, value: Value| {
        let mut with = body.clone();
        with[name] = value;
        effects.push((place, name, path, (body, with)));
    };
    let text = || json!({"content": "a"});
    for (place, path, body) in [
        (Place::Tokenize, TOKENIZE, text()),
        (Place::Detokenize, DETOKENIZE, json!({"tokens": [99]})),
        (Place::Template, TEMPLATE, hello()),
    ] {
        effect(place, path, "model", body, json!("other"));
    }
    effect(Place::Tokenize, TOKENIZE, "content", json!({}), json!("a"));
    effect(Place::Tokenize, TOKENIZE, "prompt", json!({}), json!("a"));
    for name in [
        "add_special",
        "add_special_tokens",
        "with_pieces",
        "return_token_strs",
    ] {
        effect(Place::Tokenize, TOKENIZE, name, text(), json!(true));
    }
    effect(
        Place::Detokenize,
        DETOKENIZE,
        "tokens",
        json!({}),
        json!([99]),
    );
    for (place, path) in [(Place::Tokenize, TOKENIZE), (Place::Template, TEMPLATE)] {
        effect(
            place,
            path,
            "messages",
            json!({}),
            hello()["messages"].clone(),
        );
        effect(place, path, "tools", hello(), tools.clone());
        let mut with_tools = hello();
        with_tools["tools"] = tools.clone();
        effect(place, path, "tool_choice", with_tools, json!("none"));
        effect(
            place,
            path,
            "chat_template_kwargs",
            hello(),
            json!({"a": 1}),
        );
        effect(place, path, "enable_thinking", hello(), json!(false));
        effect(place, path, "add_generation_prompt", hello(), json!(false));
        effect(place, path, "continue_final_message", hello(), json!(true));
    }
    effect(
        Place::Template,
        TEMPLATE,
        "reasoning_effort",
        hello(),
        json!("none"),
    );
    effects
}

#[test]
fn a_content_is_answered_as_llama_cpps_server_does() {
    let ask = |body: Value| post(&story(), TOKENIZE, &body).json();
    assert_eq!(
        ask(json!({"content": "ab"})),
        json!({"tokens": bytes("ab")})
    );
    assert_eq!(ask(json!({"content": ""})), json!({"tokens": []}));
    let special = ask(json!({"content": "a", "add_special": true}));
    assert_eq!(special, json!({"tokens": [1, bytes("a")[0]]}));
    let pieces = ask(json!({"content": "a\u{e9}", "with_pieces": true}));
    let piece = |id: u32, piece: &str| json!({"id": id, "piece": piece});
    let ids = bytes("a\u{e9}");
    let expected = [
        piece(ids[0], "a"),
        piece(ids[1], "\u{fffd}"),
        piece(ids[2], "\u{fffd}"),
    ];
    assert_eq!(pieces, json!({"tokens": expected}));
}

#[test]
fn a_prompt_and_messages_are_answered_as_vllm_does() {
    let ask = |body: Value| post(&story(), "/v1/tokenize", &body).json();
    let ids = |special: bool, text: &str| {
        let special = special.then_some(1).into_iter();
        special.chain(bytes(text)).collect::<Vec<_>>()
    };
    let expected = |ids: &[u32], strs: Value| json!({"count": ids.len(), "max_model_len": 512, "tokens": ids, "token_strs": strs});
    let got = ask(json!({"model": "org/demo", "prompt": "ab"}));
    assert_eq!(got, expected(&ids(true, "ab"), Value::Null));
    let got = ask(json!({"prompt": "ab", "add_special_tokens": false, "return_token_strs": true}));
    assert_eq!(got, expected(&ids(false, "ab"), json!(["a", "b"])));
    assert_eq!(
        ask(hello()),
        expected(&ids(false, "user: Hello\n"), Value::Null)
    );
    let prompt = post(&story(), TEMPLATE, &hello()).json();
    assert_eq!(prompt, json!({"prompt": "user: Hello\n"}));
}

#[test]
fn token_ids_are_text_again() {
    let got = post(
        &story(),
        "/v1/detokenize/",
        &json!({"tokens": bytes("d\u{e9}")}),
    );
    assert_eq!(
        got.json(),
        json!({"content": "d\u{e9}", "prompt": "d\u{e9}"})
    );
}

#[test]
fn what_cannot_be_answered_is_named() {
    let many = "x".repeat(MAX_PIECES + 1);
    for (path, body, param) in [
        (TOKENIZE, json!({}), "content"),
        (TOKENIZE, json!({"content": 5}), "content"),
        (TOKENIZE, json!({"content": "a", "prompt": "a"}), "prompt"),
        (
            TOKENIZE,
            json!({"content": "a", "messages": []}),
            "messages",
        ),
        (
            TOKENIZE,
            json!({"messages": [{"role": "user"}]}),
            "messages[0].content",
        ),
        (
            TOKENIZE,
            json!({"content": "a", "parse_special": false}),
            "parse_special",
        ),
        (TOKENIZE, json!({"content": "a", "colour": 1}), "colour"),
        (
            TOKENIZE,
            json!({"content": many, "with_pieces": true}),
            "with_pieces",
        ),
        (DETOKENIZE, json!({}), "tokens"),
        (DETOKENIZE, json!({"tokens": "a"}), "tokens"),
        (DETOKENIZE, json!({"tokens": [1, -1]}), "tokens[1]"),
        (DETOKENIZE, json!({"tokens": [1, 4096]}), "tokens[1]"),
        (TEMPLATE, json!({}), "messages"),
        (TEMPLATE, json!({"messages": [], "prompt": "a"}), "prompt"),
    ] {
        let (status, _, named) = post(&story(), path, &body).error();
        assert_eq!((status, named.as_deref()), (400, Some(param)), "{body}");
    }
    let (status, code, _) = post(&story(), TOKENIZE, &json!({"model": "x", "content": ""})).error();
    assert_eq!((status, code.as_str()), (404, "model_not_found"));
}
