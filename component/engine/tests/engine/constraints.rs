//! Structured output by whole models: the same tokens with and without drafts, alone and beside
//! others, and an end where the grammar has one.

use std::collections::HashMap;

use crate::support::{Completion, complete, demo, engine, greedy, load};
use sterna_engine::error::EngineError;
use sterna_engine::options::Speculation;
use sterna_engine::request::{Constraint, FinishReason, Grammar, Prompt, Request, Sampling};

fn with(grammar: Grammar, prompt: &str) -> Request {
    Request {
        constraint: Some(Constraint {
            grammar,
            after_reasoning: false,
            trigger: None,
        }),
        max_tokens: Some(200),
        sampling: greedy(),
        ..Request::new(Prompt::Text(prompt.into()))
    }
}

const SCHEMA: &str = r#"{"type": "object", "properties": {
    "animal": {"enum": ["dog", "cat", "bird"]},
    "toys": {"type": "array", "items": {"type": "string", "maxLength": 12}, "minItems": 2, "maxItems": 4},
    "age": {"type": "integer", "minimum": 1, "maximum": 20}},
    "required": ["animal", "toys", "age"], "additionalProperties": false}"#;

fn schema() -> Grammar {
    Grammar::JsonSchema {
        schema: SCHEMA.into(),
        strict: true,
    }
}

fn check(completion: &Completion) {
    let value: serde_json::Value = serde_json::from_str(&completion.text).unwrap();
    let wanted: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    jsonschema::validate(&wanted, &value).unwrap();
    let finish = completion.last.as_ref().unwrap().finish.unwrap();
    assert_eq!(finish.reason, FinishReason::Stop);
}

#[test]
fn drafts_change_nothing() {
    let model = demo();
    let repeats = "The dog said \"ball\", \"ball\", \"ball\". {\"animal\": \"dog\", \"toys\": [\"ball\", \"ball\"]";
    for temperature in [0.0, 1.0] {
        let request = || Request {
            sampling: Sampling {
                temperature: Some(temperature),
                seed: Some(7),
                ..Sampling::default()
            },
            ..with(schema(), repeats)
        };
        let by = |speculation| {
            let mut engine = engine(&model, |options| options.speculation = speculation);
            let completion = complete(&mut engine, request()).unwrap();
            (completion, engine.stats().accepted)
        };
        let (plain, _) = by(Speculation::Off);
        let (drafted, _) = by(Speculation::Always(8));
        assert_eq!(plain.tokens, drafted.tokens);
        check(&plain);
    }
}

#[test]
fn each_sequence_of_a_batch_follows_its_own() {
    let model = demo();
    let requests = || {
        vec![
            with(schema(), "Once upon a time"),
            Request {
                max_tokens: Some(60),
                sampling: greedy(),
                ..Request::new(Prompt::Text("Once upon a time".into()))
            },
            with(Grammar::Choice(vec!["yes".into(), "no".into()]), "Is it? "),
            with(schema(), "There was a cat"),
            with(Grammar::Regex("[0-9]{3}-[0-9]{4}".into()), "Call "),
        ]
    };
    let alone: Vec<Completion> = requests()
        .into_iter()
        .map(|request| complete(&mut engine(&model, |_| {}), request).unwrap())
        .collect();
    let mut engine = engine(&model, |options| options.max_sequences = 8);
    let ids: Vec<_> = requests()
        .into_iter()
        .map(|request| engine.submit(request).unwrap().id)
        .collect();
    let mut together: HashMap<_, Completion> = HashMap::new();
    while engine.step(&mut |(id, event)| together.entry(id).or_default().add(event.unwrap())) {}
    for (id, alone) in ids.iter().zip(&alone) {
        assert_eq!(together[id].tokens, alone.tokens);
    }
    check(&alone[0]);
    check(&alone[3]);
    assert!(["yes", "no"].contains(&alone[2].text.as_str()));
    assert_eq!(alone[4].text.len(), 8);
}

#[test]
fn a_grammar_holds_behind_reasoning() {
    let model = load("scripted/scripted.gguf");
    let request = |after_reasoning| Request {
        constraint: Some(Constraint {
            grammar: schema(),
            after_reasoning,
            trigger: None,
        }),
        ..with(schema(), "<think>")
    };
    let free = complete(&mut engine(&model, |_| {}), request(true)).unwrap();
    // It says what it always says there; the grammar begins once it has thought.
    let (thought, answer) = free.text.split_once("</think>").unwrap();
    assert!(thought.contains("I think"), "{}", free.text);
    let answer = Completion {
        text: answer.trim_start().to_owned(),
        ..free.clone()
    };
    check(&answer);
    let bound = complete(&mut engine(&model, |_| {}), request(false)).unwrap();
    check(&bound);
}

#[test]
fn what_is_wrong_is_refused_before_it_is_queued() {
    let model = demo();
    let mut engine = engine(&model, |_| {});
    let before = engine.stats();
    for (grammar, why) in [
        (Grammar::Regex("(".into()), "regex"),
        (
            Grammar::JsonSchema {
                schema: r#"{"type": "array", "uniqueItems": true}"#.into(),
                strict: true,
            },
            "uniqueItems",
        ),
    ] {
        match engine.submit(with(grammar, "x")) {
            Err(EngineError::InvalidRequest { field, message }) => {
                assert_eq!(field, "constraint");
                assert!(message.contains(why), "{message}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(engine.stats(), before);
}

#[test]
fn an_end_that_is_ignored_does_not_keep_a_grammar_from_ending() {
    let model = demo();
    for ignore_eos in [false, true] {
        let request = Request {
            ignore_eos,
            min_tokens: 50,
            ..with(Grammar::Choice(vec!["yes".into()]), "Is it? ")
        };
        let completion = complete(&mut engine(&model, |_| {}), request).unwrap();
        assert_eq!(completion.text, "yes");
    }
}
