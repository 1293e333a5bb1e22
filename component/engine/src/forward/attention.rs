//! Attention of a mixed batch over the cache: one task for each run of neighbouring tokens and kv
//! head.
//!
//! Keys and values of a long context are more than a cache holds, so a block of them is read once
//! for all tokens of a task.

use std::cell::RefCell;

use sterna_kernels::{
    Isa, KvRows, KvType, OutputRows, QuantizedQueries, Queries, attention_mix, attention_scores,
    softmax,
};

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
    /// Kept for the next task.
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

/// The buffers of a task.
#[derive(Default)]
struct Buffers {
    /// Attention scores: `[n_tokens, heads_per_kv, positions]`.
    scores: Vec<f32>,
    /// Queries as they meet int8 keys: `[n_tokens, heads_per_kv]`.
    queries: QuantizedQueries,
    /// The same in floats: `[n_tokens, heads_per_kv, head_dim]`.
    gathered: Vec<f32>,
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
                next: None,
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
        tasks[i - 1].next = blocks(&tasks[i]).next().map(|(keys, _)| keys);
    }
    let ty = cache.shape().ty;
    let work = places
        .iter()
        .map(|place| (place.position + 1) * n_heads * head_dim * 2)
        .sum();
    machine.team.for_each(tasks, work, |task| {
        let blocks = blocks(&task);
        BUFFERS.with_borrow_mut(|buffers| {
            attend(machine.isa, shape, sees, task, ty, blocks, buffers);
        });
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
    next: Option<KvRows<'a>>,
}

fn attend<'a>(
    isa: Isa,
    shape: &PassShape,
    sees: Sees,
    task: Task<'a>,
    ty: KvType,
    blocks: impl Iterator<Item = (KvRows<'a>, KvRows<'a>)> + Clone,
    buffers: &mut Buffers,
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
    let Buffers {
        scores,
        queries,
        gathered,
    } = buffers;
    if ty == KvType::Int8 {
        gathered.clear();
        for q in q.chunks_exact(shape.q_size()) {
            gathered.extend_from_slice(&q[columns.clone()]);
        }
        queries.quantize(isa, gathered, d);
    }
    let queries = |token: usize| match ty {
        KvType::F32 | KvType::F16 => Queries::Floats(&q[token * shape.q_size()..][columns.clone()]),
        KvType::Int8 => queries.heads(token * heads..(token + 1) * heads),
    };
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
    let first_values = blocks.clone().next().map(|(_, values)| values);
    let mut rest = blocks.clone().enumerate().peekable();
    while let Some((block, (keys, _))) = rest.next() {
        let next = rest.peek().map(|(_, (keys, _))| *keys).or(first_values);
        for (token, (first, n)) in tokens() {
            if is_past(block, first) {
                continue;
            }
            let keys = keys.first(seen(n, block), d);
            let scores = &mut scores[token * heads * stride + block * BLOCK..];
            let next = next.filter(|_| token + 1 == places.len());
            attention_scores(isa, d, queries(token), keys, next, scale, stride, scores);
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
        let next = rest.peek().map(|(_, (_, values))| *values).or(next_keys);
        for (token, (first, n)) in tokens() {
            if is_past(block, first) {
                continue;
            }
            let values = values.first(seen(n, block), d);
            let p = &scores[token * heads * stride + block * BLOCK..];
            let next = next.filter(|_| token + 1 == places.len());
            attention_mix(isa, d, p, stride, values, next, out.token(token));
        }
    }
}

/// Positions of a block that a token sees which sees `n` in all.
fn seen(n: usize, block: usize) -> usize {
    n.saturating_sub(block * BLOCK).min(BLOCK)
}
