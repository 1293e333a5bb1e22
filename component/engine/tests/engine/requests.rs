//! Every field out of range is named, as WIT names it, and the engine lives on. Stop texts and
//! end-of-sequence tokens end a completion where they should.

use std::sync::{Arc, LazyLock};

use crate::support::{complete, demo, embed, engine, fixture, greedy, load, open};
use sterna_engine::error::EngineError;
use sterna_engine::model::Model;
use sterna_engine::request::{FinishReason, Message, Prompt, Request, Sampling};

static TINY: LazyLock<Arc<Model>> = LazyLock::new(|| load("packed-autobitlinear"));

fn prompt() -> Prompt {
    Prompt::Tokens(vec![1, 17, 300, 42])
}

/// The field an invalid request is blamed on.
fn blamed(request: Request) -> String {
    let mut engine = engine(&TINY, |_| {});
    let error = engine.submit(request).unwrap_err();
    assert_eq!(engine.stats().queued, 0);
    match error {
        EngineError::InvalidRequest { field, message } => {
            assert!(message.len() > 5);
            field
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_field_out_of_range_is_named() {
    let sampling = |change: fn(&mut Sampling)| {
        let mut request = Request::new(prompt());
        change(&mut request.sampling);
        blamed(request)
    };
    for bad in [Some(-0.1), Some(2.1), Some(f32::NAN), Some(f32::INFINITY)] {
        let request = Request {
            sampling: Sampling {
                temperature: bad,
                ..Sampling::default()
            },
            ..Request::new(prompt())
        };
        assert_eq!(blamed(request), "sampling.temperature", "{bad:?}");
    }
    assert_eq!(sampling(|s| s.top_p = Some(-0.01)), "sampling.top-p");
    assert_eq!(sampling(|s| s.top_p = Some(1.01)), "sampling.top-p");
    assert_eq!(sampling(|s| s.top_p = Some(f32::NAN)), "sampling.top-p");
    assert_eq!(sampling(|s| s.min_p = Some(-0.1)), "sampling.min-p");
    assert_eq!(sampling(|s| s.min_p = Some(1.1)), "sampling.min-p");
    assert_eq!(
        sampling(|s| s.repetition_penalty = Some(0.0)),
        "sampling.repetition-penalty"
    );
    assert_eq!(
        sampling(|s| s.repetition_penalty = Some(f32::INFINITY)),
        "sampling.repetition-penalty"
    );
    assert_eq!(
        sampling(|s| s.presence_penalty = Some(2.5)),
        "sampling.presence-penalty"
    );
    assert_eq!(
        sampling(|s| s.frequency_penalty = Some(-2.5)),
        "sampling.frequency-penalty"
    );

    let with = |change: fn(&mut Request)| {
        let mut request = Request::new(prompt());
        change(&mut request);
        blamed(request)
    };
    assert_eq!(with(|r| r.max_tokens = Some(0)), "max-tokens");
    assert_eq!(with(|r| r.stop = vec!["x".into(); 17]), "stop");
    assert_eq!(with(|r| r.stop = vec!["x".into(), String::new()]), "stop");
    assert_eq!(with(|r| r.stop = vec!["x".repeat(4097)]), "stop");
    assert_eq!(with(|r| r.stop_tokens = vec![1; 65]), "stop-tokens");
    assert_eq!(with(|r| r.stop_tokens = vec![1, 512]), "stop-tokens");
    let biases = |biases: &[(u32, f32)]| {
        let logit_bias = biases.to_vec();
        blamed(Request {
            logit_bias,
            ..Request::new(prompt())
        })
    };
    assert_eq!(biases(&[(512, 1.0)]), "logit-bias");
    assert_eq!(biases(&[(1, 100.5)]), "logit-bias");
    assert_eq!(biases(&[(1, f32::NAN)]), "logit-bias");
    assert_eq!(biases(&[(1, f32::INFINITY)]), "logit-bias");
    assert_eq!(biases(&[(1, 1.0), (2, 1.0), (1, 2.0)]), "logit-bias");
    assert_eq!(biases(&[(1, 1.0); 1025]), "logit-bias");
    assert_eq!(with(|r| r.allowed_tokens = Some(vec![])), "allowed-tokens");
    assert_eq!(
        with(|r| r.allowed_tokens = Some(vec![512, 1])),
        "allowed-tokens"
    );
    assert_eq!(
        with(|r| r.allowed_tokens = Some(vec![1; 513])),
        "allowed-tokens"
    );
    assert_eq!(with(|r| r.bad_words = vec!["x".into(); 129]), "bad-words");
    assert_eq!(with(|r| r.bad_words = vec![String::new()]), "bad-words");
    assert_eq!(with(|r| r.bad_words = vec!["x".repeat(16385)]), "bad-words");
    assert_eq!(with(|r| r.logprobs = Some(21)), "logprobs");
    assert_eq!(with(|r| r.prompt_logprobs = Some(21)), "prompt-logprobs");
    assert_eq!(with(|r| r.truncate_prompt = Some(0)), "truncate-prompt");
    let more_than_most = |r: &mut Request| (r.max_tokens, r.min_tokens) = (Some(4), 5);
    assert_eq!(with(more_than_most), "min-tokens");
    assert_eq!(with(|r| r.prompt = Prompt::Tokens(vec![])), "prompt");
    assert_eq!(with(|r| r.prompt = Prompt::Tokens(vec![1, 512])), "prompt");
    assert_eq!(
        with(|r| r.prompt = Prompt::Messages(vec![].into())),
        "messages"
    );
}

#[test]
fn the_edges_of_the_ranges_are_allowed() {
    let sampling = Sampling {
        temperature: Some(2.0),
        top_k: Some(u32::MAX),
        top_p: Some(1.0),
        min_p: Some(1.0),
        repetition_penalty: Some(f32::MIN_POSITIVE),
        presence_penalty: Some(-2.0),
        frequency_penalty: Some(2.0),
        seed: Some(u64::MAX),
    };
    let request = Request {
        prompt: prompt(),
        embed: false,
        max_tokens: Some(u32::MAX),
        stop: vec!["x".repeat(4096); 16],
        stop_tokens: vec![511; 64],
        include_stop: true,
        min_tokens: u32::MAX,
        ignore_eos: true,
        logit_bias: vec![(0, 100.0), (1, -100.0), (2, f32::NEG_INFINITY)],
        allowed_tokens: Some((3..400).collect()),
        bad_words: vec!["x".repeat(128); 128],
        logprobs: Some(20),
        echo: true,
        prompt_logprobs: Some(20),
        show_special: true,
        truncate_prompt: Some(1),
        // It is not for probabilities.
        resumed: Vec::new(),
        constraint: None,
        sampling,
        cache_salt: Some("x".repeat(256)),
        priority: i32::MIN,
        client: u64::MAX,
        timeout_ms: Some(u32::MAX),
    };
    let mut engine = engine(&TINY, |options| options.max_context = Some(12));
    assert!(!complete(&mut engine, request).unwrap().tokens.is_empty());
}

#[test]
fn an_empty_text_is_the_beginning_of_a_sequence() {
    let submitted = engine(&demo(), |_| {})
        .submit(Request::new(Prompt::Text(String::new())))
        .unwrap();
    assert_eq!(submitted.prompt_tokens, 1);
    // This tokenizer puts nothing before a text.
    assert_eq!(blamed(Request::new(Prompt::Text(String::new()))), "prompt");
}

#[test]
fn a_prompt_longer_than_the_context_overflows_it() {
    let limit = u32::try_from(TINY.config.context_length).unwrap();
    let mut engine = engine(&TINY, |_| {});
    for length in [limit, limit + 1, 10 * limit] {
        let request = Request::new(Prompt::Tokens(vec![3; length as usize]));
        let error = engine.submit(request).unwrap_err();
        assert_eq!(
            error,
            EngineError::ContextOverflow {
                limit,
                requested: length + 1
            }
        );
    }
    let request = Request {
        max_tokens: Some(1),
        ..Request::new(Prompt::Tokens(vec![3; limit as usize - 1]))
    };
    assert_eq!(complete(&mut engine, request).unwrap().tokens.len(), 1);
}

/// The number of tokens told for a text is never more than the truth, both if it was counted and if
/// it was refused by its bytes.
#[test]
fn a_text_longer_than_the_context_overflows_it_whatever_its_length() {
    let demo = demo();
    let limit = 64;
    let mut engine = engine(&demo, |options| options.max_context = Some(limit as usize));
    let text = "The dog and the cat were best friends. ";
    for times in [20, 100, 10_000, 100_000] {
        let text = text.repeat(times);
        let messages = vec![Message::new("user", text.clone())];
        let needed = demo.tokenize(&text, true).unwrap().len() + 1;
        for prompt in [Prompt::Text(text), Prompt::Messages(messages.into())] {
            match engine.submit(Request::new(prompt)) {
                Err(EngineError::ContextOverflow {
                    limit: 64,
                    requested,
                }) => assert!(
                    limit < requested && requested as usize <= needed,
                    "{requested}"
                ),
                other => panic!("{other:?}"),
            }
        }
    }
    let messages = vec![Message::new("user", ""); 100_000];
    assert_eq!(
        engine.submit(Request::new(Prompt::Messages(messages.into()))),
        Err(EngineError::ContextOverflow {
            limit,
            requested: 100_001
        })
    );
    assert_eq!(engine.stats().queued, 0);
}

/// The longest text that fits is taken, the shortest that does not is refused, to the token.
#[test]
fn a_text_that_fits_exactly_is_taken() {
    let demo = demo();
    let text = "Once upon a time there was a little girl.";
    let length = demo.tokenize(text, true).unwrap().len();
    let submit = |context: usize| {
        let mut engine = engine(&demo, |options| options.max_context = Some(context));
        engine.submit(Request::new(Prompt::Text(text.into())))
    };
    assert_eq!(submit(length + 1).unwrap().prompt_tokens as usize, length);
    assert!(matches!(
        submit(length),
        Err(EngineError::ContextOverflow { .. })
    ));
}

#[test]
fn a_request_that_was_admitted_elsewhere_is_the_same_request() {
    let demo = demo();
    let mut engine = engine(&demo, |_| {});
    let request = Request {
        max_tokens: Some(12),
        sampling: greedy(),
        ..Request::new(Prompt::Messages(
            vec![Message::new("user", "Once upon a time")].into(),
        ))
    };
    let admitted = engine.gate().admit_as_tokens(request.clone()).unwrap();
    assert!(matches!(admitted.prompt, Prompt::Tokens(_)));
    let tokens = complete(&mut engine, request).unwrap().tokens;
    assert_eq!(complete(&mut engine, admitted).unwrap().tokens, tokens);
}

#[test]
fn stop_texts_end_the_completion_before_them() {
    let mut engine = engine(&TINY, |_| {});
    let request = Request {
        max_tokens: Some(24),
        sampling: greedy(),
        ..Request::new(prompt())
    };
    let whole = complete(&mut engine, request.clone()).unwrap();
    // Any text of the completion that starts behind its first half, two characters long.
    let middle = whole
        .text
        .char_indices()
        .nth(whole.text.chars().count() / 2)
        .unwrap()
        .0;
    let stop: String = whole.text[middle..].chars().take(2).collect();
    let first = whole.text.find(&stop).unwrap();
    let stopped = complete(
        &mut engine,
        Request {
            stop: vec!["not there".into(), stop],
            ..request
        },
    )
    .unwrap();
    assert_eq!(stopped.text, whole.text[..first]);
    assert!(whole.tokens.starts_with(&stopped.tokens) && stopped.tokens.len() < whole.tokens.len());
    assert_eq!(
        stopped.last.unwrap().finish.unwrap().reason,
        FinishReason::Stop
    );
}

#[test]
fn an_end_of_sequence_token_ends_it_without_text() {
    let request = Request {
        max_tokens: Some(24),
        sampling: greedy(),
        ..Request::new(prompt())
    };
    let whole = complete(&mut engine(&TINY, |_| {}), request.clone()).unwrap();
    let mut model = open(&fixture("packed-autobitlinear"));
    let eos = whole.tokens[5];
    let place = whole.tokens.iter().position(|token| *token == eos).unwrap();
    model.config.eos_tokens = vec![eos];
    let ended = complete(&mut engine(&Arc::new(model), |_| {}), request).unwrap();
    assert_eq!(ended.tokens, whole.tokens[..=place]);
    assert!(
        whole
            .text
            .starts_with(ended.text.trim_end_matches('\u{fffd}'))
    );
    let finish = ended.last.unwrap().finish.unwrap();
    assert_eq!(finish.reason, FinishReason::Stop);
    assert_eq!(finish.usage.completion_tokens as usize, place + 1);
}

#[test]
fn damaged_weights_end_the_generation_and_not_the_engine() {
    let mut model = open(&fixture("packed-autobitlinear"));
    model.weights.output_norm[3] = f32::NAN;
    let mut engine = engine(&Arc::new(model), |_| {});
    for _ in 0..2 {
        let error = complete(&mut engine, Request::new(prompt())).unwrap_err();
        assert!(
            matches!(&error, EngineError::Internal(reason) if reason.contains("not finite")),
            "{error:?}"
        );
        assert_eq!((engine.stats().running, engine.stats().kv_bytes), (0, 0));
    }
    assert_eq!(engine.stats().failed, 2);
    assert!(matches!(
        embed(&mut engine, prompt()),
        Err(EngineError::Internal(_))
    ));
}
