//! The small files of a directory for embeddings: config.json, modules.json, its folder's
//! config.json and tokenizer_config.json are fuzzed, in the place of the good ones; weights and
//! tokenizer are good.
#![no_main]
#![allow(missing_docs, reason = "the macro's own")]

use std::fs;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sterna_engine::files::LoadOptions;
use sterna_engine::inspect::inspect;
use sterna_engine::model::Model;
use sterna_kernels::KvType;
use tempfile::TempDir;

const WEIGHTS: &[u8] = include_bytes!("../../fixtures/embedding/qwen3/model.safetensors");
const TOKENIZER: &[u8] = include_bytes!("../../fixtures/embedding/qwen3/tokenizer.json");

/// In the order of an input's parts.
const FUZZED: [&str; 4] = [
    "config.json",
    "modules.json",
    "1_Pooling/config.json",
    "tokenizer_config.json",
];

/// In memory where the system has such a place.
static DIRECTORY: LazyLock<TempDir> = LazyLock::new(|| {
    let directory = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a temporary directory");
    fs::create_dir(directory.path().join("1_Pooling")).expect("made");
    for (name, bytes) in [
        ("model.safetensors", WEIGHTS),
        ("tokenizer.json", TOKENIZER),
    ] {
        fs::write(directory.path().join(name), bytes).expect("written");
    }
    directory
});

fuzz_target!(|input: &[u8]| {
    let directory = DIRECTORY.path();
    for (name, bytes) in FUZZED.iter().zip(sterna_fuzz::parts::<4>(input)) {
        if bytes.is_empty() {
            let _ = fs::remove_file(directory.join(name));
        } else {
            fs::write(directory.join(name), bytes).expect("written");
        }
    }
    let inspection = inspect(directory, &LoadOptions::default());
    if let Ok(model) = &inspection.loadable {
        let _ = model
            .memory(model.config.context_length, KvType::F32, 1)
            .peak_bytes();
    }
    let loaded = Model::load(directory, &LoadOptions::default(), &mut |_, _| ());
    assert!(inspection.loadable.is_ok() || loaded.is_err());
    if let Ok(model) = loaded {
        sterna_fuzz::embed(model);
    }
});
