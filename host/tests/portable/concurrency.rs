//! Many clients at a time.

use std::thread;

use crate::apps::App;
use crate::support::server::Server;
use crate::support::{LILY, sampled};

#[test]
fn twenty_streams_at_a_time_are_all_right() {
    for app in [App::DEMO, App::DEMO_P3] {
        let native = Server::start(&[]);
        let server = app.serve::<&str>(&[]);
        thread::scope(|scope| {
            let clients: Vec<_> = (0..20)
                .map(|seed| {
                    let client = server.connect();
                    scope.spawn(move || {
                        client
                            .post_stream("/v1/completions", &sampled(LILY, seed, 30, true))
                            .text()
                    })
                })
                .collect();
            for (seed, client) in (0..).zip(clients) {
                let alone = native.post("/v1/completions", &sampled(LILY, seed, 30, false));
                assert_eq!(client.join().unwrap(), alone.completion(), "seed {seed}");
            }
        });
    }
}
