//! `/v1/embeddings` of the running server: by the native engine and by a baked one, beside streams,
//! for clients that leave, and in the metrics.

use std::path::Path;

use serde_json::{Value, json};

use crate::baked::bake;
use crate::sandboxed::{ALLOW, compiled};
use crate::support::plain_host::PlainHost;
use crate::support::server::Server;
use crate::support::{LILY, greedy};

const ROUTE: &str = "/v1/embeddings";
const EMBEDDED: &str = "sterna_generations_finished_total{reason=\"embedded\"}";

/// The vectors of a request's answer, and the tokens they cost.
fn embed(server: &Server, body: &Value) -> (Vec<Vec<f32>>, u64) {
    let answer = server.post(ROUTE, body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    parts(&answer.json())
}

fn parts(answer: &Value) -> (Vec<Vec<f32>>, u64) {
    let data = answer["data"].as_array().unwrap().iter().enumerate();
    let vectors = data.map(|(index, item)| {
        assert_eq!(
            (&item["index"], &item["object"]),
            (&json!(index), &json!("embedding"))
        );
        let numbers = item["embedding"].as_array().unwrap().iter();
        numbers
            .map(|number| number.as_f64().unwrap() as f32)
            .collect()
    });
    let tokens = answer["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!(answer["usage"]["total_tokens"], tokens);
    (vectors.collect(), tokens)
}

fn length(vector: &[f32]) -> f32 {
    vector.iter().map(|v| v * v).sum::<f32>().sqrt()
}

#[test]
fn every_engine_gives_the_same_vectors() {
    let compiled = compiled();
    let native = Server::start(&[]);
    let lent = Server::start(&[&compiled, ALLOW]);
    let own = Server::start(&[&compiled, ALLOW, "--isa", "simd128"]);
    let long = [LILY; 30].join(" ");
    let inputs = json!({"input": [LILY, "A dog.", long, "A dog."]});
    let (vectors, tokens) = embed(&native, &inputs);
    let size = native.get("/v1/models").json()["data"][0]["embedding_size"].clone();
    for vector in &vectors {
        assert_eq!(json!(vector.len()), size);
        assert!((length(vector) - 1.0).abs() < 1e-5);
    }
    assert_eq!(vectors[1], vectors[3]);
    assert_ne!(vectors[0], vectors[1]);
    for server in [&lent, &own] {
        assert_eq!(embed(server, &inputs), (vectors.clone(), tokens));
    }
    // One by one they are the same, cut they point the same way.
    let (alone, _) = embed(&native, &json!({"input": LILY}));
    assert_eq!(alone[..], vectors[..1]);
    let (short, _) = embed(&lent, &json!({"input": LILY, "dimensions": 8}));
    assert!(short[0].len() == 8 && (length(&short[0]) - 1.0).abs() < 1e-5);
    let scale = length(&vectors[0][..8]);
    for (short, whole) in short[0].iter().zip(&vectors[0]) {
        assert!((short * scale - whole).abs() < 1e-6);
    }
}

#[test]
fn token_ids_are_inputs_and_many_inputs_share_the_engine() {
    let server = Server::start(&["--max-queue", "8"]);
    let ids: Vec<Value> = (0..300).map(|n| json!([n + 10, 7, n + 20])).collect();
    let (vectors, tokens) = embed(&server, &json!({ "input": ids }));
    assert_eq!((vectors.len(), tokens), (300, 900));
    let (one, tokens) = embed(&server, &json!({"input": [209, 7, 219]}));
    assert_eq!((&one[0], tokens), (&vectors[199], 3));
    assert_eq!(server.metric(EMBEDDED), 301.0);
    assert_eq!(server.metric("sterna_prompt_tokens_total"), 903.0);
    assert_eq!(server.metric("sterna_generated_tokens_total"), 0.0);
    assert_eq!(
        server.metric("sterna_time_to_first_token_seconds_count"),
        0.0
    );
    assert_eq!(server.metric("sterna_kv_cache_bytes"), 0.0);
    let counted = "sterna_http_requests_total{route=\"/v1/embeddings\",status=\"200\"}";
    server.wait_metric(counted, 2.0);
}

/// BitNet's models for embeddings, as files and baked, with the host's kernels and without.
#[test]
fn models_for_embeddings_are_baked_and_do_not_generate() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/embedding");
    let expected = std::fs::read(fixtures.join("expected.json")).unwrap();
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    let inputs = json!({ "input": expected["texts"] });
    for (file, name) in [("qwen3-I2_S.gguf", "qwen3"), ("gemma3", "gemma3")] {
        let path = fixtures.join(file);
        let path = path.to_str().unwrap();
        // The reference has keys and values in f32.
        let exact = Server::start(&["--model", path, "--kv-type", "f32"]);
        let (vectors, _) = embed(&exact, &inputs);
        let expected = expected["embeddings"][name].as_array().unwrap();
        for (vector, expected) in vectors.iter().zip(expected) {
            let expected = expected.as_array().unwrap().iter();
            for (is, expected) in vector.iter().zip(expected) {
                assert!(
                    (f64::from(*is) - expected.as_f64().unwrap()).abs() < 1e-6,
                    "{name}"
                );
            }
        }
        let native = Server::start(&["--model", path]);
        let (vectors, tokens) = embed(&native, &inputs);
        let folder = tempfile::tempdir().unwrap();
        bake(folder.path(), &["--model", path, "--aot"]);
        let compiled = folder.path().join("app.cwasm");
        let compiled = compiled.to_str().unwrap();
        for isa in [&[][..], &["--isa", "simd128"]] {
            let baked = Server::start(&[&[compiled, ALLOW], isa].concat());
            assert_eq!(
                embed(&baked, &inputs),
                (vectors.clone(), tokens),
                "{name} {isa:?}"
            );
        }
        // And by a runtime that lends nothing.
        let plain = PlainHost::new(&folder.path().join("app.wasm"));
        let (answer, _) = plain.answer_at(ROUTE, plain.instantiate(), &inputs);
        let answer = serde_json::from_str(&answer).unwrap();
        assert_eq!(parts(&answer), (vectors, tokens), "{name}");

        let message = json!({"messages": [{"role": "user", "content": "Hi"}]});
        for (route, body) in [
            ("/v1/completions", json!({"prompt": "The", "max_tokens": 4})),
            ("/v1/chat/completions", message),
        ] {
            let message = native.post(route, &body).error(400);
            assert!(message.contains("send /v1/embeddings"), "{message}");
        }
    }
}

/// Each part of the inputs shares its step with a token of the stream.
#[test]
fn a_stream_goes_on_beside_long_inputs() {
    let server = Server::start(&["--isa", "scalar", "--threads", "1"]);
    let generated = || server.metric("sterna_generated_tokens_total");
    let mut stream = server
        .connect()
        .post_stream("/v1/completions", &greedy(LILY, 480, true));
    stream.next().unwrap();
    let before = generated();
    let inputs: Vec<Vec<u32>> = (0..6).map(|n| vec![n + 10; 500]).collect();
    let (vectors, _) = embed(&server, &json!({ "input": inputs }));
    assert_eq!(vectors.len(), 6);
    let meanwhile = generated() - before;
    assert!(meanwhile >= 8.0, "{meanwhile} tokens beside 3000 of inputs");
    assert!(stream.next().is_some());
}

#[test]
fn a_client_that_leaves_takes_its_inputs_with_it() {
    let server = Server::start(&["--isa", "scalar", "--threads", "1", "--max-sequences", "1"]);
    let inputs: Vec<Vec<u32>> = (0..200).map(|n| vec![n + 10; 500]).collect();
    let mut client = server.connect();
    client.send_request(
        "POST",
        ROUTE,
        &["Content-Type: application/json"],
        json!({ "input": inputs }).to_string().as_bytes(),
    );
    server.wait_metric("sterna_sequences_running", 1.0);
    client.kill();
    server.wait_metric("sterna_generations_cancelled_total", 1.0);
    server.wait_metric("sterna_sequences_running", 0.0);
    assert!(server.metric(EMBEDDED) < 200.0);
    embed(&server, &json!({"input": LILY}));
}

#[test]
fn what_cannot_be_embedded_is_refused_by_name() {
    let server = Server::start(&["--api-key", "sesame"]);
    let ask = |body: &Value, key: &str| {
        let headers = ["Content-Type: application/json", key];
        let body = body.to_string();
        server
            .connect()
            .request("POST", ROUTE, &headers, body.as_bytes())
    };
    let key = "Authorization: Bearer sesame";
    ask(&json!({"input": "a"}), "Authorization: Bearer no").error(401);
    assert_eq!(ask(&json!({"input": "a"}), key).status, 200);
    for (body, words) in [
        (
            json!({"input": LILY.repeat(100)}),
            "context has 512 positions",
        ),
        (json!({"input": ["a", [4096]]}), "input[1]"),
        (json!({"input": vec![7; 513]}), "at least 513"),
        (json!({"input": "a", "dimensions": 100_000}), "dimensions"),
        (json!({"input": "a", "colour": 1}), "colour"),
    ] {
        let message = ask(&body, key).error(400);
        assert!(message.contains(words), "{message}");
    }
    // All of the context is an input's.
    assert_eq!(ask(&json!({"input": vec![7; 512]}), key).status, 200);
}
