//! The memory of a pass, allocated once, and what computes in it.

use sterna_kernels::{DenseInput, Isa};

use super::input::LinearInput;
use super::shape::PassShape;
use crate::team::Team;

/// The ISA, threads and optimisations that compute.
pub(super) struct Machine {
    pub(super) isa: Isa,
    pub(super) team: Team,
}

/// Allocated once, for `max_tokens` tokens.
pub(super) struct Buffers {
    pub(super) states: Vec<f32>, // [n_tokens, hidden_size], the residual stream
    pub(super) normed: Vec<f32>, // [n_tokens, hidden_size | q_size | ffn_size], a linear's input
    pub(super) renormed: Vec<f32>, // the same after the linear's own norm; empty without such
    pub(super) q: Vec<f32>,      // [n_tokens, n_heads, head_dim]
    pub(super) k: Vec<f32>,      // [n_tokens, n_kv_heads, head_dim]
    pub(super) v: Vec<f32>,      // [n_tokens, n_kv_heads, head_dim]
    pub(super) attended: Vec<f32>, // [n_tokens, n_heads, head_dim]
    pub(super) gate: Vec<f32>,   // [n_tokens, ffn_size]
    pub(super) up: Vec<f32>,     // [n_tokens, ffn_size]
    pub(super) activated: Vec<f32>, // [n_tokens, ffn_size]
    pub(super) projected: Vec<f32>, // [n_tokens, hidden_size], what o and down add to the stream
    pub(super) cos: Vec<f32>,    // [n_tokens, head_dim / 2]
    pub(super) sin: Vec<f32>,    // [n_tokens, head_dim / 2]
    pub(super) local: [Vec<f32>; 2], // cos and sin in layers with a window; empty without such
    pub(super) input: LinearInput, // a linear's input in int8
    pub(super) head_input: DenseInput, // [n_wanted, hidden_size]
    pub(super) logits: Vec<f32>, // [n_wanted, vocab_size]; grown to the most that was ever wanted
}

impl Buffers {
    /// With `local` for layers that turn heads by frequencies of their own too.
    pub(super) fn new(shape: &PassShape, local: bool, max_tokens: usize) -> Self {
        let PassShape {
            hidden_size,
            ffn_size,
            head_dim,
            ..
        } = *shape;
        let widest = hidden_size.max(ffn_size).max(shape.q_size());
        let floats = |width: usize| vec![0.0; max_tokens * width];
        Buffers {
            states: floats(hidden_size),
            normed: floats(widest),
            renormed: floats(if shape.input_norm_eps.is_some() {
                widest
            } else {
                0
            }),
            q: floats(shape.q_size()),
            k: floats(shape.kv_size()),
            v: floats(shape.kv_size()),
            attended: floats(shape.q_size()),
            gate: floats(ffn_size),
            up: floats(ffn_size),
            activated: floats(ffn_size),
            projected: floats(hidden_size),
            cos: floats(head_dim / 2),
            sin: floats(head_dim / 2),
            local: [(); 2].map(|()| floats(if local { head_dim / 2 } else { 0 })),
            input: LinearInput::with_capacity(max_tokens, widest),
            head_input: DenseInput::with_capacity(max_tokens, hidden_size),
            logits: Vec::new(),
        }
    }

    /// The part of them that `n` tokens use.
    pub(super) fn of_tokens(&mut self, shape: &PassShape, n: usize) -> BatchBuffers<'_> {
        let half = shape.head_dim / 2;
        BatchBuffers {
            states: &mut self.states[..n * shape.hidden_size],
            normed: &mut self.normed,
            renormed: &mut self.renormed,
            q: &mut self.q[..n * shape.q_size()],
            k: &mut self.k[..n * shape.kv_size()],
            v: &mut self.v[..n * shape.kv_size()],
            attended: &mut self.attended[..n * shape.q_size()],
            gate: &mut self.gate[..n * shape.ffn_size],
            up: &mut self.up[..n * shape.ffn_size],
            activated: &mut self.activated[..n * shape.ffn_size],
            projected: &mut self.projected[..n * shape.hidden_size],
            cos: &mut self.cos[..n * half],
            sin: &mut self.sin[..n * half],
            local: self.local.each_mut().map(|angles| {
                let len = angles.len().min(n * half);
                &mut angles[..len]
            }),
            input: &mut self.input,
        }
    }
}

/// The buffers of a batch, cut to its tokens; shapes as in [`Buffers`]. A norm's output is as wide
/// as its input, so that of `normed` there is all.
pub(super) struct BatchBuffers<'a> {
    pub(super) states: &'a mut [f32],
    pub(super) normed: &'a mut [f32],
    pub(super) renormed: &'a mut [f32],
    pub(super) q: &'a mut [f32],
    pub(super) k: &'a mut [f32],
    pub(super) v: &'a mut [f32],
    pub(super) attended: &'a mut [f32],
    pub(super) gate: &'a mut [f32],
    pub(super) up: &'a mut [f32],
    pub(super) activated: &'a mut [f32],
    pub(super) projected: &'a mut [f32],
    pub(super) cos: &'a mut [f32],
    pub(super) sin: &'a mut [f32],
    pub(super) local: [&'a mut [f32]; 2],
    pub(super) input: &'a mut LinearInput,
}
