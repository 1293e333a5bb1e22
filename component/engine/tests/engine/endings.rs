//! `stop_tokens`, `min_tokens`, `ignore_eos`, `include_stop`: where a completion ends is the same
//! alone, drafted and beside others.

use std::sync::Arc;

use crate::support::{Completion, complete, demo, engine, greedy};
use sterna_engine::model::Model;
use sterna_engine::options::Speculation;
use sterna_engine::request::{FinishReason, Prompt, Request};

/// The demo model ends this after 7 tokens by itself: "ivity of the world.".
const ENDS: [u32; 3] = [5, 6, 7];

fn short(change: impl FnOnce(&mut Request)) -> Request {
    let mut request = Request {
        max_tokens: Some(20),
        sampling: greedy(),
        ..Request::new(Prompt::Tokens(ENDS.into()))
    };
    change(&mut request);
    request
}

/// The completion of a request: without drafts, and with as many as there may be.
fn run(model: &Arc<Model>, request: &Request) -> Completion {
    let with = |speculation| {
        let mut engine = engine(model, |options| options.speculation = speculation);
        complete(&mut engine, request.clone()).unwrap()
    };
    let plain = with(Speculation::Off);
    assert_eq!(with(Speculation::Always(15)), plain);
    plain
}

fn reason(completion: &Completion) -> FinishReason {
    completion.last.as_ref().unwrap().finish.unwrap().reason
}

#[test]
fn an_ignored_end_never_comes() {
    let model = demo();
    let plain = run(&model, &short(|_| {}));
    assert_eq!(plain.tokens.len(), 7);
    let eos = plain.tokens[6];
    assert!(model.config.eos_tokens.contains(&eos));
    let ignoring = run(&model, &short(|request| request.ignore_eos = true));
    assert_eq!(ignoring.tokens[..6], plain.tokens[..6]);
    assert!(!ignoring.tokens.contains(&eos));
    assert_eq!(ignoring.tokens.len(), 20);
    assert_eq!(reason(&ignoring), FinishReason::Length);
    // Named as a stop token it is one again.
    let named = short(|request| {
        request.ignore_eos = true;
        request.stop_tokens = vec![eos];
    });
    assert_eq!(run(&model, &named).tokens, plain.tokens);
}

#[test]
fn the_fewest_tokens_come_before_any_end() {
    let model = demo();
    for least in [0, 1, 6, 7, 8, 15, 20] {
        let completion = run(&model, &short(|request| request.min_tokens = least));
        assert!(completion.tokens.len() >= least as usize, "{least}");
        let ends = |token: &u32| model.config.eos_tokens.contains(token);
        let first = completion.tokens.iter().position(ends);
        assert!(first.is_none_or(|at| at >= least as usize), "{least}");
    }
    // A stop text within them does not end it, and one after them does.
    let stopping = |least| {
        short(move |request| {
            request.stop = vec![" ".into()];
            request.min_tokens = least;
        })
    };
    assert_eq!(run(&model, &stopping(0)).text, "ivity");
    assert_eq!(run(&model, &stopping(3)).text, "ivity of");
}

#[test]
fn a_stop_token_ends_before_its_text_or_after_it() {
    let model = demo();
    let plain = run(&model, &short(|_| {}));
    let stop = plain.tokens[2];
    let stopped = run(&model, &short(|request| request.stop_tokens = vec![stop]));
    assert_eq!(stopped.tokens, plain.tokens[..3]);
    assert_eq!(stopped.text, "ivity");
    assert_eq!(reason(&stopped), FinishReason::Stop);
    let including = short(|request| {
        request.stop_tokens = vec![stop];
        request.include_stop = true;
    });
    assert_eq!(run(&model, &including).text, "ivity of");
    let text = short(|request| {
        request.stop = vec!["the".into()];
        request.include_stop = true;
    });
    assert_eq!(run(&model, &text).text, "ivity of the");
}
