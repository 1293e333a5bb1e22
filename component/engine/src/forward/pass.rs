//! The arithmetic of one pass, sub-layer by sub-layer, on borrowed weights.
//!
//! The native engine calls it with the weights of its model. The host calls the same functions for
//! an engine in a sandbox (`wit/kernels.wit`), with weights and cache where they lie in that
//! sandbox's memory: there is one transformer. Every size is checked before it is used (`fit`).

use sterna_kernels::{Isa, rms_norm, rope_angles};

use super::attention::{Sees, attention};
use super::buffers::{Buffers, Machine};
use super::fit::{check_cache, check_head, check_norm};
use super::input::LinearInput;
use super::per_token::{Heads, add_normed_rows, add_rows, quantize_normed};
use super::products::{head_product, products};
use super::shape::{PassShape, Place, Rotation};
use super::sparsity::Sparsity;
use super::sub_layers::{AttentionOutput, LinearView, Projection};
use crate::error::EngineError;
use crate::kv::Cached;
use crate::matrix::{MatrixView, TableView};
use crate::optimisations::Optimisations;
use crate::team::Team;

/// Buffers, and the states of the batch that is being computed.
pub struct Pass {
    pub(super) shape: PassShape,
    pub(super) machine: Machine,
    max_tokens: usize,
    pub(super) places: Vec<Place>,
    rotation: Rotation,
    pub(super) buffers: Buffers,
    pub(super) sparsity: Sparsity,
    /// The layer that is computed: `attend` says which.
    pub(super) layer: usize,
}

impl Pass {
    /// Buffers for batches of up to `max_tokens` tokens. `rotation` is one of this shape's heads.
    #[must_use]
    pub fn new(
        shape: PassShape,
        rotation: Rotation,
        isa: Isa,
        team: Team,
        max_tokens: usize,
        optimisations: Optimisations,
    ) -> Self {
        Pass {
            machine: Machine { isa, team },
            places: Vec::with_capacity(max_tokens),
            buffers: Buffers::new(&shape, rotation.local.is_some(), max_tokens),
            sparsity: Sparsity::new(shape.n_layers, optimisations),
            layer: 0,
            rotation,
            max_tokens,
            shape,
        }
    }

    /// The arguments of `new`.
    #[must_use]
    pub fn shape(&self) -> &PassShape {
        &self.shape
    }

    /// The instruction set that computes.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.machine.isa
    }

    /// Bytes of copies of weights that the pass made to compute faster.
    #[must_use]
    pub fn copied_bytes(&self) -> usize {
        self.sparsity.copied_bytes()
    }

    /// Bytes of packed weights that were not read because of zeros, since the pass was made.
    #[must_use]
    pub fn skipped_bytes(&self) -> u64 {
        self.sparsity.skipped_bytes()
    }

    /// The team: a handle, so that what it runs may have the whole pass.
    #[must_use]
    pub fn team(&self) -> Team {
        self.machine.team.clone()
    }

    /// Start a batch. Returns its states `[n_tokens, hidden_size]`, to be filled with the tokens'
    /// embeddings.
    ///
    /// # Errors
    /// No token, or more than the buffers hold.
    pub fn begin(
        &mut self,
        places: impl ExactSizeIterator<Item = Place>,
    ) -> Result<&mut [f32], EngineError> {
        let n = places.len();
        if n == 0 || n > self.max_tokens {
            let max_tokens = self.max_tokens;
            return Err(EngineError::Internal(format!(
                "a batch of {n} tokens; at least 1 and at most {max_tokens}"
            )));
        }
        self.sparsity.begin();
        self.places.clear();
        self.places.extend(places);
        let half = self.shape.head_dim / 2;
        let Rotation {
            frequencies,
            magnitude,
            local,
            ..
        } = &self.rotation;
        let b = self.buffers.of_tokens(&self.shape, n);
        // RoPE's angles; the same in all layers, or in all with a window and in all without.
        let rotations = [
            Some((frequencies, *magnitude)),
            local.as_ref().map(|f| (f, 1.0)),
        ];
        for (rotation, [cos, sin]) in rotations.into_iter().zip([[b.cos, b.sin], b.local]) {
            let Some((frequencies, magnitude)) = rotation else {
                continue;
            };
            let angles = cos.chunks_exact_mut(half).zip(sin.chunks_exact_mut(half));
            for (place, (cos, sin)) in self.places.iter().zip(angles) {
                rope_angles(frequencies, magnitude, place.position, cos, sin);
            }
        }
        Ok(b.states)
    }

    /// Tokens of the batch; 0 before the first.
    #[must_use]
    pub fn n_tokens(&self) -> usize {
        self.places.len()
    }

    /// Positions that the batch's tokens see, all together.
    #[must_use]
    pub fn n_positions_seen(&self) -> usize {
        let seen = self.places.iter().map(|place| place.position + 1);
        seen.fold(0, usize::saturating_add)
    }

    /// The batch's states, `[n_tokens, hidden_size]`.
    #[must_use]
    pub fn states(&self) -> &[f32] {
        &self.buffers.states[..self.places.len() * self.shape.hidden_size]
    }

    /// `q, k, v = rope(w_q x), rope(w_k x), w_v x` with `x = norm(states)`, each head of q and k
    /// normed before its rotation where the model has such norms. Returns the new keys and values,
    /// each `[n_tokens, n_kv_heads, head_dim]`, for the cache.
    ///
    /// # Errors
    /// The weights do not fit the shape.
    pub fn project(&mut self, weights: Projection<'_>) -> Result<(&[f32], &[f32]), EngineError> {
        weights.check(&self.shape)?;
        if weights.local && self.rotation.local.is_none() {
            return Err(EngineError::Internal(
                "a layer turns heads by frequencies that the pass does not have".into(),
            ));
        }
        let (machine, shape, n) = (&self.machine, &self.shape, self.places.len());
        let b = self.buffers.of_tokens(shape, n);
        let norm = Some((weights.norm, shape.rms_norm_eps));
        let mut quantize = |linear: &LinearView<'_>, input: &mut LinearInput| {
            quantize_normed(
                machine,
                b.states,
                shape.hidden_size,
                [norm, shape.own_norm(linear)],
                [&mut *b.normed, &mut *b.renormed],
                (input, linear.weights.takes_blocks()),
            );
        };
        let jobs = [
            (weights.q, &mut *b.q),
            (weights.k, &mut *b.k),
            (weights.v, &mut *b.v),
        ];
        if shape.input_norm_eps.is_some() {
            for (linear, out) in jobs {
                quantize(&linear, b.input);
                products(machine, b.input, [(linear.weights, out)])?;
            }
        } else {
            // They share one quantised input.
            quantize(&weights.q, b.input);
            let jobs = jobs.map(|(linear, out)| (linear.weights, out));
            products(machine, b.input, jobs)?;
        }
        let norms = [weights.q_norm, weights.k_norm];
        let heads = Heads {
            head_dim: shape.head_dim,
            eps: shape.rms_norm_eps,
            norms,
            pairs: self.rotation.pairs,
            angles: if weights.local {
                b.local.map(|angles| &*angles)
            } else {
                [b.cos, b.sin]
            },
        };
        heads.norm_and_rotate(machine, [b.q, &mut *b.k], n, b.normed);
        Ok((b.k, b.v))
    }

    /// `states += post_norm(w_o sub_norm(attention(q, K, V)))`, with the norms that are there, over
    /// a cache that holds this batch's keys and values too.
    ///
    /// # Errors
    /// The weights or the cache do not fit the shape, or a token's position is not cached.
    pub fn attend(
        &mut self,
        layer: usize,
        cache: &impl Cached,
        weights: AttentionOutput<'_>,
    ) -> Result<(), EngineError> {
        weights.check(&self.shape)?;
        check_cache(&self.shape, layer, cache, &self.places)?;
        self.layer = layer;
        let (machine, shape, n) = (&self.machine, &self.shape, self.places.len());
        let b = self.buffers.of_tokens(shape, n);
        let sees = Sees {
            layer,
            window: weights.window,
        };
        attention(machine, shape, sees, &self.places, b.q, cache, b.attended)?;
        let o = weights.o;
        let sub_norm = weights.sub_norm.map(|norm| (norm, shape.rms_norm_eps));
        quantize_normed(
            machine,
            b.attended,
            shape.q_size(),
            [sub_norm, shape.own_norm(&o)],
            [b.normed, b.renormed],
            (b.input, o.weights.takes_blocks()),
        );
        products(machine, b.input, [(o.weights, &mut *b.projected)])?;
        self.add_projected(weights.post_norm);
        Ok(())
    }

    /// `states += norm(projected)`, with the norm where there is one.
    pub(super) fn add_projected(&mut self, norm: Option<&[f32]>) {
        let (machine, shape, n) = (&self.machine, &self.shape, self.places.len());
        let b = self.buffers.of_tokens(shape, n);
        match norm {
            Some(norm) => {
                let norm = (norm, shape.rms_norm_eps);
                add_normed_rows(machine, b.states, b.projected, norm, b.normed);
            }
            None => add_rows(machine, b.states, b.projected, shape.hidden_size),
        }
    }

    /// `head norm(state)` of the batch's tokens `wanted`: `[n_wanted, vocab_size]`.
    ///
    /// # Errors
    /// No such token, or the weights do not fit the shape.
    pub fn logits(
        &mut self,
        wanted: &[usize],
        norm: &[f32],
        head: TableView<'_>,
    ) -> Result<&mut [f32], EngineError> {
        let PassShape {
            hidden_size,
            rms_norm_eps,
            ..
        } = self.shape;
        check_norm("output norm", norm, hidden_size)?;
        check_head(&head, hidden_size)?;
        if wanted.len() > self.places.len() {
            return Err(EngineError::Internal(
                "more logits wanted than tokens".into(),
            ));
        }
        if wanted.is_empty() {
            return Ok(&mut []);
        }
        let isa = self.machine.isa;
        for (row, &token) in wanted.iter().enumerate() {
            self.check_token(token)?;
            let b = &mut self.buffers;
            let state = &b.states[token * hidden_size..][..hidden_size];
            let normed = &mut b.normed[row * hidden_size..][..hidden_size];
            rms_norm(isa, state, norm, rms_norm_eps, normed);
        }
        let (n, machine, b) = (wanted.len(), &self.machine, &mut self.buffers);
        let states = &b.normed[..n * hidden_size];
        let [n_rows, _] = head.shape();
        let len = n * n_rows;
        if b.logits.len() < len {
            b.logits.resize(len, 0.0);
        }
        let logits = &mut b.logits[..len];
        match head {
            TableView::Dense(head) => {
                b.head_input.set(isa, states, hidden_size, head.ty());
                head_product(machine, &b.head_input, head, n, hidden_size, logits)?;
            }
            TableView::Grouped(head) => {
                b.input.blocks.quantize(isa, states, hidden_size);
                products(
                    machine,
                    &b.input,
                    [(MatrixView::Grouped(head), &mut *logits)],
                )?;
            }
        }
        Ok(logits)
    }

    /// One token's state after the output norm, `[hidden_size]`.
    ///
    /// # Errors
    /// No such token, or a norm of another width.
    pub fn state(&self, token: usize, norm: &[f32]) -> Result<Vec<f32>, EngineError> {
        let PassShape {
            hidden_size,
            rms_norm_eps,
            ..
        } = self.shape;
        check_norm("output norm", norm, hidden_size)?;
        self.check_token(token)?;
        let mut normed = vec![0.0; hidden_size];
        let state = &self.buffers.states[token * hidden_size..][..hidden_size];
        rms_norm(self.machine.isa, state, norm, rms_norm_eps, &mut normed);
        Ok(normed)
    }

    fn check_token(&self, token: usize) -> Result<(), EngineError> {
        if token < self.places.len() {
            return Ok(());
        }
        let n = self.places.len();
        Err(EngineError::Internal(format!(
            "token {token} of a batch of {n}"
        )))
    }
}
