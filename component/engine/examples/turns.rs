//! What clients wait for when they come together, with an engine of synthetic weights:
//! `cargo run --release -p sterna-engine --features native --example turns -- [SHAPE [THREADS
//! [ROUNDS]]]`
//!
//! Prints the time to the first token of a prompt of 1056 tokens, of which 1024 came before or not,
//! in turn; then the time between two tokens of four streams, alone (before and after) and while a
//! prompt of 1500 tokens arrives, with the default bound of a step and without one, in turn.
//! Percentiles are over all tokens of all streams and rounds.

#![allow(clippy::unwrap_used, reason = "an example that fails says where")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use sterna_engine::engine::Engine;
use sterna_engine::model::Model;
use sterna_engine::options::{EngineOptions, MaxStep, Speculation};
use sterna_engine::request::{GenerationId, Prompt, Request, Sampling};
use sterna_engine::synthetic;
use sterna_kernels::{DenseType, Isa};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let shape = arguments.next().unwrap_or_else(|| "2b".into());
    let mut options = EngineOptions::new(Isa::from_env().unwrap());
    if let Some(threads) = arguments.next() {
        options.threads = threads.parse().unwrap();
    }
    let rounds = arguments.next().map_or(3, |rounds| rounds.parse().unwrap());
    options.speculation = Speculation::Off;
    let stored = synthetic::Stored::of_shape(&shape, DenseType::Q8_0);
    let model = Arc::new(synthetic::model(&shape, stored).unwrap());
    println!(
        "{shape}, {} threads, {}",
        options.threads,
        options.isa.name()
    );
    first_tokens(&model, &options, rounds);
    between_tokens(&model, &options, rounds);
}

fn prompt(length: usize, kind: u32) -> Vec<u32> {
    (0..length as u32)
        .map(|i| 3 + (i * 7 + kind * 31 + i * i) % 250)
        .collect()
}

fn request(prompt: Vec<u32>, max_tokens: u32) -> Request {
    Request {
        max_tokens: Some(max_tokens),
        sampling: Sampling {
            temperature: Some(0.0),
            ..Sampling::default()
        },
        ..Request::new(Prompt::Tokens(prompt))
    }
}

fn engine(model: &Arc<Model>, options: &EngineOptions) -> Engine {
    Engine::new(Arc::clone(model), options.clone()).unwrap()
}

/// The time to the first token, found and not, in turn.
fn first_tokens(model: &Arc<Model>, options: &EngineOptions, rounds: u32) {
    let mut engine = engine(model, options);
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for (last, times) in times.iter_mut().enumerate() {
            let own = prompt(32, 100 + 2 * round + last as u32);
            let tokens = [prompt(1024, round), own].concat();
            let start = Instant::now();
            engine.submit(request(tokens, 1)).unwrap();
            while engine.step(&mut |_| {}) {}
            times.push(start.elapsed().as_secs_f64());
        }
    }
    let [miss, hit] = times.map(|mut times| percentile(&mut times, 0.5));
    println!(
        "first token of 1056: {miss:.3} s, 1024 of them cached: {hit:.3} s, {:.1} times",
        miss / hit
    );
}

/// The time between two tokens, for each bound.
fn between_tokens(model: &Arc<Model>, options: &EngineOptions, rounds: u32) {
    let mut all: HashMap<&str, [Vec<f64>; 3]> = HashMap::new();
    for _ in 0..rounds {
        for (name, max_step) in [("default", MaxStep::Auto), ("no bound", MaxStep::Off)] {
            let options = EngineOptions {
                max_step,
                ..options.clone()
            };
            let [quiet, busy, first] = all.entry(name).or_default();
            let (q, b, f) = arrival(&mut engine(model, &options));
            quiet.extend(q);
            busy.extend(b);
            first.push(f);
        }
    }
    for (name, [quiet, busy, first]) in &mut all {
        let at = |times: &mut Vec<f64>, share| percentile(times, share) * 1e3;
        println!(
            "{name}: between tokens alone p50 {:.1} ms, p99 {:.1}; while a prompt arrives \
             p50 {:.1}, p99 {:.1}; its first token after {:.2} s",
            at(quiet, 0.5),
            at(quiet, 0.99),
            at(busy, 0.5),
            at(busy, 0.99),
            percentile(first, 0.5),
        );
    }
}

/// Times between tokens of four streams, alone and beside a prompt, and that prompt's to its first
/// token.
fn arrival(engine: &mut Engine) -> (Vec<f64>, Vec<f64>, f64) {
    let mut last: HashMap<GenerationId, Instant> = HashMap::new();
    for kind in 0..4 {
        engine.submit(request(prompt(32, kind), 1500)).unwrap();
    }
    let mut step = |engine: &mut Engine| {
        let mut times = Vec::new();
        engine.step(&mut |(id, _)| {
            let now = Instant::now();
            times.extend(last.insert(id, now).map(|last| (now - last).as_secs_f64()));
        });
        (times, last.len())
    };
    while step(engine).1 < 4 {}
    let mut quiet = Vec::new();
    while quiet.len() < 4 * 40 {
        quiet.extend(step(engine).0);
    }
    let start = Instant::now();
    engine.submit(request(prompt(1500, 9), 1)).unwrap();
    let mut busy = Vec::new();
    loop {
        let (times, seen) = step(engine);
        busy.extend(times);
        if seen == 5 {
            while quiet.len() < 2 * 4 * 40 {
                quiet.extend(step(engine).0);
            }
            return (quiet, busy, start.elapsed().as_secs_f64());
        }
    }
}

fn percentile(times: &mut [f64], share: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    times[((times.len() - 1) as f64 * share).round() as usize]
}
