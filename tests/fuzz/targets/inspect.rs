//! A look at a GGUF file before it is loaded: its headers, one matrix of each type, and the memory
//! it would take. What is refused here is refused when it is loaded.
#![no_main]
#![allow(missing_docs, reason = "the macro's own")]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sterna_engine::files::LoadOptions;
use sterna_engine::inspect::inspect;
use sterna_engine::model::Model;
use sterna_kernels::KvType;
use tempfile::TempDir;

/// In memory where the system has such a place.
static DIRECTORY: LazyLock<TempDir> = LazyLock::new(|| {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a temporary directory")
});

fuzz_target!(|input: &[u8]| {
    let file = DIRECTORY.path().join("m.gguf");
    // A new file each time: the last one may still be mapped.
    let _ = std::fs::remove_file(&file);
    std::fs::write(&file, input).expect("written");
    let inspection = inspect(&file, &LoadOptions::default());
    for ty in &inspection.survey.types {
        assert!(ty.tensors > 0);
    }
    if let Ok(model) = &inspection.loadable {
        for positions in [1, model.config.context_length, usize::MAX] {
            let _ = model.memory(positions, KvType::F32, 1).peak_bytes();
        }
        let _ = model.converted();
        return;
    }
    let loaded = Model::load(&file, &LoadOptions::default(), &mut |_, _| ());
    assert!(loaded.is_err());
});
