//! Packing a mapped file's matrices as trits5 while they are in use changes no bit.

#![cfg(feature = "native")]

use std::sync::Arc;

use crate::support::{batch, forward_with, open};
use sterna_engine::convert::{ConvertOptions, save};
use sterna_engine::model::Model;
use sterna_engine::optimisations::Optimisations;
use sterna_engine::placement::{Settling, settle};
use sterna_engine::synthetic;
use sterna_engine::weights::{Layer, Linear};
use sterna_kernels::{DenseType, Isa, TernaryLayout};

/// A model in I2_S, the second layer's `up` with a weight that trits5 cannot hold; and the same as
/// a mapped file.
fn models() -> (tempfile::TempDir, Arc<Model>, Arc<Model>) {
    let mut config = synthetic::shape("tiny").unwrap();
    (config.hidden_size, config.ffn_size) = (384, 640);
    let mut model = synthetic::from_config("mapped", config, true, DenseType::F16, 7).unwrap();
    let up = model.weights.layers[1].up.ternary_mut().unwrap();
    let mut packed = up.packed().to_vec();
    packed[7] |= 0b11;
    *up = Linear::new(up.rows(), up.cols(), packed.into(), up.scale()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    save(&model, &path, &ConvertOptions::default(), &mut |_, _| ()).unwrap();
    let mapped = open(&path);
    for linear in mapped.weights.layers.iter().flat_map(Layer::linears) {
        assert!(linear.packed().is_mapped());
    }
    (dir, Arc::new(model), Arc::new(mapped))
}

const EVERYTHING: Settling = Settling {
    huge_pages: true,
    trits5: true,
    isa: Isa::SCALAR,
    budget: u64::MAX,
};

fn layouts(model: &Model) -> (usize, usize) {
    let linears = model.weights.layers.iter().flat_map(Layer::linears);
    let trits5 = linears.filter(|linear| linear.layout() == TernaryLayout::Trits5);
    (trits5.count(), 7 * model.weights.layers.len())
}

/// Logits of one token after the other, as bits; `between` is called before each.
fn logits(model: &Arc<Model>, isa: Isa, mut between: impl FnMut(usize)) -> Vec<u32> {
    let tokens: Vec<u32> = (0..24).map(|i| (i * 31 + 5) % 512).collect();
    let (mut forward, mut kv) = forward_with(model, isa, 2, 1, 1, Optimisations::ALL);
    let mut bits = Vec::new();
    for (i, token) in batch(0, &tokens).chunks(1).enumerate() {
        between(i);
        let logits = forward.forward(token, &mut kv).unwrap();
        bits.extend(logits.iter().map(|logit| logit.to_bits()));
    }
    bits
}

#[test]
fn logits_before_and_after_are_the_same() {
    for isa in Isa::supported() {
        let (_dir, owned, mapped) = models();
        let clone = mapped.clone();
        let expected = logits(&owned, Isa::SCALAR, |_| ());
        let bits = logits(&mapped, isa, |i| {
            if i == 12 {
                let (_, all) = layouts(&mapped);
                let settled = settle(&mapped.weights, EVERYTHING);
                assert!(settled.trits5_bytes > 0 && settled.trits5_bytes < settled.bytes);
                // All but the one with a weight of two, and for every clone.
                assert_eq!(layouts(&clone), (all - 1, all));
                let up = clone.weights.layers[1].up.ternary().unwrap();
                assert_eq!(up.layout(), TernaryLayout::I2S);
            }
        });
        assert!(bits == expected, "{}", isa.name());
    }
}

#[test]
fn nobody_waits_for_it() {
    let (_dir, owned, mapped) = models();
    let expected = logits(&owned, Isa::SCALAR, |_| ());
    std::thread::scope(|scope| {
        let settling = scope.spawn(|| settle(&mapped.weights, EVERYTHING));
        assert!(logits(&mapped, Isa::detect(), |_| ()) == expected);
        assert!(settling.join().unwrap().trits5_bytes > 0);
    });
}

#[test]
fn nothing_is_packed_where_it_is_not_wanted_or_too_large() {
    let (_dir, _, mapped) = models();
    let linears = || mapped.weights.layers.iter().flat_map(Layer::linears);
    let bytes = |linear: &Linear| {
        let bytes = TernaryLayout::Trits5.bytes(linear.rows(), linear.cols());
        bytes.next_multiple_of(64) as u64
    };
    let needed: u64 = linears().map(bytes).sum();
    let some = |trits5, budget| Settling {
        huge_pages: false,
        trits5,
        isa: Isa::SCALAR,
        budget,
    };
    assert_eq!(
        settle(&mapped.weights, some(false, u64::MAX)).trits5_bytes,
        0
    );
    assert_eq!(
        settle(&mapped.weights, some(true, needed - 1)).trits5_bytes,
        0
    );
    assert_eq!(layouts(&mapped).0, 0);
    assert!(settle(&mapped.weights, some(true, needed)).trits5_bytes > 0);
    // There is nothing left to do.
    assert_eq!(settle(&mapped.weights, EVERYTHING).trits5_bytes, 0);
}

#[test]
fn weights_of_the_process_own_are_packed_in_place() {
    let (_dir, owned, mapped) = models();
    let isa = Isa::detect();
    let without = |names| Optimisations::without(names).unwrap();
    let packed = |model: &Model, optimisations, threads| {
        let mut model = model.clone();
        model.pack_owned(optimisations, isa, threads);
        let (trits5, all) = layouts(&model);
        assert!(logits(&Arc::new(model), isa, |_| ()) == logits(&owned, isa, |_| ()));
        (trits5, all)
    };
    for threads in [1, 2] {
        let (trits5, all) = packed(&owned, Optimisations::ALL, threads);
        assert_eq!(
            trits5,
            if isa.prefers_trits5(threads) {
                all - 1
            } else {
                0
            }
        );
    }
    assert_eq!(packed(&owned, without("trits5"), 2).0, 0);
    assert_eq!(packed(&mapped, Optimisations::ALL, 2).0, 0);
}
