//! The arithmetic of one pass, sub-layer by sub-layer, on borrowed weights.
//!
//! The native engine calls it with the weights of its model. The host calls the same functions for an engine
//! in a sandbox (`wit/kernels.wit`), with weights and cache where they lie in that sandbox's memory: there is one
//! transformer. Every size is checked before it is used, since a sandbox may hand over anything.

use sterna_kernels::{
    Dense, DenseInput, Isa, OutputRows, QuantizedActivations, ShapeError, Ternary, dense_matmul,
    rms_norm, rope_angles, ternary_matmul,
};

use super::attention::attention;
use super::rows::{add_rows, quantize_normed, quantize_states, rope_rows};
use super::weights::{AttentionOutput, Projection};
use super::zeros::Zeros;
use crate::config::{Activation, ModelConfig};
use crate::error::EngineError;
use crate::kv::{Cached, KvShape};
use crate::optimisations::Optimisations;
use crate::team::Team;

/// What of a model's shape the arithmetic depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are ModelConfig's")]
pub struct PassShape {
    pub hidden_size: usize,
    pub ffn_size: usize,
    pub n_layers: usize,
    pub n_heads: usize,
    pub n_kv_heads: usize,
    pub head_dim: usize,
    pub rope_theta: f64,
    pub rms_norm_eps: f32,
    pub activation: Activation,
}

impl PassShape {
    /// Of a model.
    #[must_use]
    pub fn of(config: &ModelConfig) -> Self {
        PassShape {
            hidden_size: config.hidden_size,
            ffn_size: config.ffn_size,
            n_layers: config.n_layers,
            n_heads: config.n_heads,
            n_kv_heads: config.n_kv_heads,
            head_dim: config.head_dim,
            rope_theta: config.rope_theta,
            rms_norm_eps: config.rms_norm_eps,
            activation: config.activation,
        }
    }

    /// Whether the arithmetic is possible at all.
    ///
    /// # Errors
    /// `Internal` where a size is zero or beyond any model, or sizes do not fit each other.
    pub fn check(&self) -> Result<(), EngineError> {
        const MAX_SIZE: usize = 1 << 20;
        let sizes = [
            self.hidden_size,
            self.ffn_size,
            self.n_layers,
            self.n_heads,
            self.n_kv_heads,
            self.head_dim,
            self.n_heads.saturating_mul(self.head_dim),
        ];
        let possible = sizes.iter().all(|size| (1..=MAX_SIZE).contains(size));
        if possible
            && self.n_heads.is_multiple_of(self.n_kv_heads)
            && self.head_dim.is_multiple_of(2)
        {
            return Ok(());
        }
        Err(EngineError::Internal(format!("no such shape: {self:?}")))
    }

    /// Width of the query heads together.
    #[must_use]
    pub fn q_size(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Width of the key (or value) heads together.
    #[must_use]
    pub fn kv_size(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }

    /// What a position's keys and values measure.
    #[must_use]
    pub fn kv(&self) -> KvShape {
        KvShape {
            n_layers: self.n_layers,
            n_kv_heads: self.n_kv_heads,
            head_dim: self.head_dim,
        }
    }
}

/// Where a token of a batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its sequence in the cache.
    pub sequence: usize,
    /// Its position there.
    pub position: usize,
}

/// What computes.
pub(super) struct Machine {
    pub(super) isa: Isa,
    pub(super) team: Team,
}

/// Buffers, and the states of the batch that is being computed.
pub struct Pass {
    pub(super) shape: PassShape,
    pub(super) machine: Machine,
    max_tokens: usize,
    pub(super) places: Vec<Place>,
    pub(super) buffers: Buffers,
    pub(super) zeros: Zeros,
    /// The layer that is computed: `attend` says which.
    pub(super) layer: usize,
}

/// Allocated once, for `max_tokens` tokens.
pub(super) struct Buffers {
    pub(super) states: Vec<f32>, // [n_tokens, hidden_size], the residual stream
    pub(super) normed: Vec<f32>, // [n_tokens, hidden_size | q_size | ffn_size], a linear's input
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
    pub(super) quantized: QuantizedActivations, // a linear's input in int8
    pub(super) head_input: DenseInput, // [n_wanted, hidden_size]
    pub(super) logits: Vec<f32>, // [n_wanted, vocab_size]; grown to the most that was ever wanted
}

impl Pass {
    /// Buffers for batches of up to `max_tokens` tokens.
    #[must_use]
    pub fn new(
        shape: PassShape,
        isa: Isa,
        team: Team,
        max_tokens: usize,
        optimisations: Optimisations,
    ) -> Self {
        Pass {
            machine: Machine { isa, team },
            places: Vec::with_capacity(max_tokens),
            buffers: Buffers::new(&shape, max_tokens),
            zeros: Zeros::new(shape.n_layers, optimisations),
            layer: 0,
            max_tokens,
            shape,
        }
    }

    /// What was asked of `new`.
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
        self.zeros.copied_bytes()
    }

    /// Bytes of packed weights that were not read because of zeros, since the pass was made.
    #[must_use]
    pub fn skipped_bytes(&self) -> u64 {
        self.zeros.skipped_bytes()
    }

    /// The team: a handle, so that what it runs may have the whole pass.
    #[must_use]
    pub fn team(&self) -> Team {
        self.machine.team.clone()
    }

    /// Start a batch. Returns its states `[n_tokens, hidden_size]`, to be filled with the tokens' embeddings.
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
        self.zeros.begin();
        self.places.clear();
        self.places.extend(places);
        // RoPE's angles; the same in all layers.
        let (half, b) = (self.shape.head_dim / 2, &mut self.buffers);
        let rows = b
            .cos
            .chunks_exact_mut(half)
            .zip(b.sin.chunks_exact_mut(half));
        for (place, (cos, sin)) in self.places.iter().zip(rows) {
            let PassShape {
                rope_theta,
                head_dim,
                ..
            } = self.shape;
            rope_angles(rope_theta, head_dim, place.position, cos, sin);
        }
        Ok(&mut self.buffers.states[..n * self.shape.hidden_size])
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

    /// Norm, q, k, v, RoPE. Returns the new keys and values, each `[n_tokens, n_kv_heads, head_dim]`, for the cache.
    ///
    /// # Errors
    /// The weights do not fit the shape.
    pub fn project(&mut self, weights: Projection<'_>) -> Result<(&[f32], &[f32]), EngineError> {
        let PassShape {
            hidden_size,
            head_dim,
            ..
        } = self.shape;
        let (q_size, kv_size) = (self.shape.q_size(), self.shape.kv_size());
        check_norm("norm", weights.norm, hidden_size)?;
        check_linear("q", &weights.q, q_size, hidden_size)?;
        check_linear("k", &weights.k, kv_size, hidden_size)?;
        check_linear("v", &weights.v, kv_size, hidden_size)?;
        let (n, b) = (self.places.len(), &mut self.buffers);
        // q, k and v share one quantised input.
        quantize_states(&self.machine, &self.shape, n, weights.norm, b);
        let (q, k, v) = (
            &mut b.q[..n * q_size],
            &mut b.k[..n * kv_size],
            &mut b.v[..n * kv_size],
        );
        linears(
            &self.machine,
            &b.quantized,
            [
                (weights.q, &mut *q),
                (weights.k, &mut *k),
                (weights.v, &mut *v),
            ],
        )?;
        let angles = [&b.cos[..n * head_dim / 2], &b.sin[..n * head_dim / 2]];
        rope_rows(&self.machine, [q, &mut *k], angles, n, head_dim);
        Ok((k, v))
    }

    /// `states += o(sub_norm(attention))`, over a cache that holds this batch's keys and values too.
    ///
    /// # Errors
    /// The weights or the cache do not fit the shape, or a token's position is not cached.
    pub fn attend(
        &mut self,
        layer: usize,
        cache: &impl Cached,
        weights: AttentionOutput<'_>,
    ) -> Result<(), EngineError> {
        let PassShape {
            hidden_size,
            rms_norm_eps,
            ..
        } = self.shape;
        let q_size = self.shape.q_size();
        if let Some(norm) = weights.sub_norm {
            check_norm("sub-norm", norm, q_size)?;
        }
        check_linear("o", &weights.o, hidden_size, q_size)?;
        self.check_cache(layer, cache)?;
        self.layer = layer;
        let (n, b) = (self.places.len(), &mut self.buffers);
        let attended = &mut b.attended[..n * q_size];
        attention(
            &self.machine,
            &self.shape,
            layer,
            &self.places,
            &b.q[..n * q_size],
            cache,
            attended,
        )?;
        quantize_normed(
            &self.machine,
            attended,
            q_size,
            weights.sub_norm,
            rms_norm_eps,
            &mut b.normed,
            &mut b.quantized,
        );
        let projected = &mut b.projected[..n * hidden_size];
        linears(&self.machine, &b.quantized, [(weights.o, &mut *projected)])?;
        let states = &mut b.states[..n * hidden_size];
        add_rows(&self.machine, states, projected, hidden_size);
        Ok(())
    }

    /// Norm and output head of the batch's tokens `wanted`: `[n_wanted, vocab_size]`.
    ///
    /// # Errors
    /// No such token, or the weights do not fit the shape.
    pub fn logits(
        &mut self,
        wanted: &[usize],
        norm: &[f32],
        head: Dense<'_>,
    ) -> Result<&mut [f32], EngineError> {
        let PassShape {
            hidden_size,
            rms_norm_eps,
            ..
        } = self.shape;
        check_norm("output norm", norm, hidden_size)?;
        if head.cols() != hidden_size {
            return Err(misfit(
                "head",
                &[head.rows(), head.cols()],
                &[head.rows(), hidden_size],
            ));
        }
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
        let (n, b) = (wanted.len(), &mut self.buffers);
        b.head_input
            .set(isa, &b.normed[..n * hidden_size], hidden_size, head.ty());
        let len = n * head.rows();
        if b.logits.len() < len {
            b.logits.resize(len, 0.0);
        }
        let (logits, input, team) = (&mut b.logits[..len], &b.head_input, &self.machine.team);
        let work = len * hidden_size;
        let rows = team.rows_per_task(head.rows(), work);
        let tasks = OutputRows::new(logits, n, head.rows())
            .map_err(internal)?
            .chunks(rows);
        team.for_each(tasks, work, |part| dense_matmul(isa, head, input, part));
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

    /// Every place of the batch is in the cache.
    fn check_cache(&self, layer: usize, cache: &impl Cached) -> Result<(), EngineError> {
        if cache.shape() != self.shape.kv() || layer >= self.shape.n_layers {
            return Err(EngineError::Internal(format!(
                "layer {layer} of a cache of {:?}; the model is {:?}",
                cache.shape(),
                self.shape.kv()
            )));
        }
        match self
            .places
            .iter()
            .find(|place| place.position >= cache.positions(place.sequence))
        {
            None => Ok(()),
            Some(place) => Err(EngineError::Internal(format!(
                "{place:?} is not in the cache"
            ))),
        }
    }
}

impl Buffers {
    fn new(shape: &PassShape, max_tokens: usize) -> Self {
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
            quantized: QuantizedActivations::with_capacity(max_tokens, widest),
            head_input: DenseInput::with_capacity(max_tokens, hidden_size),
            logits: Vec::new(),
        }
    }
}

/// Several matrices on one quantised input, each into its `[n_tokens, rows]`, in one fork and join.
pub(super) fn linears<const N: usize>(
    machine: &Machine,
    x: &QuantizedActivations,
    jobs: [(Ternary<'_>, &mut [f32]); N],
) -> Result<(), EngineError> {
    let work = jobs.iter().map(|(_, out)| out.len() * x.k()).sum();
    let mut tasks = Vec::new();
    for (weights, out) in jobs {
        let out = OutputRows::new(out, x.n_tokens(), weights.rows()).map_err(internal)?;
        let rows = machine.team.rows_per_task(weights.rows(), work);
        tasks.extend(out.chunks(rows).into_iter().map(|part| (weights, part)));
    }
    machine.team.for_each(tasks, work, |(weights, part)| {
        ternary_matmul(machine.isa, weights, x, part)
    });
    Ok(())
}

pub(super) fn check_norm(name: &str, weight: &[f32], width: usize) -> Result<(), EngineError> {
    if weight.len() == width {
        return Ok(());
    }
    Err(misfit(name, &[weight.len()], &[width]))
}

pub(super) fn check_linear(
    name: &str,
    weights: &Ternary<'_>,
    rows: usize,
    cols: usize,
) -> Result<(), EngineError> {
    if (weights.rows(), weights.cols()) == (rows, cols) {
        return Ok(());
    }
    Err(misfit(
        name,
        &[weights.rows(), weights.cols()],
        &[rows, cols],
    ))
}

/// Shapes are checked when a model is loaded; one that does not fit here is a fault of the caller.
fn misfit(name: &str, is: &[usize], should_be: &[usize]) -> EngineError {
    EngineError::Internal(format!("{name} has shape {is:?}; it must be {should_be:?}"))
}

pub(super) fn internal(error: ShapeError) -> EngineError {
    EngineError::Internal(error.to_string())
}
