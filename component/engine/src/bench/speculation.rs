//! The gain of drafting: the same completions with and without it, of a text that repeats and of
//! one that does not.

use std::sync::Arc;
use std::time::Instant;

use super::BenchOptions;
use super::report::{Drafting, Spread};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::model::Model;
use crate::options::{EngineOptions, Speculation};
use crate::request::{Prompt, Request, Sampling};

/// A list, a form, a log: what is copied and continued.
const REPEATING: &str = "Tom had a red ball and a blue car. Sam had a red ball and a blue car. Ann had a red ball and a \
                         blue car. Tim had a red ball and a blue car. Lily had a red";
/// A story without a sentence that comes again.
const VARIED: &str = "Once upon a time, a little girl named Lily went to the park with her mom. She wanted to play, but it \
                      started to rain, so they ran under a big tree and";

/// Measure both texts, with and without drafts by turns. Greedy.
pub(super) fn measure(
    model: &Arc<Model>,
    options: &BenchOptions,
) -> Result<Vec<Drafting>, EngineError> {
    let engine = |speculation| {
        let engine = EngineOptions {
            max_sequences: 1,
            threads: options.threads,
            speculation,
            ..EngineOptions::new(options.isa)
        };
        Engine::new(model.clone(), engine)
    };
    let mut plain = engine(Speculation::Off)?;
    let mut drafting = engine(Speculation::Adaptive)?;
    let mut measured = Vec::new();
    for (text, prompt) in [("repeating", REPEATING), ("varied", VARIED)] {
        let (mut without, mut with) = (Vec::new(), Vec::new());
        let before = drafting.stats();
        for rep in 0..=options.reps {
            let rates = [
                complete(&mut plain, prompt, options.generate)?,
                complete(&mut drafting, prompt, options.generate)?,
            ];
            if rep > 0 {
                without.push(rates[0]);
                with.push(rates[1]);
            }
        }
        let after = drafting.stats();
        let (without, with) = (Spread::of(without), Spread::of(with));
        measured.push(Drafting {
            text: text.to_owned(),
            generated: after.tokens_generated - before.tokens_generated,
            drafted: after.drafted - before.drafted,
            accepted: after.accepted - before.accepted,
            tokens_per_s_without: without,
            tokens_per_s: with,
            times: with.median / without.median,
        });
    }
    Ok(measured)
}

/// Tokens a second after the first one, which the prompt's prefill takes.
fn complete(engine: &mut Engine, prompt: &str, generate: usize) -> Result<f64, EngineError> {
    let request = Request {
        max_tokens: u32::try_from(generate.max(2)).ok(),
        sampling: Sampling {
            temperature: Some(0.0),
            ..Sampling::default()
        },
        ..Request::new(Prompt::Text(prompt.into()))
    };
    engine.submit(request)?;
    let (mut tokens, mut start, mut fault) = (0, Instant::now(), None);
    while engine.step(&mut |(_, event)| match event {
        Ok(event) => {
            if tokens == 0 {
                start = Instant::now();
            }
            tokens += event.tokens.len();
        }
        Err(error) => fault = Some(error),
    }) {}
    match fault {
        Some(error) => Err(error),
        None => Ok((tokens.max(1) - 1) as f64 / start.elapsed().as_secs_f64().max(1e-9)),
    }
}
