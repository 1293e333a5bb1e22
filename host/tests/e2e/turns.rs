//! Clients take turns: the requests of one key do not keep another key's waiting.

use crate::support::http::Events;
use crate::support::server::Server;
use crate::support::{LILY, greedy};

fn stream(server: &Server, key: &str) -> Events {
    let key = format!("Authorization: Bearer {key}");
    let headers = ["Content-Type: application/json", key.as_str()];
    let body = greedy(LILY, 400, true);
    server
        .connect()
        .post_stream_with("/v1/completions", &headers, &body)
}

#[test]
fn another_keys_first_request_is_the_next_to_begin() {
    let slow = ["--isa", "scalar", "--threads", "1", "--max-sequences", "1"];
    let server = Server::start(&[&slow[..], &["--api-key", "busy,other"]].concat());
    let mut running = stream(&server, "busy");
    running.next().unwrap();
    let waiting: Vec<Events> = (0..4).map(|_| stream(&server, "busy")).collect();
    server.wait_metric("sterna_sequences_queued", 4.0);
    let mut other = stream(&server, "other");
    server.wait_metric("sterna_sequences_queued", 5.0);
    running.kill();
    other.next().unwrap();
    // All of the busy key's wait still: it runs before them.
    assert_eq!(server.metric("sterna_sequences_queued"), 4.0);
    waiting.into_iter().for_each(Events::kill);
}
