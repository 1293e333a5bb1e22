//! Under WASI 0.3 one instance serves several requests at a time, and they share the engine's
//! steps.

use std::iter;
use std::thread;

use crate::apps::App;
use crate::streaming::Steps;
use crate::support::server::Server;
use crate::support::{LILY, LILY_GREEDY, greedy, sampled};

const STREAMS: u32 = 4;
const TOKENS: u32 = 8;

/// The numbers of the steps that each of several streams got its events from. Each comes when the
/// one before has begun, so that it finds an instance that waits for more.
fn steps_of_streams(app: App) -> Vec<Vec<u32>> {
    let server = app.serve::<&str>(&[]);
    let begun: Vec<_> = (0..STREAMS)
        .map(|_| {
            let mut steps = Steps::open(&server, TOKENS);
            (steps.next().unwrap().number, steps)
        })
        .collect();
    begun
        .into_iter()
        .map(|(first, others)| {
            iter::once(first)
                .chain(others.map(|step| step.number))
                .collect()
        })
        .collect()
}

#[test]
fn streams_share_steps_in_one_instance() {
    let streams = steps_of_streams(App::STEPS_P3);
    for stream in &streams {
        let first = stream[0];
        let expected: Vec<u32> = (first..first + TOKENS).collect();
        assert_eq!(*stream, expected, "each takes every step while it runs");
    }
    // An instance of its own begins at step 1. Whether a request gets one is for the runtime to
    // decide, which may do so where all instances are busy in that moment; but not for every
    // request, unless instances never wait.
    let joined = streams.iter().filter(|stream| stream[0] > 1).count();
    assert!(joined > 0, "{streams:?}");
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
