//! Attention of a mixed batch over the cache: one task for each run of neighbouring tokens and kv
//! head.
//!
//! Keys and values of a long context are more than a cache holds, so a block of them is read once
//! for all tokens of a task.

use std::cell::RefCell;

use sterna_kernels::{Isa, OutputRows, attention_mix, attention_scores, softmax};

use super::buffers::Machine;
use super::fit::internal;
use super::shape::{PassShape, Place};
use crate::error::EngineError;
use crate::kv::{BLOCK, Cached};

/// Tokens of a task at most.
const MAX_TOKENS: usize = 8;
/// Scores of a task, in numbers (512 KiB), save where one token has more: they stay in the second
/// level of cache.
const MAX_SCORES: usize = 1 << 17;

thread_local! {
    /// Attention scores of a task, kept for the next: `[n_tokens, heads_per_kv, positions]`.
    static SCORES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// A layer of the cache, and the positions of it that a token sees, its own among them: the nearest
/// `window`, or all.
#[derive(Clone, Copy)]
pub(super) struct Sees {
    pub(super) layer: usize,
    pub(super) window: Option<usize>,
}

impl Sees {
    /// The first position that a token sees which is at `position`.
    fn first(self, position: usize) -> usize {
        let window = self.window.unwrap_or(usize::MAX);
        (position + 1).saturating_sub(window)
    }
}

/// Causal attention of every token over its sequence's cache: `q` and `out`
/// `[n_tokens, n_heads, head_dim]`. Query head `h` reads kv head `h / (n_heads / n_kv_heads)`.
/// Every place must be cached.
pub(super) fn attention(
    machine: &Machine,
    shape: &PassShape,
    sees: Sees,
    places: &[Place],
    q: &[f32],
    cache: &impl Cached,
    out: &mut [f32],
) -> Result<(), EngineError> {
    let PassShape {
        n_heads,
        n_kv_heads,
        head_dim,
        ..
    } = *shape;
    // The query heads that share a kv head: [heads_per_kv, head_dim].
    let group = n_heads / n_kv_heads * head_dim;
    let mut tasks = Vec::new();
    let (mut q, mut out) = (q, out);
    for run in places.chunk_by(|a, b| (a.sequence, a.position + 1) == (b.sequence, b.position)) {
        let positions = run.last().map_or(1, |last| last.position + 1);
        let tokens = MAX_SCORES / (n_heads / n_kv_heads * positions);
        for places in run.chunks(tokens.clamp(1, MAX_TOKENS)) {
            let width = places.len() * shape.q_size();
            let (queries, rest) = q.split_at(width);
            q = rest;
            let (outputs, rest) = out.split_at_mut(width);
            out = rest;
            let outputs =
                OutputRows::new(outputs, places.len(), shape.q_size()).map_err(internal)?;
            tasks.extend(outputs.chunks(group).into_iter().map(|out| Task {
                places,
                kv_head: out.range().start / group,
                q: queries,
                out,
                next: &[],
            }));
        }
    }
    let blocks = |task: &Task<'_>| {
        let (places, kv_head) = (task.places, task.kv_head);
        let last = places.last();
        last.map(|last| cache.read(last.sequence, sees.layer, kv_head, last.position + 1))
            .into_iter()
            .flatten()
    };
    for i in 1..tasks.len() {
        tasks[i - 1].next = blocks(&tasks[i]).next().map_or(&[], |(keys, _)| keys);
    }
    let work = places
        .iter()
        .map(|place| (place.position + 1) * n_heads * head_dim * 2)
        .sum();
    machine.team.for_each(tasks, work, |task| {
        let blocks = blocks(&task);
        SCORES.with_borrow_mut(|scores| attend(machine.isa, shape, sees, task, blocks, scores));
    });
    Ok(())
}

/// The query heads of one kv head, those of the columns of `out`, for neighbours in one sequence.
struct Task<'a> {
    places: &'a [Place],
    kv_head: usize,
    /// Of all heads: `[n_tokens, n_heads, head_dim]`.
    q: &'a [f32],
    out: OutputRows<'a>,
    /// The data the next task reads first, which is this thread's too, most likely.
    next: &'a [f32],
}

fn attend<'a>(
    isa: Isa,
    shape: &PassShape,
    sees: Sees,
    task: Task<'a>,
    blocks: impl Iterator<Item = (&'a [f32], &'a [f32])> + Clone,
    scores: &mut Vec<f32>,
) {
    let Task {
        places,
        q,
        mut out,
        next: next_keys,
        ..
    } = task;
    let scale = shape.attention_scale;
    let (d, columns) = (shape.head_dim, out.range());
    let heads = columns.len() / d;
    // [n_tokens, heads, positions]
    let stride = places.last().map_or(0, |last| last.position + 1);
    scores.resize(places.len() * heads * stride, 0.0);
    // The last token first, since it sees the most: its reads bring a block in for the others.
    let tokens = || {
        places
            .iter()
            .map(|place| (sees.first(place.position), place.position + 1))
            .enumerate()
            .rev()
    };
    // Blocks before the first position that a token sees are passed over.
    let is_past = |block: usize, first: usize| (block + 1) * BLOCK <= first;
    let first_values = blocks.clone().next().map_or(&[][..], |(_, values)| values);
    let mut rest = blocks.clone().enumerate().peekable();
    while let Some((block, (keys, _))) = rest.next() {
        let next = rest.peek().map_or(first_values, |(_, (keys, _))| keys);
        for (token, (first, n)) in tokens() {
            if is_past(block, first) {
                continue;
            }
            let keys = &keys[..seen(n, block) * d];
            let q = &q[token * shape.q_size()..][columns.clone()];
            let scores = &mut scores[token * heads * stride + block * BLOCK..];
            let next = (token + 1 == places.len()).then_some(next);
            attention_scores(isa, d, q, keys, next, scale, stride, scores);
        }
    }
    for (token, (first, n)) in tokens() {
        let rows = scores[token * heads * stride..].chunks_mut(stride);
        rows.take(heads).for_each(|row| {
            row[..first].fill(0.0);
            softmax(isa, &mut row[first..n]);
        });
        out.token(token).fill(0.0);
    }
    let mut rest = blocks.enumerate().peekable();
    while let Some((block, (_, values))) = rest.next() {
        let next = rest.peek().map_or(next_keys, |(_, (_, values))| values);
        for (token, (first, n)) in tokens() {
            if is_past(block, first) {
                continue;
            }
            let values = &values[..seen(n, block) * d];
            let p = &scores[token * heads * stride + block * BLOCK..];
            let next = (token + 1 == places.len()).then_some(next);
            attention_mix(isa, d, p, stride, values, next, out.token(token));
        }
    }
}

/// Positions of a block that a token sees which sees `n` in all.
fn seen(n: usize, block: usize) -> usize {
    n.saturating_sub(block * BLOCK).min(BLOCK)
}
