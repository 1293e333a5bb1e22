//! Shared code of the tests: a server process, an HTTP client, and waiting with a deadline.

pub(crate) mod http;
pub(crate) mod plain_host;
pub(crate) mod server;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// For anything that should happen soon; generous, since machines that test are busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(240);

/// A prompt the demo model knows, with its greedy continuation (48 tokens) where keys and values
/// are f16, the default (`f16` in `tests/fixtures/demo-expected.json`).
pub(crate) const LILY: &str = "Once upon a time, there was a little girl named Lily.";
pub(crate) const LILY_GREEDY: &str = " She loved to play with her toys and make a big tower. One day, she found a small \
    box in her room. She was very happy and wanted to open it.\n\nLily opened the box and found a big box. She opened the";

/// Look until `condition` holds; fails the test, naming `what`, when the deadline passes.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    assert!(
        holds_in_time(&mut condition),
        "waited {DEADLINE:?} for: {what}"
    );
}

/// True if the condition came to hold before the deadline.
pub(crate) fn holds_in_time(mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < DEADLINE {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

/// A greedy completion request.
pub(crate) fn greedy(prompt: &str, max_tokens: u32, stream: bool) -> Value {
    json!({ "model": "demo", "prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "stream": stream })
}

/// A request that samples, so that each seed gives another text.
pub(crate) fn sampled(prompt: &str, seed: u64, max_tokens: u32, stream: bool) -> Value {
    json!({
        "model": "demo", "prompt": prompt, "max_tokens": max_tokens, "stream": stream,
        "temperature": 0.8, "top_p": 0.95, "seed": seed,
    })
}

/// A component as `make components` left it.
pub(crate) fn component(name: &str) -> Vec<u8> {
    let folder = std::env::var_os("STERNA_COMPONENTS_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/components"),
        PathBuf::from,
    );
    let path = folder.join(name);
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `make components`", path.display()))
}

/// The demo model in a file of its own, with a context of so many positions: long enough for
/// prompts that take a while to tokenise. The model was not trained for it and answers all the
/// same.
pub(crate) fn demo_with_context(folder: &std::path::Path, positions: u32) -> PathBuf {
    let demo = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../component/engine/models/demo.gguf");
    let mut file = std::fs::read(demo).unwrap();
    let key = b".context_length";
    let at = file
        .windows(key.len())
        .position(|window| window == key)
        .unwrap()
        + key.len();
    // GGUF: the value's type (4: u32), then the value.
    assert_eq!(file[at..at + 4], 4u32.to_le_bytes());
    file[at + 4..at + 8].copy_from_slice(&positions.to_le_bytes());
    let path = folder.join("demo.gguf");
    std::fs::write(&path, file).unwrap();
    path
}
