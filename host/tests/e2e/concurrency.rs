//! Many clients at a time: all right, and those who leave free what they held.

use std::thread;

use crate::support::server::Server;
use crate::support::{LILY, LILY_GREEDY, greedy, sampled};

const CLIENTS: u64 = 20;

#[test]
fn twenty_streams_at_a_time_are_all_right() {
    let server = Server::start(&[]);
    // Alone, one after the other: the answers the crowd must get too.
    let alone: Vec<String> = (0..CLIENTS)
        .map(|seed| {
            server
                .post("/v1/completions", &sampled(LILY, seed, 40, false))
                .completion()
        })
        .collect();
    let crowd: Vec<String> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|seed| {
                let client = server.connect();
                scope.spawn(move || {
                    client
                        .post_stream("/v1/completions", &sampled(LILY, seed, 40, true))
                        .text()
                })
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect()
    });
    assert_eq!(crowd, alone);
    assert_ne!(alone[0], alone[1], "seeds make a difference");
}

#[test]
fn killing_half_of_the_clients_frees_their_work() {
    // Prompts do not wait for streams, so that none has ended when the last one begins.
    let options = [
        "--isa",
        "scalar",
        "--max-sequences",
        "20",
        "--max-step-ms",
        "0",
    ];
    let server = Server::start(&options);
    let mut streams: Vec<_> = (0..CLIENTS)
        .map(|_| {
            server
                .connect()
                .post_stream("/v1/completions", &greedy(LILY, 48, true))
        })
        .collect();
    for stream in &mut streams {
        stream.next().unwrap();
    }
    let survivors = streams.split_off(streams.len() / 2);
    let killed = streams.len() as f64;
    streams
        .into_iter()
        .for_each(super::support::http::Events::kill);
    server.wait_metric("sterna_generations_cancelled_total", killed);
    for survivor in survivors {
        let text = survivor.text();
        assert!(
            LILY_GREEDY.ends_with(&text) && text.len() > LILY_GREEDY.len() / 2,
            "{text}"
        );
    }
    server.wait_metric("sterna_sequences_running", 0.0);
    server.wait_metric("sterna_http_requests_in_flight", 1.0); // the metrics request itself
    assert_eq!(
        server.metric("sterna_generations_finished_total{reason=\"length\"}"),
        killed
    );
    assert_eq!(
        server
            .post("/v1/completions", &greedy(LILY, 48, false))
            .completion(),
        LILY_GREEDY
    );
}

#[test]
fn a_full_queue_is_429_with_a_time_to_retry() {
    let server = Server::start(&[
        "--isa",
        "scalar",
        "--max-sequences",
        "1",
        "--max-queue",
        "1",
    ]);
    let mut running = server
        .connect()
        .post_stream("/v1/completions", &greedy(LILY, 200, true));
    running.next().unwrap();
    let queued = server
        .connect()
        .post_stream("/v1/completions", &greedy(LILY, 48, true));
    server.wait_metric("sterna_sequences_queued", 1.0);
    let refused = server.post("/v1/completions", &greedy(LILY, 48, false));
    refused.error(429);
    assert!(refused.head.contains("retry-after: "), "{}", refused.head);
    running.kill();
    assert_eq!(queued.text(), LILY_GREEDY);
}
