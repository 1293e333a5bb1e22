//! Qwen3 models whose weights have a scale for each group, and a ternary Llama: converted and
//! baked, they give the tokens of the file as it was downloaded, with the host's kernels, in the
//! sandbox alone, and under a runtime that knows nothing of Sterna.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sterna_engine::config::ModelConfig;
use sterna_engine::convert::{ConvertOptions, save};
use sterna_engine::synthetic;
use sterna_kernels::DenseType;

use crate::baked::bake;
use crate::sandboxed::ALLOW;
use crate::support::plain_host::PlainHost;
use crate::support::server::{Server, run, sterna};

/// One of each kind of codes and groups, tied and not, with scaled positions and without.
const MODELS: [&str; 4] = [
    "ternary-Q2_0.gguf",
    "binary-unpacked",
    "narrow-Q2_0.gguf",
    "wide-TQ1_0.gguf",
];

fn fixture(name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/qwen3");
    fixtures.join(name)
}

/// A file of architecture `llama`: no sub-norms, one scale a matrix, and the rows of `q` and `k` in
/// adjacent pairs.
fn llama(folder: &Path) -> PathBuf {
    let config = synthetic::shape("llama3-8b-1.58").map(|config| ModelConfig {
        vocab_size: 331,
        hidden_size: 192,
        ffn_size: 320,
        n_layers: 2,
        n_heads: 3,
        n_kv_heads: 1,
        head_dim: 32,
        context_length: 512,
        ..config
    });
    let model = synthetic::from_config("llama", config.unwrap(), false, DenseType::F16, 5);
    let path = folder.join("llama.gguf");
    save(
        &model.unwrap(),
        &path,
        &ConvertOptions::default(),
        &mut |_, _| (),
    )
    .unwrap();
    path
}

/// The fixtures' prompt, as token ids.
fn prompt() -> Vec<u64> {
    let json = std::fs::read(fixture("expected.json")).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    let ids = json["prompt"].as_array().unwrap().iter();
    ids.map(|id| id.as_u64().unwrap()).collect()
}

fn requests(prompt: &[u64]) -> Vec<Value> {
    let request = |temperature: f64, seed: u64| {
        json!({
            "model": "m", "prompt": prompt, "max_tokens": 40, "temperature": temperature,
            "seed": seed, "ignore_eos": true,
        })
    };
    let mut requests = vec![request(0.0, 0)];
    requests.extend((1..4).map(|seed| request(0.9, seed)));
    // More tokens at once than any loop takes.
    let long = [prompt; 5].concat();
    requests.push(json!({ "model": "m", "prompt": long, "max_tokens": 5, "temperature": 0 }));
    requests
}

#[test]
fn converted_and_baked_models_give_the_same_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let sources = MODELS.map(fixture).into_iter();
    for source in sources.chain([llama(folder.path())]) {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let model = source.display();
        let serve = |model: &Path, more: &[&str]| {
            let model = model.to_str().unwrap();
            Server::start(&[&["--model", model, ALLOW], more].concat())
        };
        let native = serve(&source, &["--model-name", "m"]);

        let converted = folders[0].path().join("converted.gguf");
        let (status, _, stderr) = run(sterna()
            .arg("convert")
            .arg(&source)
            .arg("-o")
            .arg(&converted));
        assert!(status.success(), "{stderr}");
        let converted = serve(&converted, &["--model-name", "m"]);

        let path = source.to_str().unwrap();
        let options = ["--model", path, "--model-name", "m", "--aot"];
        let app = bake(folders[1].path(), &options);
        let compiled = app.with_extension("cwasm");
        let lent = serve(&compiled, &[]);
        let own = serve(&compiled, &["--isa", "simd128"]);
        let plain = PlainHost::new(&app);

        for (index, request) in requests(&prompt()).iter().enumerate() {
            let expected = native.post("/v1/completions", request).completion();
            assert!(!expected.is_empty(), "{model}");
            for (server, what) in [(&converted, "converted"), (&lent, "lent"), (&own, "own")] {
                let answer = server.post("/v1/completions", request).completion();
                assert_eq!(answer, expected, "{model}, {what}, request {index}");
            }
            if index < 2 {
                assert_eq!(
                    plain.text(request),
                    expected,
                    "{model}, plain, request {index}"
                );
            }
        }
        // Whose kernels computed.
        let isa = |server: &Server| {
            let models: Value = serde_json::from_str(&server.get("/v1/models").text()).unwrap();
            models["data"][0]["isa"].as_str().unwrap().to_owned()
        };
        assert_eq!(isa(&lent), isa(&native), "{model}");
        assert!(isa(&own).starts_with("simd128"), "{model}: {}", isa(&own));
    }
}

#[test]
fn relaxed_simd_gives_the_same_tokens() {
    for model in ["ternary-Q2_0.gguf", "binary-Q1_0.gguf"] {
        let folder = tempfile::tempdir().unwrap();
        let source = fixture(model);
        let native = Server::start(&["--model", source.to_str().unwrap(), "--model-name", "m"]);
        let options = [
            "--model",
            source.to_str().unwrap(),
            "--model-name",
            "m",
            "--relaxed-simd",
        ];
        let relaxed = PlainHost::new(&bake(folder.path(), &options));
        for request in &requests(&prompt())[..2] {
            let expected = native.post("/v1/completions", request).completion();
            assert_eq!(relaxed.text(request), expected, "{model}");
        }
    }
}
