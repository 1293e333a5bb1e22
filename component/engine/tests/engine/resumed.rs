//! A completion that was cut goes on in another engine with the same tokens, told in the same
//! events, wherever the cut was.

use std::sync::Arc;

use crate::support::{complete, demo, engine, fixture, greedy, load};
use sterna_engine::engine::Engine;
use sterna_engine::error::EngineError;
use sterna_engine::files::LoadOptions;
use sterna_engine::model::Model;
use sterna_engine::options::Speculation;
use sterna_engine::request::{Constraint, Event, GenerationId, Grammar, Prompt, Request, Sampling};

fn request(change: impl FnOnce(&mut Request)) -> Request {
    let mut request = Request {
        max_tokens: Some(24),
        sampling: greedy(),
        ..Request::new(Prompt::Text("Once upon a time".into()))
    };
    change(&mut request);
    request
}

/// All events, without how much was cached.
fn events(engine: &mut Engine, request: Request) -> Vec<Event> {
    let id = engine.submit(request).unwrap().id;
    let mut events = Vec::new();
    while engine.step(&mut |(of, event): (GenerationId, Result<Event, _>)| {
        assert_eq!(of, id);
        let mut event = event.unwrap();
        if let Some(finish) = &mut event.finish {
            finish.usage.cached_tokens = 0;
        }
        events.push(event);
    }) {}
    events
}

/// The events of the request in one go, after they were found to be those of a completion that is
/// resumed behind each of its tokens: by an engine that begins with it, and by one that has the
/// prompt cached and drafts tokens.
fn resumed_everywhere(model: &Arc<Model>, request: &Request) -> Vec<Event> {
    let whole = events(&mut engine(model, |_| {}), request.clone());
    let tokens: Vec<u32> = whole
        .iter()
        .flat_map(|event| &event.tokens)
        .copied()
        .collect();
    let mut other = engine(model, |options| {
        options.speculation = Speculation::Always(7);
        options.prefill_chunk = 5;
    });
    for cut in 0..=tokens.len() {
        let rest = Request {
            resumed: tokens[..cut].to_vec(),
            ..request.clone()
        };
        assert_eq!(events(&mut other, rest.clone()), whole, "cut at {cut}");
        if cut % 8 == 3 {
            assert_eq!(events(&mut engine(model, |_| {}), rest), whole, "{cut}");
        }
    }
    whole
}

fn drawn(seed: u64) -> Sampling {
    Sampling {
        temperature: Some(1.0),
        top_p: Some(0.95),
        seed: Some(seed),
        ..Sampling::default()
    }
}

#[test]
fn the_same_tokens_follow_a_cut_anywhere() {
    let model = demo();
    resumed_everywhere(&model, &request(|_| {}));
    let draws =
        |seed| resumed_everywhere(&model, &request(|request| request.sampling = drawn(seed)));
    assert_ne!(draws(1), draws(2));
    resumed_everywhere(
        &model,
        &request(|request| {
            request.sampling = Sampling {
                repetition_penalty: Some(1.3),
                presence_penalty: Some(0.5),
                frequency_penalty: Some(0.7),
                ..drawn(3)
            };
            request.bad_words = vec!["the".into()];
            request.min_tokens = 20;
            request.echo = true;
        }),
    );
}

#[test]
fn held_back_texts_and_ends_are_the_same() {
    let model = demo();
    let plain = resumed_everywhere(&model, &request(|_| {}));
    let text: String = plain.iter().map(|event| event.text.as_str()).collect();
    let stop = text[text.len() / 2..text.len() / 2 + 9].to_owned();
    for include_stop in [false, true] {
        let stopped = resumed_everywhere(
            &model,
            &request(|request| {
                request.stop = vec![stop.clone(), "never said".into()];
                request.include_stop = include_stop;
            }),
        );
        assert!(stopped.len() < plain.len());
    }
    // Characters of several tokens each.
    let bytes = |request: &mut Request| {
        request.prompt = Prompt::Text("日本語のテキスト: 日本".into());
        request.sampling = drawn(5);
        request.ignore_eos = true;
    };
    resumed_everywhere(&load("tiny-I2_S.gguf"), &request(bytes));
}

#[test]
fn a_grammar_goes_on_where_it_was() {
    let model = demo();
    let schema = r#"{"type": "object", "properties": {"toys": {"type": "array", "items":
        {"type": "string", "maxLength": 8}, "minItems": 2, "maxItems": 3}, "age": {"type":
        "integer", "minimum": 1, "maximum": 20}}, "required": ["toys", "age"],
        "additionalProperties": false}"#;
    let grammar = Grammar::JsonSchema {
        schema: schema.into(),
        strict: true,
    };
    let with = |trigger: Option<&str>, grammar: Grammar| {
        request(|request| {
            request.sampling = drawn(9);
            request.max_tokens = Some(80);
            request.constraint = Some(Constraint {
                grammar,
                after_reasoning: false,
                trigger: trigger.map(str::to_owned),
            });
        })
    };
    let whole = resumed_everywhere(&model, &with(None, grammar.clone()));
    let text: String = whole.iter().map(|event| event.text.as_str()).collect();
    serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let named = Grammar::Regex(" (He|She|They) [a-z]+ [a-z]+".into());
    resumed_everywhere(&model, &with(Some("."), named));
    // What the grammar does not allow was not chosen under it.
    let wrong = Request {
        resumed: model.tokenize("no object", false).unwrap(),
        ..with(None, grammar)
    };
    let error = complete(&mut engine(&model, |_| {}), wrong).unwrap_err();
    assert!(matches!(error, EngineError::InvalidRequest { field, .. } if field == "constraint"));
}

#[test]
fn what_cannot_be_resumed_is_refused() {
    let model = demo();
    let refused = |request: Request| match engine(&model, |_| {}).submit(request) {
        Err(EngineError::InvalidRequest { field, message }) if field == "resumed" => message,
        other => panic!("{other:?}"),
    };
    let vocab = model.config.vocab_size as u32;
    let message = refused(request(|request| request.resumed = vec![1, vocab]));
    assert!(message.contains(&vocab.to_string()), "{message}");
    let message = refused(request(|request| {
        request.resumed = vec![1];
        request.logprobs = Some(0);
    }));
    assert!(message.contains("logprobs"), "{message}");
    // More than there may be is cut.
    let all = complete(&mut engine(&model, |_| {}), request(|_| {})).unwrap();
    let short = request(|request| {
        request.max_tokens = Some(5);
        request.resumed.clone_from(&all.tokens);
    });
    let short = complete(&mut engine(&model, |_| {}), short).unwrap();
    assert_eq!(short.tokens, all.tokens[..5]);
}

#[test]
fn fingerprints_tell_models_apart() {
    let of = |name: &str| load(name).fingerprint.clone();
    let tiny = of("tiny-I2_S.gguf");
    assert_eq!((tiny.len(), &tiny), (64, &of("tiny-I2_S.gguf")));
    assert_ne!(tiny, demo().fingerprint);
    assert_ne!(tiny, of("master-bf16-online"));
    // The name does not matter, the chat template does.
    let with = |options: LoadOptions| {
        let path = fixture("tiny-I2_S.gguf");
        Model::load(&path, &options, &mut |_, _| {})
            .unwrap()
            .fingerprint
    };
    let named = LoadOptions {
        id: Some("other".into()),
        ..LoadOptions::default()
    };
    assert_eq!(with(named), tiny);
    let template = LoadOptions {
        chat_template: Some("{{ messages[0].content }}".into()),
        ..LoadOptions::default()
    };
    assert_ne!(with(template), tiny);
}
