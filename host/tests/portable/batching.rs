//! Under WASI 0.3 one instance serves several requests at a time, and they share the engine's steps.

use std::collections::BTreeSet;
use std::iter;
use std::thread;

use crate::apps::App;
use crate::streaming::Steps;
use crate::support::server::Server;
use crate::support::{LILY, LILY_GREEDY, greedy, sampled};

const STREAMS: u32 = 4;
const TOKENS: u32 = 8;

/// The numbers of the steps that each of several streams got its events from. The first has begun when the others come,
/// so that they find an instance that waits for more.
fn steps_of_streams(app: App) -> Vec<Vec<u32>> {
    let server = app.serve::<&str>(&[]);
    let mut first = Steps::open(&server, TOKENS);
    let begun = first.next().unwrap().number;
    thread::scope(|scope| {
        let others: Vec<_> = (1..STREAMS)
            .map(|_| {
                scope.spawn(|| {
                    Steps::open(&server, TOKENS)
                        .map(|step| step.number)
                        .collect()
                })
            })
            .collect();
        let first = iter::once(begun)
            .chain(first.map(|step| step.number))
            .collect();
        iter::once(first)
            .chain(others.into_iter().map(|other| other.join().unwrap()))
            .collect()
    })
}

#[test]
fn streams_share_steps_in_one_instance() {
    let streams = steps_of_streams(App::STEPS_P3);
    for stream in &streams {
        let first = stream[0];
        let expected: Vec<u32> = (first..first + TOKENS).collect();
        assert_eq!(*stream, expected, "each takes every step while it runs");
    }
    // An instance of its own would begin at step 1 again.
    for other in &streams[1..] {
        assert!((2..=TOKENS).contains(&other[0]), "{streams:?}");
    }
    let steps: BTreeSet<u32> = streams.iter().flatten().copied().collect();
    let n_events = (STREAMS * TOKENS) as usize;
    assert!(
        steps.len() < n_events / 2,
        "{} steps: {streams:?}",
        steps.len()
    );
}

#[test]
fn under_wasi_0_2_each_request_has_an_instance() {
    let streams = steps_of_streams(App::STEPS);
    for stream in streams {
        let expected: Vec<u32> = (1..=TOKENS).collect();
        assert_eq!(stream, expected, "a fresh engine each");
    }
}

#[test]
fn tokens_do_not_depend_on_the_company() {
    let native = Server::start(&[]);
    let server = App::DEMO_P3.serve::<&str>(&[]);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|seed| {
                let client = server.connect();
                let stream = seed % 2 == 0;
                scope.spawn(move || {
                    let mut client = client;
                    let request = sampled(LILY, seed, 40, stream);
                    if stream {
                        client.post_stream("/v1/completions", &request).text()
                    } else {
                        client.post("/v1/completions", &request).completion()
                    }
                })
            })
            .collect();
        for (seed, client) in (0..).zip(clients) {
            let alone = native.post("/v1/completions", &sampled(LILY, seed, 40, false));
            assert_eq!(client.join().unwrap(), alone.completion(), "seed {seed}");
        }
    });
    // One client leaves in the middle; those who stay and those who come get what they should.
    let mut leaving = server
        .connect()
        .post_stream("/v1/completions", &greedy(LILY, 400, true));
    leaving.next().unwrap();
    let staying = server
        .connect()
        .post_stream("/v1/completions", &greedy(LILY, 48, true));
    leaving.kill();
    assert_eq!(staying.text(), LILY_GREEDY);
    let late = server.post("/v1/completions", &greedy(LILY, 48, false));
    assert_eq!(late.completion(), LILY_GREEDY);
}
