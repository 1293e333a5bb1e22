//! Log probabilities of prompts and answers are the same bits by the native engine, by a baked one
//! with the host's kernels and with its own, whatever the number of choices beside them.

use serde_json::{Value, json};

use crate::sandboxed::{ALLOW, compiled};
use crate::support::LILY;
use crate::support::server::Server;

/// The choices of each request, as JSON: numbers are written so that they are read to the bit.
fn told(server: &Server) -> Vec<Value> {
    let long = [LILY; 12].join(" ");
    let echo = json!({
        "prompt": [long, LILY], "echo": true, "logprobs": 5, "max_tokens": 6, "temperature": 0,
        "return_token_ids": true,
    });
    let several = json!({
        "prompt": LILY, "n": 4, "seed": 3, "temperature": 1.2, "logprobs": 2, "max_tokens": 10,
    });
    let alone = json!({ "prompt": long, "prompt_logprobs": 3, "max_tokens": 0 });
    let biased = json!({
        "prompt": LILY, "logit_bias": {"300": 6.5}, "bad_words": ["the"], "logprobs": 1,
        "max_tokens": 20, "temperature": 0.7, "seed": 9,
    });
    let choices = |body: &Value| {
        let answer = server.post("/v1/completions", body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["choices"].clone()
    };
    [echo, several, alone, biased].iter().map(choices).collect()
}

#[test]
fn every_engine_tells_the_same_bits() {
    let compiled = compiled();
    let expected = told(&Server::start(&[]));
    let prompt = &expected[0][0]["logprobs"]["token_logprobs"];
    let numbers = prompt.as_array().unwrap();
    assert!(numbers.len() > 100 && numbers[0].is_null());
    let is_logprob = |number: &Value| number.as_f64().is_some_and(|number| number <= 0.0);
    assert!(numbers[1..].iter().all(is_logprob));
    let texts: Vec<_> = expected[1]
        .as_array()
        .unwrap()
        .iter()
        .map(|choice| &choice["text"])
        .collect();
    assert!(texts.iter().any(|text| **text != *texts[0]), "{texts:?}");
    for options in [
        &["--isa", "scalar", "--max-sequences", "1"][..],
        &[compiled.as_str(), ALLOW],
        &[compiled.as_str(), ALLOW, "--isa", "simd128"],
    ] {
        assert_eq!(told(&Server::start(options)), expected, "{options:?}");
    }
}
