//! Leaving out what squared ReLU makes zero changes no bit: alone or in batches, on every
//! instruction set, and where numbers overflow.

use std::sync::Arc;

use sterna_engine::model::Model;

use crate::support::{batch, demo, forward_with, ids, json};
use sterna_engine::optimisations::Optimisations;
use sterna_engine::synthetic;
use sterna_engine::weights::Linear;
use sterna_kernels::{DenseType, Isa};

const EVERYTHING: Optimisations = Optimisations::ALL;

fn without(names: &str) -> Optimisations {
    Optimisations::without(names).unwrap()
}

/// Logits of every position as bits (NaNs are one number), in batches of `chunk`, and the bytes
/// that were copied.
fn logits(
    model: &Arc<Model>,
    isa: Isa,
    chunk: usize,
    tokens: &[u32],
    optimisations: Optimisations,
) -> (Vec<u32>, usize) {
    let (mut forward, mut kv) = forward_with(model, isa, 2, chunk, 1, optimisations);
    let mut bits = Vec::new();
    for chunk in batch(0, tokens).chunks(chunk) {
        let logits = forward.forward(chunk, &mut kv).unwrap();
        bits.extend(logits.iter().map(|logit| match logit.is_nan() {
            true => f32::NAN.to_bits(),
            false => logit.to_bits(),
        }));
    }
    (bits, forward.copied_bytes())
}

/// A sparse model of odd shape: the last tile of `down` and the last block of its columns are not
/// full.
fn sparse(zeros: f64) -> Model {
    let mut config = synthetic::shape("tiny").unwrap();
    (config.hidden_size, config.ffn_size) = (320, 712);
    let mut model = synthetic::from_config("sparse", config, true, DenseType::F16, 7).unwrap();
    synthetic::make_zeros(&mut model, zeros).unwrap();
    model
}

fn prompt(n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| (i * 31 + 5) % 512).collect()
}

#[test]
fn the_demo_models_stories() {
    let model = demo();
    let tokens = ids(&json("demo-expected.json")[0]["greedy"]);
    let (expected, copied) = logits(&model, Isa::SCALAR, 64, &tokens, without("skip-zeros"));
    assert_eq!(copied, 0, "without skipping nothing is copied");
    for isa in Isa::supported() {
        for chunk in [1, 3, 8] {
            let (bits, copied) = logits(&model, isa, chunk, &tokens, EVERYTHING);
            assert!(bits == expected, "{}, {chunk} at a time", isa.name());
            let columns = isa.listing_limits().columns > 0.0;
            assert_eq!(copied > 0, columns, "{}", isa.name());
            let less = without("down-copy");
            let (bits, copied) = logits(&model, isa, chunk, &tokens, less);
            assert!(bits == expected, "{}, rows alone", isa.name());
            assert_eq!(copied, 0);
        }
    }
}

#[test]
fn models_of_any_sparsity_and_odd_shape() {
    for zeros in [0.0, 0.7, 0.98, 1.0] {
        let model = Arc::new(sparse(zeros));
        let tokens = prompt(24);
        let none = without("skip-zeros");
        let (expected, _) = logits(&model, Isa::SCALAR, 24, &tokens, none);
        for isa in Isa::supported() {
            for chunk in [1, 5] {
                let (bits, _) = logits(&model, isa, chunk, &tokens, EVERYTHING);
                assert!(bits == expected, "{zeros} zeros, {}", isa.name());
            }
        }
    }
}

#[test]
fn products_that_overflow_meet_the_zeros() {
    let mut model = sparse(0.9);
    for layer in &mut model.weights.layers {
        let up = layer.up.ternary_mut().unwrap();
        *up = Linear::new(up.rows(), up.cols(), up.packed().clone(), 3e38).unwrap();
    }
    let model = Arc::new(model);
    let tokens = prompt(6);
    let none = without("skip-zeros");
    let (expected, _) = logits(&model, Isa::SCALAR, 6, &tokens, none);
    // 0 times infinity: the whole product cannot hide it, so leaving out must not either.
    assert!(expected.iter().all(|bits| *bits == f32::NAN.to_bits()));
    for isa in Isa::supported() {
        assert!(logits(&model, isa, 1, &tokens, EVERYTHING).0 == expected);
    }
}
