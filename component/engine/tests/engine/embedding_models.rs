//! BitNet's models for embeddings, on Qwen3 and on Gemma 3, in every form: vectors as transformers
//! makes them (`tests/fixtures/embedding/make.py`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::support::{embed, engine, fixture, ids, json, open};
use sterna_engine::config::Pooling;
use sterna_engine::convert::{ConvertOptions, convert};
use sterna_engine::request::{Prompt, Request};
use sterna_kernels::{KvType, TernaryLayout};

const NAMES: [&str; 2] = ["qwen3", "gemma3"];

/// The directory, linears as I2_S, and master weights as F16.
fn forms(name: &str) -> [PathBuf; 3] {
    let folder = fixture("embedding");
    [
        folder.join(name),
        folder.join(format!("{name}-I2_S.gguf")),
        folder.join(format!("{name}-F16.gguf")),
    ]
}

/// The vectors of the reference's texts.
fn vectors(path: &Path) -> Vec<Vec<f32>> {
    let expected = json("embedding/expected.json");
    let model = Arc::new(open(path));
    assert_eq!(model.config.embedding.pooling, Some(Pooling::Last));
    let mut engine = engine(&model, |options| {
        options.prefill_chunk = 16;
        // As the reference's.
        options.kv_type = KvType::F32;
    });
    let inputs = expected["texts"].as_array().unwrap().iter();
    let inputs = inputs.zip(expected["ids"].as_array().unwrap());
    inputs
        .map(|(text, tokens)| {
            let text = Prompt::Text(text.as_str().unwrap().into());
            let (vector, length) = embed(&mut engine, text).unwrap();
            // The same ids as the reference, the end among them.
            let tokens = ids(tokens);
            assert_eq!(length as usize, tokens.len());
            assert_eq!(
                embed(&mut engine, Prompt::Tokens(tokens)).unwrap().0,
                vector
            );
            vector
        })
        .collect()
}

/// The largest difference of a number of a vector of length 1 from the reference's. Of these texts
/// no int8 value falls the other way, f32 here and f64 there; one that did would change a vector by
/// some thousandths.
const TOLERANCE: f64 = 1e-6;

#[test]
fn vectors_equal_the_reference_in_every_form() {
    let expected = json("embedding/expected.json");
    for name in NAMES {
        let expected = expected["embeddings"][name].as_array().unwrap();
        for path in forms(name) {
            let mut worst = 0f64;
            for (vector, expected) in vectors(&path).iter().zip(expected) {
                let expected = expected.as_array().unwrap();
                assert_eq!(vector.len(), expected.len());
                for (is, should_be) in vector.iter().zip(expected) {
                    worst = worst.max((f64::from(*is) - should_be.as_f64().unwrap()).abs());
                }
            }
            println!("{}: off by {worst:e} at most", path.display());
            assert!(worst < TOLERANCE, "{}: off by {worst}", path.display());
        }
    }
}

#[test]
fn a_converted_model_is_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    for name in NAMES {
        for path in forms(name) {
            let before = vectors(&path);
            for layout in [None, Some(TernaryLayout::Trits5)] {
                let to = folder.path().join("converted.gguf");
                let options = ConvertOptions {
                    layout,
                    ..ConvertOptions::default()
                };
                convert(&path, &to, &options, &mut |_, _| {}).unwrap();
                // The embedding is F16 then, which holds these bf16 numbers.
                assert_eq!(vectors(&to), before, "{}, {layout:?}", path.display());
            }
        }
    }
}

#[test]
fn they_do_not_generate() {
    for name in NAMES {
        let model = Arc::new(open(&forms(name)[1]));
        let mut engine = engine(&model, |_| {});
        let refused = engine.submit(Request::new(Prompt::Text("The".into())));
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("/v1/embeddings"), "{message}");
    }
}
