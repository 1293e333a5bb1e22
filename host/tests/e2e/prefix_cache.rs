//! Prompts that begin alike, over a real socket: the answers say what was found, and are the same.

use serde_json::{Value, json};

use crate::support::greedy;
use crate::support::server::Server;

/// Some hundred tokens.
fn story() -> String {
    "Once upon a time there was a little girl named Lily. She loved to play in the park. ".repeat(8)
}

fn cached(usage: &Value) -> u64 {
    let cached = &usage["prompt_tokens_details"]["cached_tokens"];
    cached.as_u64().unwrap_or_else(|| panic!("{usage}"))
}

#[test]
fn a_prompt_that_came_before_is_found_and_answered_alike() {
    let server = Server::start(&[]);
    let first = server.post("/v1/completions", &greedy(&story(), 24, false));
    assert_eq!(cached(&first.json()["usage"]), 0);
    let prompt_tokens = first.json()["usage"]["prompt_tokens"].as_u64().unwrap();
    let second = server.post("/v1/completions", &greedy(&story(), 24, false));
    let found = cached(&second.json()["usage"]);
    assert_eq!(found, (prompt_tokens - 1) / 64 * 64);
    assert!(found >= 64, "{prompt_tokens}");
    assert_eq!(second.completion(), first.completion());
    assert_eq!(
        server.metric("sterna_prefix_cache_hit_tokens_total"),
        found as f64
    );
    assert!(server.metric("sterna_prefix_cache_bytes") > 0.0);
    assert_eq!(server.metric("sterna_kv_cache_bytes"), 0.0);
    // A stream says it in its usage.
    let mut body = greedy(&story(), 4, true);
    body["stream_options"] = json!({"include_usage": true});
    let events: Vec<Value> = server
        .connect()
        .post_stream("/v1/completions", &body)
        .collect();
    assert_eq!(cached(&events.last().unwrap()["usage"]), found);
    // Nobody finds what another salt brought.
    body = greedy(&story(), 4, false);
    body["cache_salt"] = json!("somebody else");
    let salted = server.post("/v1/completions", &body);
    assert_eq!(cached(&salted.json()["usage"]), 0);
}

#[test]
fn the_operator_can_switch_it_off() {
    let server = Server::start(&["--without", "prefix-cache"]);
    for _ in 0..2 {
        let answer = server.post("/v1/completions", &greedy(&story(), 4, false));
        assert_eq!(cached(&answer.json()["usage"]), 0);
    }
    assert_eq!(server.metric("sterna_prefix_cache_bytes"), 0.0);
}
