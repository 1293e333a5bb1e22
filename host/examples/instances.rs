//! The cost of a baked engine in the host's sandbox:
//! `cargo run --release -p sterna --example instances -- app.cwasm [simd128]`
//!
//! Prints the time from the start of the process to the engine's first answer and its first token,
//! the time of instantiating and of a fresh instance's first token after that, and the memory that
//! each living instance has for itself. With `simd128` no kernels are lent.

#![allow(clippy::unwrap_used, reason = "an example that fails says where")]

use std::path::Path;
use std::time::{Duration, Instant};

use sterna::engine::driven::DrivenEngine;
use sterna::engine::step_limit::StepLimit;
use sterna::sandbox::{AppFile, SandboxOptions, SandboxedEngine, SandboxedEngines};
use sterna_engine::optimisations::Optimisations;
use sterna_engine::request::{Prompt, Request, Sampling};
use sterna_kernels::Isa;

/// Instances of each measurement.
const REPEATS: usize = 100;

fn main() {
    let start = Instant::now();
    let mut arguments = std::env::args().skip(1);
    let Some(app) = arguments.next() else {
        panic!("usage: instances APP.cwasm [simd128]");
    };
    let own = arguments.next().is_some();
    let options = SandboxOptions {
        isa: (!own).then(Isa::detect),
        threads: 1,
        max_sequences: 8,
        max_queue: 64,
        max_step_ms: None,
        max_context: None,
        max_kv_bytes: None,
        kv_type: Default::default(),
        max_memory: None,
        step_limit: StepLimit::default(),
        optimisations: Optimisations::ALL,
    };
    let app = AppFile::recognise(Path::new(&app), true)
        .unwrap()
        .expect("a file of `sterna bake`");
    let engines = SandboxedEngines::new(&app, options.clone()).unwrap();
    print("process start to loaded", start.elapsed());
    let mut first = engines.instantiate().unwrap();
    print("process start to instance", start.elapsed());
    first.start(&options).unwrap();
    print("process start to 1st answer", start.elapsed());
    first_token(&mut first);
    print("process start to 1st token", start.elapsed());
    drop(first);

    let mut times = [const { Vec::new() }; 3];
    let (mut idle, mut used) = (Vec::new(), Vec::new());
    let before = anonymous_kib();
    for _ in 0..REPEATS {
        let start = Instant::now();
        idle.push(engines.instantiate().unwrap());
        times[0].push(start.elapsed());
    }
    let idle_kib = anonymous_kib() - before;
    drop(idle);
    let before = anonymous_kib();
    for index in 0..REPEATS {
        let start = Instant::now();
        let mut instance = engines.instantiate().unwrap();
        instance.start(&options).unwrap();
        times[1].push(start.elapsed());
        first_token(&mut instance);
        times[2].push(start.elapsed());
        // A few suffice to count their memory.
        if index < 8 {
            used.push(instance);
        }
    }
    let used_kib = anonymous_kib() - before;
    for (what, times) in [
        "instantiate",
        "instance to 1st answer",
        "instance to 1st token",
    ]
    .iter()
    .zip(&mut times)
    {
        times.sort();
        println!(
            "{what:<28} {:>9.3} ms median, {:.3} ms slowest",
            ms(times[REPEATS / 2]),
            ms(times[REPEATS - 1])
        );
    }
    println!(
        "memory of an idle instance   {:>9} KiB",
        idle_kib / REPEATS as i64
    );
    println!(
        "after its first token        {:>9} KiB",
        used_kib / used.len() as i64
    );
}

fn first_token(instance: &mut SandboxedEngine) {
    let request = Request {
        max_tokens: Some(1),
        sampling: Sampling {
            temperature: Some(0.0),
            ..Sampling::default()
        },
        ..Request::new(Prompt::Tokens(vec![1, 2, 3]))
    };
    instance.submit(request).unwrap().unwrap();
    let mut tokens = 0;
    while instance
        .step(&mut |(_, event)| tokens += event.unwrap().tokens.len())
        .unwrap()
    {}
    assert_eq!(tokens, 1);
}

fn print(what: &str, time: Duration) {
    println!("{what:<28} {:>9.3} ms", ms(time));
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Memory that is this process's own: copied pages count, mapped ones that were only read do not.
fn anonymous_kib() -> i64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Anonymous:"));
    line.unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}
