//! `logit_bias`, `allowed_tokens`, `bad_words`, `show_special`, `truncate_prompt`: what a request
//! says of single tokens, of its prompt's beginning and of names.

use crate::support::{Completion, complete, demo, engine, greedy};
use sterna_engine::error::EngineError;
use sterna_engine::options::Speculation;
use sterna_engine::request::{Message, Prompt, Request};

fn request(change: impl FnOnce(&mut Request)) -> Request {
    let mut request = Request {
        max_tokens: Some(16),
        ignore_eos: true,
        sampling: greedy(),
        ..Request::new(Prompt::Text("Once upon a time".into()))
    };
    change(&mut request);
    request
}

/// The completion: without drafts, and the same with as many as there may be.
fn run(request: &Request) -> Completion {
    let model = demo();
    let with = |speculation| {
        let mut engine = engine(&model, |options| options.speculation = speculation);
        complete(&mut engine, request.clone()).unwrap()
    };
    let plain = with(Speculation::Off);
    assert_eq!(with(Speculation::Always(15)), plain);
    plain
}

#[test]
fn a_bias_favours_and_bans() {
    let plain = run(&request(|_| {}));
    let first = plain.tokens[0];
    for bias in [f32::NEG_INFINITY, -100.0] {
        let without = run(&request(|request| request.logit_bias = vec![(first, bias)]));
        assert!(!without.tokens.contains(&first));
    }
    let only = run(&request(|request| request.logit_bias = vec![(300, 100.0)]));
    assert_eq!(only.tokens, [300; 16]);
}

#[test]
fn only_allowed_tokens_are_chosen() {
    let allowed: Vec<u32> = (0..demo().config.vocab_size as u32)
        .step_by(2)
        .rev()
        .collect();
    let drawn = run(&request(|request| {
        request.allowed_tokens = Some(allowed.clone());
        request.sampling.temperature = Some(2.0);
        request.sampling.seed = Some(1);
    }));
    assert!(drawn.tokens.iter().all(|token| allowed.contains(token)));
    assert!(drawn.tokens.iter().any(|token| *token != drawn.tokens[0]));
    let one = run(&request(|request| request.allowed_tokens = Some(vec![17])));
    assert_eq!(one.tokens, [17; 16]);
}

#[test]
fn bad_words_do_not_come() {
    let plain = run(&request(|_| {}));
    let word = plain.text.split(' ').nth(2).unwrap().to_owned();
    assert!(word.len() > 1, "{word}");
    let without = run(&request(|request| request.bad_words = vec![word.clone()]));
    assert!(
        !without.text.contains(&format!(" {word}")),
        "{}",
        without.text
    );
    assert!(without.text != plain.text && without.tokens[0] == plain.tokens[0]);
    // The first token of a text of several may come if the others do not follow.
    let text = plain.text.clone();
    let whole = run(&request(|request| request.bad_words = vec![text]));
    assert_eq!(whole.tokens[..15], plain.tokens[..15]);
    assert_ne!(whole.tokens[15], plain.tokens[15]);
}

#[test]
fn names_of_special_tokens_are_shown_if_asked_for() {
    let model = demo();
    let special = (0..512).find(|&id| model.tokenizer.is_special(id)).unwrap();
    let name = String::from_utf8_lossy(model.tokenizer.token_bytes(special).unwrap()).into_owned();
    let with = |show_special, stops: Vec<u32>| {
        run(&request(|request| {
            request.allowed_tokens = Some(vec![special]);
            request.ignore_eos = !model.config.eos_tokens.contains(&special);
            request.min_tokens = 0;
            request.max_tokens = Some(2);
            request.show_special = show_special;
            request.stop_tokens = stops;
        }))
    };
    if model.config.eos_tokens.contains(&special) {
        assert_eq!(with(true, vec![]).text, "");
    } else {
        assert_eq!(with(true, vec![]).text, name.repeat(2));
    }
    assert_eq!(with(false, vec![]).text, "");
    assert_eq!(
        with(true, vec![special]).text,
        "",
        "what ends it is not shown"
    );
}

#[test]
fn a_prompt_keeps_its_end() {
    let model = demo();
    let gate = engine(&model, |options| options.max_context = Some(32))
        .gate()
        .clone();
    let admitted = |prompt: Prompt, keep: u32, max_tokens: Option<u32>| {
        let request = Request {
            truncate_prompt: Some(keep),
            max_tokens,
            ..Request::new(prompt)
        };
        gate.admit(request).map(|admitted| admitted.tokens)
    };
    let ids: Vec<u32> = (10..200).collect();
    let tokens = || Prompt::Tokens(ids.clone());
    assert_eq!(admitted(tokens(), 3, None).unwrap(), [197, 198, 199]);
    assert_eq!(admitted(Prompt::Tokens(vec![7]), 3, None).unwrap(), [7]);
    // As many as there may be: room for the answer, up to half of the context.
    for (max_tokens, kept) in [(None, 31), (Some(1), 31), (Some(5), 27), (Some(99), 16)] {
        assert_eq!(
            admitted(tokens(), u32::MAX, max_tokens).unwrap().len(),
            kept
        );
    }
    assert!(matches!(
        admitted(tokens(), 32, None),
        Err(EngineError::ContextOverflow {
            limit: 32,
            requested: 33
        })
    ));
    let text = "The dog and the cat were best friends. ".repeat(8);
    let whole = model.tokenize(&text, true).unwrap();
    let head = model.tokenizer.prefix();
    assert!(whole.len() > 64 && head.len() == 1);
    let kept = admitted(Prompt::Text(text.clone()), 9, None).unwrap();
    assert_eq!(kept, [head, &whole[whole.len() - 8..]].concat());
    let chat = Prompt::Messages(vec![Message::new("user", text.clone())].into());
    assert_eq!(admitted(chat, 9, None).unwrap().len(), 9);
    let endless = Prompt::Text(text.repeat(100));
    assert!(matches!(
        admitted(endless, 9, None),
        Err(EngineError::ContextOverflow { .. })
    ));
}
