//! `inspect` says before a model is loaded what it is afterwards, and refuses what loading refuses,
//! in its words.

use std::path::{Path, PathBuf};

use crate::support;
use sterna_engine::files::LoadOptions;
use sterna_engine::files::plan::Plan;
use sterna_engine::inspect::inspect;
use sterna_engine::model::Model;
use sterna_engine::synthetic::{self, FileOptions, FileType};

/// Every model of the fixtures: GGUF files, and directories with a `config.json`.
fn fixtures() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![support::fixture("")];
    while let Some(folder) = folders.pop() {
        if folder.join("config.json").is_file() {
            found.push(folder);
            continue;
        }
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "gguf") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// True if it loads.
fn agrees(path: &Path) -> bool {
    let inspection = inspect(path, &LoadOptions::default());
    let loaded = Model::load(path, &LoadOptions::default(), &mut |_, _| ());
    let name = path.display();
    match (inspection.loadable, loaded) {
        (Ok(found), Ok(model)) => {
            assert_eq!(found.config, model.config, "{name}");
            assert_eq!(found.tied, model.weights.head.is_none(), "{name}");
            assert_eq!(found.warnings, model.warnings, "{name}");
            assert_eq!(found.template.as_deref(), model.template.source(), "{name}");
            assert_eq!(found.plan, Plan::of(&model.weights), "{name}");
            let bytes: u64 = found.plan.streamed().map(|planned| planned.bytes()).sum();
            let streamed: usize = model.weights.streamed().map(|bytes| bytes.len()).sum();
            assert_eq!(bytes, streamed as u64, "{name}");
            let [mapped, _] = found.plan.bytes();
            assert_eq!(mapped, model.mapped_bytes(), "{name}");
            true
        }
        (Err(found), Err(loaded)) => {
            assert_eq!(found.to_string(), loaded.to_string(), "{name}");
            false
        }
        (found, loaded) => panic!(
            "{name}: inspect: {:?}, load: {:?}",
            found.map(|_| ()),
            loaded.map(|_| ())
        ),
    }
}

#[test]
fn every_fixture_is_told_as_it_loads() {
    let fixtures = fixtures();
    assert!(fixtures.len() > 10, "{fixtures:?}");
    for path in &fixtures {
        let loads = agrees(path);
        let survey = inspect(path, &LoadOptions::default()).survey;
        assert!(
            !survey.format.is_empty() && survey.n_bytes > 0,
            "{}",
            path.display()
        );
        assert!(survey.architecture.is_some(), "{}", path.display());
        assert!(!survey.types.is_empty() || !loads, "{}", path.display());
    }
    assert!(fixtures.iter().any(|path| agrees(path)));
}

/// The types that files have, also those that no fixture has.
#[test]
fn every_type_of_random_weights_is_told_as_it_loads() {
    let folder = tempfile::tempdir().unwrap();
    let all = [
        (
            "bonsai-tiny",
            &[
                FileType::Q1_0,
                FileType::Q2_0,
                FileType::Q2_0G64,
                FileType::Pq2_0,
                FileType::Tq1_0,
                FileType::Tq2_0,
                FileType::F16,
            ][..],
        ),
        ("tiny", &[FileType::I2S, FileType::F16]),
    ];
    for (shape, types) in all {
        for weights in types {
            let path = folder.path().join(format!("{}.gguf", weights.name()));
            let options = FileOptions {
                weights: *weights,
                table: None,
                layers: Some(2),
                seed: 1,
            };
            let file = std::fs::File::create(&path).unwrap();
            synthetic::write(shape, &options, file, &mut |_, _| ()).unwrap();
            assert!(agrees(&path), "{}", path.display());
            let survey = inspect(&path, &LoadOptions::default()).survey;
            let tensors: u64 = survey.types.iter().map(|ty| ty.tensors).sum();
            let bytes: u64 = survey.types.iter().map(|ty| ty.n_bytes).sum();
            assert!(tensors > 15 && bytes <= survey.n_bytes, "{survey:?}");
            assert!(
                bytes + survey.header_bytes + 64 * tensors >= survey.n_bytes,
                "{survey:?}"
            );
        }
    }
}

#[test]
fn what_is_refused_is_described_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(support::fixture("tiny-I2_S.gguf")).unwrap();
    let edit = |name: &str, from: &[u8], to: &[u8]| {
        let mut bytes = whole.clone();
        let places = bytes.windows(from.len()).enumerate();
        let places: Vec<usize> = places
            .filter_map(|(at, part)| (part == from).then_some(at))
            .collect();
        assert!(!places.is_empty(), "{name}");
        for at in places {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    // Another architecture of the same length.
    let architecture = inspect(&support::fixture("tiny-I2_S.gguf"), &LoadOptions::default())
        .survey
        .architecture
        .unwrap();
    let other = "z".repeat(architecture.len());
    let foreign = edit("foreign.gguf", architecture.as_bytes(), other.as_bytes());
    assert!(!agrees(&foreign));
    let survey = inspect(&foreign, &LoadOptions::default()).survey;
    assert_eq!(survey.architecture.as_deref(), Some(other.as_str()));
    assert!(
        survey
            .types
            .iter()
            .any(|ty| ty.ty == "I2_S" && ty.tensors == 28),
        "{survey:?}"
    );
    assert!(survey.tokenizer.tokens.is_some_and(|n| n > 0));
    assert!(
        survey
            .keys
            .iter()
            .any(|(key, value)| key.ends_with("block_count") && value == "4")
    );

    // A header that breaks off, and no model at all.
    let cut = folder.path().join("cut.gguf");
    std::fs::write(&cut, &whole[..1000]).unwrap();
    assert!(!agrees(&cut));
    assert_eq!(
        inspect(&cut, &LoadOptions::default()).survey.format,
        "GGUF 3"
    );
    let text = folder.path().join("text.gguf");
    std::fs::write(&text, "a text").unwrap();
    assert!(!agrees(&text));
    let survey = inspect(&text, &LoadOptions::default()).survey;
    assert_eq!((survey.format.as_str(), survey.n_bytes), ("", 6));
    assert!(!agrees(&folder.path().join("absent")));
}
