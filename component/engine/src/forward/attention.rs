//! Attention of a mixed batch over the cache: one task for each token and kv head.

use std::cell::RefCell;

use sterna_kernels::{attention_mix, attention_scores, softmax};

use super::pass::{Machine, PassShape, Place};
use crate::kv::{BLOCK, Cached};

thread_local! {
    /// Attention scores of the heads of a task, kept for the next: `[heads_per_kv, positions]`.
    static SCORES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Causal attention of every token over its sequence's cache: `q` and `out` `[n_tokens, n_heads, head_dim]`.
/// Query head `h` reads kv head `h / (n_heads / n_kv_heads)`. Every place must be cached.
pub(super) fn attention(
    machine: &Machine,
    shape: &PassShape,
    layer: usize,
    places: &[Place],
    q: &[f32],
    cache: &impl Cached,
    out: &mut [f32],
) {
    let PassShape {
        n_heads,
        n_kv_heads,
        head_dim,
        ..
    } = *shape;
    let isa = machine.isa;
    // 1/sqrt(head_dim); the square root is exact in IEEE, so the same everywhere.
    let scale = (1.0 / (head_dim as f64).sqrt()) as f32;
    // A task is a token and a kv head, with the query heads that share it: [heads_per_kv, head_dim].
    let group = n_heads / n_kv_heads * head_dim;
    let tasks: Vec<_> = q
        .chunks_exact(group)
        .zip(out.chunks_exact_mut(group))
        .enumerate()
        .collect();
    let work = places
        .iter()
        .map(|place| (place.position + 1) * n_heads * head_dim * 2)
        .sum();
    machine
        .team
        .for_each(tasks, work, |(index, (queries, out))| {
            let (place, kv_head) = (places[index / n_kv_heads], index % n_kv_heads);
            let n = place.position + 1;
            let blocks = cache.read(place.sequence, layer, kv_head, n);
            SCORES.with_borrow_mut(|scores| {
                // [heads_per_kv, positions]
                scores.resize(n_heads / n_kv_heads * n, 0.0);
                for (block, (keys, _)) in blocks.clone().enumerate() {
                    let scores = &mut scores[block * BLOCK..];
                    attention_scores(isa, head_dim, queries, keys, scale, n, scores);
                }
                scores
                    .chunks_exact_mut(n)
                    .for_each(|scores| softmax(isa, scores));
                out.fill(0.0);
                for (block, (_, values)) in blocks.enumerate() {
                    attention_mix(isa, head_dim, &scores[block * BLOCK..], n, values, out);
                }
            });
        });
}
