//! What an instance of a baked component costs: `cargo run --release -p sterna --example instances -- app.cwasm MODEL-ID`
//!
//! Prints the time from the start of the process to the first token, the time of instantiating and of a
//! fresh instance's first token after that, and the memory that each living instance has for itself.

#![allow(clippy::unwrap_used, reason = "an example that fails says where")]

#[path = "../tests/e2e/support/plain_host.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests")]
mod plain_host;

use std::path::Path;
use std::time::{Duration, Instant};

use plain_host::{Instance, PlainHost};
use serde_json::json;

/// Instances of each measurement.
const REPEATS: usize = 100;

fn main() {
    let start = Instant::now();
    let mut arguments = std::env::args().skip(1);
    let (Some(app), Some(model)) = (arguments.next(), arguments.next()) else {
        panic!("usage: instances APP.cwasm MODEL-ID");
    };
    let host = PlainHost::new(Path::new(&app));
    println!(
        "loaded                     {:>10.3} ms",
        ms(start.elapsed())
    );
    let request = json!({ "model": model, "prompt": "Once", "max_tokens": 1, "temperature": 0 });
    let first_token = |instance: Instance| {
        let (body, instance) = host.answer(instance, &request);
        assert!(body.contains("completion_tokens"), "{body}");
        instance
    };
    let first = first_token(host.instantiate());
    println!(
        "process start to 1st token {:>10.3} ms",
        ms(start.elapsed())
    );
    drop(first);

    let mut times = [const { Vec::new() }; 2];
    let (mut idle, mut used) = (Vec::new(), Vec::new());
    let before = anonymous_kib();
    for _ in 0..REPEATS {
        let start = Instant::now();
        idle.push(host.instantiate());
        times[0].push(start.elapsed());
    }
    let idle_kib = anonymous_kib() - before;
    drop(idle);
    let before = anonymous_kib();
    for index in 0..REPEATS {
        let start = Instant::now();
        let instance = first_token(host.instantiate());
        times[1].push(start.elapsed());
        // A few suffice to count their memory.
        if index < 8 {
            used.push(instance);
        }
    }
    let used_kib = anonymous_kib() - before;
    for (what, times) in ["instantiate", "instance to 1st token"]
        .iter()
        .zip(&mut times)
    {
        times.sort();
        println!(
            "{what:<26} {:>10.3} ms median, {:.3} ms slowest",
            ms(times[REPEATS / 2]),
            ms(times[REPEATS - 1])
        );
    }
    println!(
        "memory of an idle instance {:>10} KiB",
        idle_kib / REPEATS as i64
    );
    println!(
        "after its first token      {:>10} KiB",
        used_kib / used.len() as i64
    );
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
