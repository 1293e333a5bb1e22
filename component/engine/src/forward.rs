//! The transformer: one pass of a batch of tokens through BitNet b1.58.
//!
//! A batch mixes tokens of any sequences: prefill chunks and decoding tokens are the same to it. Every
//! token's result depends on its own sequence alone, to the bit: integer dot products are exact, and
//! each float reduction has one fixed shape (see sterna-kernels), so neither the rest of the batch nor the
//! number of threads nor the instruction set can change it.

mod attention;

use std::sync::Arc;

use sterna_kernels::{
    Dense, DenseInput, Isa, OutputRows, QuantizedActivations, ShapeError, add_assign, dense_matmul,
    relu2_mul, rms_norm, rope_angles, rope_rotate_half, silu_mul, ternary_matmul,
};

use crate::config::{Activation, ModelConfig};
use crate::error::EngineError;
use crate::kv::KvCache;
use crate::model::{Layer, Linear, Model};
use crate::team::Team;
use attention::attention;

/// One token to take in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchToken {
    /// The sequence's slot in the cache.
    pub slot: usize,
    /// Its position in the sequence. All earlier positions are cached or in the same batch.
    pub position: usize,
    /// Its id, below the vocabulary's size.
    pub token: u32,
    /// Whether the distribution of the token after it is wanted.
    pub wants_logits: bool,
}

/// A model and the buffers of one pass.
pub struct Forward {
    model: Arc<Model>,
    machine: Machine,
    buffers: Buffers,
}

/// What computes.
struct Machine {
    isa: Isa,
    team: Team,
}

/// Allocated once, for `max_tokens` tokens.
struct Buffers {
    max_tokens: usize,
    hidden: Vec<f32>,                // [n_tokens, hidden_size], the residual stream
    normed: Vec<f32>, // [n_tokens, hidden_size | q_size | ffn_size], a linear's input
    q: Vec<f32>,      // [n_tokens, n_heads, head_dim]
    k: Vec<f32>,      // [n_tokens, n_kv_heads, head_dim]
    v: Vec<f32>,      // [n_tokens, n_kv_heads, head_dim]
    attention: Vec<f32>, // [n_tokens, n_heads, head_dim]
    gate: Vec<f32>,   // [n_tokens, ffn_size]
    up: Vec<f32>,     // [n_tokens, ffn_size]
    activated: Vec<f32>, // [n_tokens, ffn_size]
    projected: Vec<f32>, // [n_tokens, hidden_size], what o and down add to the stream
    cos: Vec<f32>,    // [n_tokens, head_dim / 2]
    sin: Vec<f32>,    // [n_tokens, head_dim / 2]
    quantized: QuantizedActivations, // a linear's input in int8
    head_input: DenseInput, // [n_wanted, hidden_size]
    logits: Vec<f32>, // [n_wanted, vocab_size]; grown to the most that was ever wanted
}

impl Forward {
    /// Buffers for batches of up to `max_tokens` tokens.
    #[must_use]
    pub fn new(model: Arc<Model>, isa: Isa, team: Team, max_tokens: usize) -> Self {
        let buffers = Buffers::new(&model.config, max_tokens);
        Forward {
            model,
            machine: Machine { isa, team },
            buffers,
        }
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The instruction set that computes.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.machine.isa
    }

    /// Take in a batch. Returns the logits of the tokens that want them, `[n_wanted, vocab_size]`, in the batch's order.
    ///
    /// # Errors
    /// `Internal` where the batch does not fit the buffers, the cache or the vocabulary.
    pub fn forward(
        &mut self,
        batch: &[BatchToken],
        kv: &mut KvCache,
    ) -> Result<&mut [f32], EngineError> {
        self.check(batch, kv)?;
        let Forward {
            model,
            machine,
            buffers,
        } = self;
        machine
            .team
            .run(|| -> Result<(), ShapeError> {
                run_layers(machine, model, buffers, batch, kv)?;
                head(machine, model, buffers, batch)
            })
            .map_err(internal)?;
        let n_wanted = batch.iter().filter(|token| token.wants_logits).count();
        Ok(&mut self.buffers.logits[..n_wanted * self.model.config.vocab_size])
    }

    /// Take in a batch up to the last layer, without the output head.
    ///
    /// # Errors
    /// As `forward`.
    pub fn run_layers(
        &mut self,
        batch: &[BatchToken],
        kv: &mut KvCache,
    ) -> Result<(), EngineError> {
        self.check(batch, kv)?;
        let Forward {
            model,
            machine,
            buffers,
        } = self;
        machine
            .team
            .run(|| run_layers(machine, model, buffers, batch, kv))
            .map_err(internal)
    }

    /// The state of the last batch's token `index` after the output norm, `[hidden_size]`.
    #[must_use]
    pub fn final_state(&self, index: usize) -> Vec<f32> {
        let ModelConfig {
            hidden_size,
            rms_norm_eps,
            ..
        } = self.model.config;
        let mut state = vec![0.0; hidden_size];
        let hidden = &self.buffers.hidden[index * hidden_size..][..hidden_size];
        rms_norm(
            self.machine.isa,
            hidden,
            &self.model.weights.output_norm,
            rms_norm_eps,
            &mut state,
        );
        state
    }

    /// Run one layer alone on given states, `[n_tokens, hidden_size]`, in place: how the tests compare
    /// layers with a reference's. The batch's token ids do not matter.
    ///
    /// # Errors
    /// As `forward`, and `Internal` where `hidden` has another size.
    pub fn layer(
        &mut self,
        layer: usize,
        hidden: &mut [f32],
        batch: &[BatchToken],
        kv: &mut KvCache,
    ) -> Result<(), EngineError> {
        self.check(batch, kv)?;
        let Forward {
            model,
            machine,
            buffers,
        } = self;
        if hidden.len() != batch.len() * model.config.hidden_size
            || layer >= model.weights.layers.len()
        {
            return Err(EngineError::Internal(
                "layer: no such layer, or hidden is not [n_tokens, hidden_size]".into(),
            ));
        }
        buffers.hidden[..hidden.len()].copy_from_slice(hidden);
        machine
            .team
            .run(|| {
                angles(&model.config, buffers, batch);
                self::layer(machine, model, layer, buffers, batch, kv)
            })
            .map_err(internal)?;
        hidden.copy_from_slice(&buffers.hidden[..hidden.len()]);
        Ok(())
    }

    /// The batch fits buffers, slots and vocabulary; gives the cache room for its positions.
    fn check(&self, batch: &[BatchToken], kv: &mut KvCache) -> Result<(), EngineError> {
        if batch.len() > self.buffers.max_tokens {
            let max_tokens = self.buffers.max_tokens;
            return Err(EngineError::Internal(format!(
                "a batch of {} tokens, at most {max_tokens}",
                batch.len()
            )));
        }
        for token in batch {
            if token.token as usize >= self.model.config.vocab_size || token.slot >= kv.n_slots() {
                return Err(EngineError::Internal(format!(
                    "no such token or slot: {token:?}"
                )));
            }
            kv.reserve(token.slot, token.position + 1);
        }
        Ok(())
    }
}

impl Buffers {
    fn new(config: &ModelConfig, max_tokens: usize) -> Self {
        let ModelConfig {
            hidden_size,
            ffn_size,
            n_heads,
            n_kv_heads,
            head_dim,
            ..
        } = *config;
        let widest = hidden_size.max(ffn_size).max(n_heads * head_dim);
        let floats = |width: usize| vec![0.0; max_tokens * width];
        Buffers {
            max_tokens,
            hidden: floats(hidden_size),
            normed: floats(widest),
            q: floats(n_heads * head_dim),
            k: floats(n_kv_heads * head_dim),
            v: floats(n_kv_heads * head_dim),
            attention: floats(n_heads * head_dim),
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

/// Embedding and all layers: leaves the last layer's states in `buffers.hidden`.
fn run_layers(
    machine: &Machine,
    model: &Model,
    buffers: &mut Buffers,
    batch: &[BatchToken],
    kv: &mut KvCache,
) -> Result<(), ShapeError> {
    let embedding = model.weights.embedding.view();
    for (token, hidden) in batch
        .iter()
        .zip(buffers.hidden.chunks_exact_mut(model.config.hidden_size))
    {
        embedding.dequantize_row(token.token as usize, hidden);
    }
    angles(&model.config, buffers, batch);
    (0..model.weights.layers.len())
        .try_for_each(|index| layer(machine, model, index, buffers, batch, kv))
}

/// RoPE's angles of every token's position; the same in all layers.
fn angles(config: &ModelConfig, buffers: &mut Buffers, batch: &[BatchToken]) {
    let half = config.head_dim / 2;
    let rows = buffers
        .cos
        .chunks_exact_mut(half)
        .zip(buffers.sin.chunks_exact_mut(half));
    for (token, (cos, sin)) in batch.iter().zip(rows) {
        rope_angles(config.rope_theta, config.head_dim, token.position, cos, sin);
    }
}

/// `h += o(sub_norm(attention(norm(h)))); h += down(sub_norm(activation(gate(x)) * up(x)))` with `x = norm(h)`.
fn layer(
    machine: &Machine,
    model: &Model,
    index: usize,
    buffers: &mut Buffers,
    batch: &[BatchToken],
    kv: &mut KvCache,
) -> Result<(), ShapeError> {
    let ModelConfig {
        hidden_size,
        ffn_size,
        n_heads,
        n_kv_heads,
        head_dim,
        rms_norm_eps,
        ..
    } = model.config;
    let Machine { isa, .. } = *machine;
    let layer: &Layer = &model.weights.layers[index];
    let n = batch.len();
    let (q_size, kv_size) = (n_heads * head_dim, n_kv_heads * head_dim);
    let b = buffers;
    let (hidden, normed, projected) = (
        &mut b.hidden[..n * hidden_size],
        &mut b.normed,
        &mut b.projected[..n * hidden_size],
    );

    // Attention. q, k and v share one quantised input.
    norm_rows(isa, hidden, &layer.attn_norm, rms_norm_eps, normed);
    b.quantized
        .quantize(isa, &normed[..n * hidden_size], hidden_size);
    let (q, k, v) = (
        &mut b.q[..n * q_size],
        &mut b.k[..n * kv_size],
        &mut b.v[..n * kv_size],
    );
    linears(
        machine,
        &b.quantized,
        [
            (&layer.q, &mut *q),
            (&layer.k, &mut *k),
            (&layer.v, &mut *v),
        ],
    )?;
    for (t, token) in batch.iter().enumerate() {
        let half = head_dim / 2;
        let (cos, sin) = (&b.cos[t * half..][..half], &b.sin[t * half..][..half]);
        let keys = &mut k[t * kv_size..][..kv_size];
        let heads = q[t * q_size..][..q_size]
            .chunks_exact_mut(head_dim)
            .chain(keys.chunks_exact_mut(head_dim));
        heads.for_each(|head| rope_rotate_half(isa, head, cos, sin));
        kv.write(
            token.slot,
            index,
            token.position,
            keys,
            &v[t * kv_size..][..kv_size],
        );
    }
    attention(
        machine,
        &model.config,
        index,
        batch,
        q,
        kv,
        &mut b.attention[..n * q_size],
    );
    let attended = match &layer.attn_sub_norm {
        Some(weight) => norm_rows(
            isa,
            &b.attention[..n * q_size],
            weight,
            rms_norm_eps,
            normed,
        ),
        None => &b.attention[..n * q_size],
    };
    b.quantized.quantize(isa, attended, q_size);
    linears(machine, &b.quantized, [(&layer.o, &mut *projected)])?;
    add_assign(isa, hidden, projected);

    // Feed-forward. gate and up share one quantised input.
    norm_rows(isa, hidden, &layer.ffn_norm, rms_norm_eps, normed);
    b.quantized
        .quantize(isa, &normed[..n * hidden_size], hidden_size);
    let (gate, up) = (&mut b.gate[..n * ffn_size], &mut b.up[..n * ffn_size]);
    linears(
        machine,
        &b.quantized,
        [(&layer.gate, &mut *gate), (&layer.up, &mut *up)],
    )?;
    let activated = &mut b.activated[..n * ffn_size];
    match model.config.activation {
        Activation::Relu2 => relu2_mul(isa, gate, up, activated),
        Activation::Silu => silu_mul(isa, gate, up, activated),
    }
    let activated = match &layer.ffn_sub_norm {
        Some(weight) => norm_rows(isa, activated, weight, rms_norm_eps, normed),
        None => activated,
    };
    b.quantized.quantize(isa, activated, ffn_size);
    linears(machine, &b.quantized, [(&layer.down, &mut *projected)])?;
    add_assign(isa, hidden, projected);
    Ok(())
}

/// RMSNorm of every row of `x`, `[n, weight.len()]`, into the first rows of `out`; returns those.
fn norm_rows<'a>(isa: Isa, x: &[f32], weight: &[f32], eps: f32, out: &'a mut [f32]) -> &'a [f32] {
    let width = weight.len();
    for (row, normed) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        rms_norm(isa, row, weight, eps, normed);
    }
    &out[..x.len()]
}

/// Several matrices on one quantised input, each into its `[n_tokens, rows]`, in one fork and join.
fn linears<const N: usize>(
    machine: &Machine,
    x: &QuantizedActivations,
    jobs: [(&Linear, &mut [f32]); N],
) -> Result<(), ShapeError> {
    let work = jobs.iter().map(|(_, out)| out.len() * x.k()).sum();
    let mut tasks = Vec::new();
    for (linear, out) in jobs {
        let weights = linear.view();
        let out = OutputRows::new(out, x.n_tokens(), weights.rows())?;
        let rows = machine.team.rows_per_task(weights.rows(), work);
        tasks.extend(out.chunks(rows).into_iter().map(|part| (weights, part)));
    }
    machine.team.for_each(tasks, work, |(weights, part)| {
        ternary_matmul(machine.isa, weights, x, part)
    });
    Ok(())
}

/// Output norm and head of the tokens whose logits are wanted.
fn head(
    machine: &Machine,
    model: &Model,
    buffers: &mut Buffers,
    batch: &[BatchToken],
) -> Result<(), ShapeError> {
    let ModelConfig {
        hidden_size,
        vocab_size,
        rms_norm_eps,
        ..
    } = model.config;
    let isa = machine.isa;
    let mut n_wanted = 0;
    for (t, _) in batch
        .iter()
        .enumerate()
        .filter(|(_, token)| token.wants_logits)
    {
        let hidden = &buffers.hidden[t * hidden_size..][..hidden_size];
        let normed = &mut buffers.normed[n_wanted * hidden_size..][..hidden_size];
        rms_norm(
            isa,
            hidden,
            &model.weights.output_norm,
            rms_norm_eps,
            normed,
        );
        n_wanted += 1;
    }
    if n_wanted == 0 {
        return Ok(());
    }
    let weights: Dense<'_> = model.weights.head().view();
    buffers.head_input.set(
        isa,
        &buffers.normed[..n_wanted * hidden_size],
        hidden_size,
        weights.ty(),
    );
    if buffers.logits.len() < n_wanted * vocab_size {
        buffers.logits.resize(n_wanted * vocab_size, 0.0);
    }
    let logits = &mut buffers.logits[..n_wanted * vocab_size];
    let work = logits.len() * hidden_size;
    let rows = machine.team.rows_per_task(vocab_size, work);
    let tasks = OutputRows::new(logits, n_wanted, vocab_size)?.chunks(rows);
    let input = &buffers.head_input;
    machine
        .team
        .for_each(tasks, work, |part| dense_matmul(isa, weights, input, part));
    Ok(())
}

/// Shapes are checked when a model is loaded; one that still does not fit is a fault of ours.
fn internal(error: ShapeError) -> EngineError {
    EngineError::Internal(error.to_string())
}
