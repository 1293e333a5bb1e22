//! A matrix's layout changes no bit: on every instruction set, for one token and for many, with
//! zeros left out and without.

use std::sync::Arc;

use crate::support::{batch, demo, forward_with};
use sterna_engine::model::Model;
use sterna_engine::optimisations::Optimisations;
use sterna_engine::synthetic::{self, Stored};
use sterna_kernels::{DenseType, GroupCodes, Isa, TernaryLayout};

/// Logits of every position as bits, in batches of `chunk`, and the bytes that zeros saved.
fn logits(model: &Arc<Model>, isa: Isa, chunk: usize, without: &str) -> (Vec<u32>, u64) {
    let tokens: Vec<u32> = (0..40).map(|i| (i * 31 + 5) % 512).collect();
    let optimisations = Optimisations::without(without).unwrap();
    let (mut forward, mut kv) = forward_with(model, isa, 2, chunk, 1, optimisations);
    let mut bits = Vec::new();
    for chunk in batch(0, &tokens).chunks(chunk) {
        let logits = forward.forward(chunk, &mut kv).unwrap();
        bits.extend(logits.iter().map(|logit| logit.to_bits()));
    }
    (bits, forward.skipped_bytes())
}

fn in_trits5(model: &Model) -> Arc<Model> {
    let mut model = model.clone();
    model.to_layout(TernaryLayout::Trits5).unwrap();
    assert!(!model.weights.has_layout(TernaryLayout::I2S));
    Arc::new(model)
}

fn compare(model: &Arc<Model>, sparse: bool) {
    let trits5 = in_trits5(model);
    let (expected, skipped) = logits(model, Isa::SCALAR, 40, "skip-zeros");
    assert_eq!(skipped, 0);
    for isa in Isa::supported() {
        for chunk in [1, 2, 3, 5, 40] {
            for without in ["", "down-copy", "skip-zeros"] {
                let (bits, skipped) = logits(&trits5, isa, chunk, without);
                assert!(
                    bits == expected,
                    "{}, {chunk} at a time, without `{without}`",
                    isa.name()
                );
                if sparse && chunk == 1 && without != "skip-zeros" {
                    assert!(skipped > 0, "{} left nothing out", isa.name());
                }
            }
        }
    }
}

#[test]
fn the_demo_model() {
    compare(&demo(), false);
}

#[test]
fn a_model_of_odd_shape_with_many_zeros() {
    let mut config = synthetic::shape("tiny").unwrap();
    (config.hidden_size, config.ffn_size) = (320, 712);
    let mut model = synthetic::from_config("sparse", config, true, DenseType::F16, 7).unwrap();
    synthetic::make_zeros(&mut model, 0.95).unwrap();
    compare(&Arc::new(model), true);
}

#[test]
fn a_model_with_groups_in_trits8() {
    let mut config = synthetic::shape("bonsai-1.7b").unwrap();
    (config.vocab_size, config.n_layers, config.ffn_size) = (512, 1, 384);
    let stored = Stored::Groups(GroupCodes::Ternary);
    let model = synthetic::from_config("groups", config, false, stored, 3).unwrap();
    let mut trits8 = model.clone();
    trits8.pack_groups(true, 2);
    assert!(trits8.weights.has_codes(GroupCodes::Trits8));
    assert!(!trits8.weights.has_codes(GroupCodes::Ternary));
    let (head, packed) = (model.weights.head(), trits8.weights.head());
    assert_eq!(packed.type_name(), "ternary groups in trits8");
    assert!(packed.bytes().len() * 6 < head.bytes().len() * 5);
    let (model, trits8) = (Arc::new(model), Arc::new(trits8));
    let (expected, _) = logits(&model, Isa::SCALAR, 40, "");
    for isa in Isa::supported() {
        for (model, chunk) in [(&trits8, 1), (&trits8, 40), (&model, 5), (&trits8, 3)] {
            let (bits, _) = logits(model, isa, chunk, "");
            assert!(bits == expected, "{}, {chunk} at a time", isa.name());
        }
    }
}

#[test]
fn a_layout_leads_back_to_the_same_bytes() {
    let model = synthetic::model("tiny", DenseType::F16).unwrap();
    let mut again = (*in_trits5(&model)).clone();
    again.to_layout(TernaryLayout::I2S).unwrap();
    for (a, b) in model.weights.layers.iter().zip(&again.weights.layers) {
        for (a, b) in a.linears().zip(b.linears()) {
            assert!(a.packed()[..] == b.packed()[..]);
        }
    }
}
