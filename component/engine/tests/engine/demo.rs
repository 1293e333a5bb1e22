//! The trained demo model, as it ships, writes what transformers wrote with the same weights.
//!
//! Transformers' keys and values are f32, so ours are too where its tokens are asked for; its
//! closest two logits are 0.01 apart on the way, which f16 can turn. What the scalar kernels write
//! with keys and values in f16, the default, is recorded beside it.

use crate::support::{complete, demo, embed, engine, greedy, ids, json};
use serde_json::Value;
use sterna_engine::engine::Engine;
use sterna_engine::request::{Message, Prompt, Request};
use sterna_kernels::{Isa, KvType};

#[test]
fn stories_equal_the_reference() {
    let model = demo();
    let mut engine = engine(&model, |options| options.kv_type = KvType::F32);
    stories_are(&mut engine, |story| story);
}

#[test]
fn stories_with_the_default_options_are_those_recorded() {
    let model = demo();
    for isa in Isa::supported() {
        let mut engine = engine(&model, |options| options.isa = isa);
        stories_are(&mut engine, |story| &story["f16"]);
    }
}

/// From its words and from a chat, each story goes on as `told` of its record says.
fn stories_are(engine: &mut Engine, told: impl Fn(&Value) -> &Value) {
    for story in json("demo-expected.json").as_array().unwrap() {
        let opening = story["prompt"].as_str().unwrap();
        let expected = ids(&told(story)["greedy"]);
        let request = Request {
            max_tokens: Some(u32::try_from(expected.len()).unwrap()),
            sampling: greedy(),
            ..Request::new(Prompt::Text(opening.into()))
        };
        let completion = complete(engine, request.clone()).unwrap();
        assert_eq!(completion.tokens, expected, "{opening}");
        assert_eq!(
            completion.text,
            told(story)["text"].as_str().unwrap(),
            "{opening}"
        );

        // The chat template takes the user's words as the story's opening.
        let message = Message::new("user", opening);
        let chat = Request {
            prompt: Prompt::Messages(vec![message].into()),
            ..request
        };
        assert_eq!(complete(engine, chat).unwrap(), completion, "{opening}");
    }
}

#[test]
fn embeddings_are_unit_vectors_that_depend_on_the_text() {
    let model = demo();
    let mut engine = engine(&model, |_| {});
    let mut embed = |text: &str| embed(&mut engine, Prompt::Text(text.into())).unwrap().0;
    let (cat, same, dog) = (
        embed("The cat sat."),
        embed("The cat sat."),
        embed("A dog ran away from Tom."),
    );
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    assert_eq!(cat.len(), model.config.hidden_size);
    assert!((dot(&cat, &cat) - 1.0).abs() < 1e-5);
    assert_eq!(cat, same);
    assert!(dot(&cat, &dog) < 0.999);
    assert_eq!(engine.stats().kv_bytes, 0);
}
