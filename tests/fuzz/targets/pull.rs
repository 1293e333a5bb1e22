//! What servers say of models: Hugging Face's description of a repository, and the manifest of an
//! artifact in a registry. Nothing of it leads out of a folder.
#![no_main]
#![allow(missing_docs, reason = "the macro's own")]
#![allow(dead_code, reason = "the program uses the rest")]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests of the program's"))]

#[path = "../../../host/push/src/pull/listing.rs"]
mod listing;
#[path = "../../../host/push/src/pull/manifest.rs"]
mod manifest;
#[path = "../../../host/push/src/pull/path.rs"]
mod path;

use std::path::{Component, Path};

use libfuzzer_sys::fuzz_target;

fn stays(path: &str) {
    let mut parts = Path::new(path).components();
    assert!(
        !path.is_empty() && parts.all(|part| matches!(part, Component::Normal(_))),
        "{path}"
    );
}

fuzz_target!(|input: &[u8]| {
    if let Ok(files) = manifest::files(input) {
        for file in &files {
            stays(&file.path);
            let hex = file.digest.strip_prefix("sha256:").expect("a SHA-256");
            assert!(hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
    }
    let Ok(listing) = listing::Listing::parse(input) else {
        return;
    };
    stays(&listing.revision);
    let names: Vec<&str> = listing
        .files
        .iter()
        .map(|file| file.name.as_str())
        .collect();
    for wanted in [None, Some("q2_0"), Some("m.gguf")] {
        if let Ok(chosen) = listing::choose(&names, wanted) {
            assert!(!chosen.files.is_empty());
            chosen.files.iter().for_each(|file| {
                stays(file);
                assert!(names.contains(&file.as_str()));
            });
        }
    }
});
