//! A Hugging Face directory: config.json and model.safetensors are fuzzed, the tokenizer is a good
//! one.
#![no_main]
#![allow(missing_docs, reason = "the macro's own")]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sterna_engine::files::LoadOptions;
use sterna_engine::inspect::inspect;
use sterna_engine::model::Model;
use sterna_kernels::KvType;
use tempfile::TempDir;

const TOKENIZER: &[u8] = include_bytes!("../../fixtures/packed-autobitlinear/tokenizer.json");

/// In memory where the system has such a place.
static DIRECTORY: LazyLock<TempDir> = LazyLock::new(|| {
    let directory = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a temporary directory");
    std::fs::write(directory.path().join("tokenizer.json"), TOKENIZER).expect("written");
    directory
});

fuzz_target!(|input: &[u8]| {
    let [config, tensors] = sterna_fuzz::parts(input);
    let directory = DIRECTORY.path();
    for (name, bytes) in [("config.json", config), ("model.safetensors", tensors)] {
        // A new file each time: the last one may still be mapped.
        let _ = std::fs::remove_file(directory.join(name));
        std::fs::write(directory.join(name), bytes).expect("written");
    }
    let inspection = inspect(directory, &LoadOptions::default());
    if let Ok(model) = &inspection.loadable {
        let _ = model
            .memory(model.config.context_length, KvType::F32, 1)
            .peak_bytes();
    }
    let loaded = Model::load(directory, &LoadOptions::default(), &mut |_, _| ());
    // What is refused before it is loaded is refused when it is.
    assert!(inspection.loadable.is_ok() || loaded.is_err());
    if let Ok(model) = loaded {
        sterna_fuzz::spans::assert_apart(&sterna_fuzz::spans::of_safetensors(tensors));
        sterna_fuzz::exercise(model);
    }
});
