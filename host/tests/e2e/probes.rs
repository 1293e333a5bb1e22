//! `/livez` and `/readyz`: each state of the server, and no load that keeps them from answering.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::http::header;
use crate::support::server::{Server, sterna};
use crate::support::{LILY, greedy, holds_in_time};

fn reason(server: &Server) -> String {
    let answer = server.get("/readyz");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.json()["ready"], false);
    answer.json()["reason"].as_str().unwrap().to_owned()
}

#[test]
fn a_ready_server_says_what_it_serves() {
    let server = Server::start(&["--isa", "scalar", "--max-queue", "7"]);
    let ready = server.get("/readyz");
    assert_eq!(ready.status, 200);
    assert_eq!(
        ready.json(),
        json!({"ready": true, "reason": null, "model": "demo", "isa": "scalar", "queued": 0, "queue_limit": 7})
    );
    assert_eq!(
        server.get("/livez").json(),
        json!({"live": true, "reason": null})
    );
    let refused = server.post("/readyz", &Value::Null);
    refused.error(405);
}

/// A pipe nobody writes to: opening the model takes for ever.
/// A Hugging Face directory of float matrices, to be quantised one after another: some hundred
/// gigabytes of holes in a file.
fn loads_for_minutes(folder: &Path) {
    const LAYERS: usize = 1024;
    const HIDDEN: usize = 2048;
    const FFN: usize = 8192;
    const VOCAB: usize = 512;
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/master-bf16-online");
    fs::copy(
        fixture.join("tokenizer.json"),
        folder.join("tokenizer.json"),
    )
    .unwrap();
    let config = fs::read(fixture.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&config).unwrap();
    for (key, size) in [
        ("hidden_size", HIDDEN),
        ("intermediate_size", FFN),
        ("num_hidden_layers", LAYERS),
        ("num_attention_heads", 16),
        ("num_key_value_heads", 16),
        ("vocab_size", VOCAB),
    ] {
        config[key] = json!(size);
    }
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    let mut add = |name: String, shape: &[usize]| {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        let info = json!({"dtype": "BF16", "shape": shape, "data_offsets": [start, end]});
        header.insert(name + ".weight", info);
    };
    add("model.embed_tokens".into(), &[VOCAB, HIDDEN]);
    add("model.norm".into(), &[HIDDEN]);
    for layer in 0..LAYERS {
        for (name, shape) in [
            ("input_layernorm", &[HIDDEN][..]),
            ("self_attn.q_proj", &[HIDDEN, HIDDEN]),
            ("self_attn.k_proj", &[HIDDEN, HIDDEN]),
            ("self_attn.v_proj", &[HIDDEN, HIDDEN]),
            ("self_attn.attn_sub_norm", &[HIDDEN]),
            ("self_attn.o_proj", &[HIDDEN, HIDDEN]),
            ("post_attention_layernorm", &[HIDDEN]),
            ("mlp.gate_proj", &[FFN, HIDDEN]),
            ("mlp.up_proj", &[FFN, HIDDEN]),
            ("mlp.ffn_sub_norm", &[FFN]),
            ("mlp.down_proj", &[HIDDEN, FFN]),
        ] {
            add(format!("model.layers.{layer}.{name}"), shape);
        }
    }
    let header = Value::Object(header).to_string();
    let mut file = fs::File::create(folder.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes())
        .unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len((8 + header.len() + end) as u64).unwrap();
}

#[test]
fn a_server_that_loads_lives_and_is_not_ready_and_stops_when_told_so() {
    let folder = tempfile::tempdir().unwrap();
    loads_for_minutes(folder.path());
    let mut command = sterna();
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--model"])
        .arg(folder.path());
    let mut server = Server::loading(&mut command);
    assert_eq!(server.get("/livez").status, 200);
    assert!(reason(&server).starts_with("loading"), "{}", server.log());
    let refused = server.post("/v1/completions", &greedy(LILY, 4, false));
    assert!(refused.error(503).contains("being loaded"));
    assert_eq!(header(&refused.head, "retry-after"), Some("1"));
    assert_eq!(server.metric("sterna_ready"), 0.0);
    assert_eq!(
        server.metric("sterna_requests_rejected_total{reason=\"loading\"}"),
        1.0
    );
    server.signal("TERM");
    assert!(server.wait().success(), "{}", server.log());
}

#[test]
fn a_full_queue_is_unready_until_it_is_not() {
    let server = Server::start(&[
        "--isa",
        "scalar",
        "--max-sequences",
        "1",
        "--max-queue",
        "1",
    ]);
    let open = || {
        server
            .connect()
            .post_stream("/v1/completions", &greedy(LILY, 400, true))
    };
    let mut running = open();
    running.next().unwrap();
    assert_eq!(server.get("/readyz").status, 200, "one runs, none waits");
    let waiting = open();
    server.wait_metric("sterna_sequences_queued", 1.0);
    assert!(reason(&server).starts_with("queue_full"));
    assert_eq!(server.get("/livez").status, 200);
    waiting.kill();
    assert!(
        holds_in_time(|| server.get("/readyz").status == 200),
        "ready when the queue has room"
    );
    running.kill();
}

#[test]
fn probes_get_through_when_all_connections_are_taken() {
    let server = Server::start(&["--isa", "scalar", "--max-connections", "2"]);
    let mut streams: Vec<_> = (0..2)
        .map(|_| {
            server
                .connect()
                .post_stream("/v1/completions", &greedy(LILY, 400, true))
        })
        .collect();
    for stream in &mut streams {
        stream.next().unwrap();
    }
    assert!(reason(&server).starts_with("connections_full"));
    for path in ["/livez", "/metrics"] {
        let mut client = server.connect();
        let answer = client.request("GET", path, &[], b"");
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(header(&answer.head, "connection"), Some("close"), "{path}");
        client.wait_closed();
    }
    let refused = server.post("/v1/completions", &greedy(LILY, 4, false));
    assert!(refused.error(503).contains("--max-connections"));
    assert_eq!(
        server.metric("sterna_requests_rejected_total{reason=\"connections\"}"),
        1.0
    );
    streams
        .into_iter()
        .for_each(crate::support::http::Events::kill);
    assert!(
        holds_in_time(|| server
            .post("/v1/completions", &greedy(LILY, 4, false))
            .status
            == 200),
        "served again when a connection is free"
    );
}
