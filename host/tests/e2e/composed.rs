//! The server as one `.wasm` file under a plain WASI host gives the native server's texts.

use std::path::Path;

use serde_json::Value;

use crate::support::plain_host::PlainHost;
use crate::support::server::{Server, run, sterna};
use crate::support::{LILY, LILY_GREEDY, greedy, sampled};

#[test]
fn the_composed_component_gives_the_native_texts() {
    let folder = tempfile::tempdir().unwrap();
    let app = folder.path().join("app.wasm");
    let (status, _, stderr) = run(sterna().args(["compose", "-o"]).arg(&app));
    assert!(status.success(), "{stderr}");
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../component/engine/models");
    let plain = PlainHost::new(&app).with_models(&models);
    assert_eq!(plain.text(&greedy(LILY, 48, false)), LILY_GREEDY);

    let native = Server::start(&[]);
    for seed in 1..4 {
        let request = sampled(LILY, seed, 60, false);
        assert_eq!(
            plain.text(&request),
            native.post("/v1/completions", &request).completion(),
            "seed {seed}"
        );
    }
    let streamed = plain.post(&sampled(LILY, 1, 60, true));
    let pieces: String = streamed
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
        .map(|event| event["choices"][0]["text"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(pieces, plain.text(&sampled(LILY, 1, 60, false)));
    assert!(streamed.ends_with("data: [DONE]\n\n"), "{streamed}");
}
