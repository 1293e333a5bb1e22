//! The same model and prompt give the same logits to the last bit, however they are computed: any
//! instruction set, any number of threads, alone or among others, in chunks of any size; for each
//! type of keys and values.

use std::sync::Arc;

use crate::support::{batch, cache, forward, ids, json, load};
use sterna_engine::forward::BatchToken;
use sterna_engine::model::Model;
use sterna_kernels::{Isa, KvType};

/// Logits of every position as bits, prefilled in chunks of `chunk`.
fn logits(
    model: &Arc<Model>,
    ty: KvType,
    isa: Isa,
    threads: usize,
    chunk: usize,
    tokens: &[u32],
) -> Vec<u32> {
    let (mut forward, _) = forward(model, isa, threads, chunk, 0);
    let mut kv = cache(model, ty, 1);
    let mut bits = Vec::new();
    for chunk in batch(0, tokens).chunks(chunk) {
        bits.extend(
            forward
                .forward(chunk, &mut kv)
                .unwrap()
                .iter()
                .map(|logit| logit.to_bits()),
        );
    }
    bits
}

/// 150 tokens: more than two cache blocks.
fn prompt() -> Vec<u32> {
    let ids = ids(&json("expected.json")["ids"]);
    (0..150)
        .map(|i| (ids[i % ids.len()] + (i / ids.len()) as u32 * 31) % 512)
        .collect()
}

#[test]
fn on_every_instruction_set() {
    let model = load("packed-autobitlinear");
    let mut oracles = Vec::new();
    for ty in KvType::ALL {
        let oracle = logits(&model, ty, Isa::SCALAR, 1, 64, &prompt());
        for isa in Isa::supported() {
            println!("comparing {} with scalar, {ty:?}", isa.name());
            assert!(
                logits(&model, ty, isa, 1, 64, &prompt()) == oracle,
                "{}, {ty:?}",
                isa.name()
            );
            assert!(
                logits(&model, ty, isa, 1, 1, &prompt()) == oracle,
                "{} a token at a time, {ty:?}",
                isa.name()
            );
        }
        // The types are different ones.
        assert!(!oracles.contains(&oracle), "{ty:?}");
        oracles.push(oracle);
    }
}

#[test]
fn with_any_number_of_threads() {
    let model = load("packed-autobitlinear");
    for ty in KvType::ALL {
        let oracle = logits(&model, ty, Isa::detect(), 1, 64, &prompt());
        for threads in [2, 3] {
            assert!(
                logits(&model, ty, Isa::detect(), threads, 64, &prompt()) == oracle,
                "{threads} threads, {ty:?}"
            );
        }
    }
}

#[test]
fn in_chunks_of_any_size() {
    let model = load("packed-autobitlinear");
    for ty in KvType::ALL {
        let oracle = logits(&model, ty, Isa::detect(), 1, 150, &prompt());
        for chunk in [1, 7, 64] {
            assert!(
                logits(&model, ty, Isa::detect(), 2, chunk, &prompt()) == oracle,
                "chunks of {chunk}, {ty:?}"
            );
        }
    }
}

#[test]
fn alone_or_among_others() {
    for ty in KvType::ALL {
        alone_or_among_others_in(ty);
    }
}

fn alone_or_among_others_in(ty: KvType) {
    let model = load("packed-autobitlinear");
    let prompts: Vec<Vec<u32>> = (0..3)
        .map(|skip| prompt().into_iter().skip(skip * 11).collect())
        .collect();
    let alone: Vec<Vec<u32>> = prompts
        .iter()
        .map(|p| logits(&model, ty, Isa::detect(), 1, 64, p))
        .collect();
    let (mut forward, _) = forward(&model, Isa::detect(), 2, 64, 0);
    let mut kv = cache(&model, ty, 3);
    let mut together = vec![Vec::new(); 3];
    let mut next = [0; 3];
    // Uneven shares, in an order that changes with every batch.
    for turn in 0.. {
        let mut mixed: Vec<BatchToken> = Vec::new();
        for place in 0..3 {
            let sequence = (place + turn) % 3;
            let share = [1, 5, 17][(turn + sequence) % 3];
            let tokens = batch(sequence, &prompts[sequence]);
            let end = (next[sequence] + share).min(tokens.len());
            mixed.extend(&tokens[next[sequence]..end]);
            next[sequence] = end;
        }
        if mixed.is_empty() {
            break;
        }
        let logits = forward.forward(&mixed, &mut kv).unwrap();
        for (token, logits) in mixed
            .iter()
            .zip(logits.chunks_exact(model.config.vocab_size))
        {
            together[token.sequence].extend(logits.iter().map(|logit| logit.to_bits()));
        }
    }
    assert!(together == alone, "{ty:?}");
}
