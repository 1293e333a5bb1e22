//! Stop texts that are, or hold, the names of special tokens, which are never shown.

use std::sync::{Arc, LazyLock};

use crate::support::{complete, demo, engine, greedy};
use sterna_engine::model::Model;
use sterna_engine::request::{FinishReason, Prompt, Request};

/// Greedy from the ids 5, 6, 7 the demo model says this and then `<|end_of_text|>`.
const SAID: &str = "ivity of the world.";

/// The demo model, for which that token ends nothing.
static ENDLESS: LazyLock<Arc<Model>> = LazyLock::new(|| {
    let mut model = Model::clone(&demo());
    model.config.eos_tokens = vec![2];
    Arc::new(model)
});

/// The text with these stop texts, and whether one of them ended it.
fn said(model: &Arc<Model>, stop: &[&str]) -> (String, bool) {
    let request = Request {
        max_tokens: Some(40),
        stop: stop.iter().map(|&text| text.into()).collect(),
        sampling: greedy(),
        ..Request::new(Prompt::Tokens(vec![5, 6, 7]))
    };
    let completion = complete(&mut engine(model, |_| {}), request).unwrap();
    let reason = completion.last.unwrap().finish.unwrap().reason;
    (completion.text, reason == FinishReason::Stop)
}

#[test]
fn a_special_tokens_name_ends_the_answer() {
    assert_eq!(
        said(&ENDLESS, &["<|end_of_text|>"]),
        (SAID.to_owned(), true)
    );
}

#[test]
fn a_stop_text_may_hold_a_name_and_what_is_shown() {
    let stops = ["nowhere", "world.<|end_of_text|>"];
    assert_eq!(said(&ENDLESS, &stops), (SAID.replace("world.", ""), true));
    // Here the token ends the answer by itself, and still nothing of the stop text is shown.
    assert_eq!(said(&demo(), &stops), (SAID.replace("world.", ""), true));
}

#[test]
fn a_part_of_a_name_ends_nothing() {
    let (text, stopped) = said(&ENDLESS, &["|>", "_of_", "<|end", ".<|"]);
    assert!(text.starts_with(SAID) && text.len() > SAID.len(), "{text}");
    assert!(!stopped && !text.contains("<|end"), "{text}");
    assert_eq!(said(&ENDLESS, &[]), (text, false));
}
