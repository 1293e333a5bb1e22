//! The transformer: one pass of a batch of tokens through a model of 1-bit or ternary linears.
//!
//! A batch mixes tokens of any sequences: prefill chunks and decoding tokens are the same to it.
//! Every token's result depends on its own sequence alone, to the bit: integer dot products are
//! exact, and each float reduction has one fixed shape (see sterna-kernels), so neither the rest of
//! the batch nor the number of threads nor the instruction set can change it.
//!
//! Here is the order of things; `pass` has the arithmetic, and `lent` hands it to a host that
//! computes faster.

mod attention;
mod batch;
mod buffers;
mod feed_forward;
mod fit;
mod input;
#[cfg(target_arch = "wasm32")]
mod lent;
mod pass;
mod pass_bytes;
mod per_token;
mod products;
mod shape;
mod sparsity;
mod sub_layers;

use std::sync::Arc;

use sterna_kernels::Isa;

use crate::error::EngineError;
use crate::kv::KvCache;
use crate::model::Model;
use crate::optimisations::Optimisations;
use crate::team::Team;
use batch::{embed, places, remember};

pub use batch::BatchToken;
#[cfg(target_arch = "wasm32")]
pub use lent::available as lent_kernels;
pub use pass::Pass;
pub use shape::{PassShape, Place, Rotation};
pub use sub_layers::{AttentionOutput, FeedForward, LinearView, Projection};

/// A model, and what computes.
pub struct Forward {
    model: Arc<Model>,
    max_tokens: usize,
    compute: Compute,
}

/// The provider of the arithmetic.
enum Compute {
    /// This process, or this module.
    Own(Box<Pass>),
    /// The host of this module.
    #[cfg(target_arch = "wasm32")]
    Lent(lent::LentPass),
}

impl Forward {
    /// Compute with `isa` and `team`, in batches of up to `max_tokens` tokens, with every
    /// optimisation.
    #[must_use]
    pub fn new(model: Arc<Model>, isa: Isa, team: Team, max_tokens: usize) -> Self {
        Forward::with(model, isa, team, max_tokens, Optimisations::ALL)
    }

    /// The same, with these optimisations.
    #[must_use]
    pub fn with(
        model: Arc<Model>,
        isa: Isa,
        team: Team,
        max_tokens: usize,
        optimisations: Optimisations,
    ) -> Self {
        let shape = PassShape::of(&model.config);
        let rotation = Rotation::of(&model.config);
        let pass = Pass::new(shape, rotation, isa, team, max_tokens, optimisations);
        Forward {
            model,
            max_tokens,
            compute: Compute::Own(Box::new(pass)),
        }
    }

    /// Compute with the kernels the host lends, and with `isa` what it does not; `None` where it
    /// lends none (`wit/kernels.wit`).
    #[cfg(target_arch = "wasm32")]
    #[must_use]
    pub fn lent(model: Arc<Model>, isa: Isa, max_tokens: usize) -> Option<Self> {
        let pass = lent::LentPass::new(&model.config, isa, max_tokens)?;
        Some(Forward {
            model,
            max_tokens,
            compute: Compute::Lent(pass),
        })
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The instruction set that computes.
    #[must_use]
    pub fn isa_name(&self) -> &str {
        match &self.compute {
            Compute::Own(pass) => pass.isa().name(),
            #[cfg(target_arch = "wasm32")]
            Compute::Lent(pass) => pass.isa_name(),
        }
    }

    /// The threads that compute, for what follows a pass too; where the arithmetic is lent, the
    /// caller's alone.
    #[must_use]
    pub fn team(&self) -> Team {
        match &self.compute {
            Compute::Own(pass) => pass.team(),
            #[cfg(target_arch = "wasm32")]
            Compute::Lent(_) => Team::of_caller(),
        }
    }

    /// Bytes of copies of weights that were made to compute faster, so far.
    #[must_use]
    pub fn copied_bytes(&self) -> usize {
        match &self.compute {
            Compute::Own(pass) => pass.copied_bytes(),
            #[cfg(target_arch = "wasm32")]
            Compute::Lent(_) => 0,
        }
    }

    /// Bytes of packed weights that were not read because of zeros, so far.
    #[must_use]
    pub fn skipped_bytes(&self) -> u64 {
        match &self.compute {
            Compute::Own(pass) => pass.skipped_bytes(),
            #[cfg(target_arch = "wasm32")]
            Compute::Lent(_) => 0,
        }
    }

    /// Take in a batch. Returns the logits of the tokens that want them, `[n_wanted, vocab_size]`,
    /// in the batch's order.
    ///
    /// # Errors
    /// `Internal` where the batch does not fit the buffers, the cache or the vocabulary.
    pub fn forward(
        &mut self,
        batch: &[BatchToken],
        kv: &mut KvCache,
    ) -> Result<&mut [f32], EngineError> {
        self.check(batch, kv)?;
        let model = &self.model;
        let wanted: Vec<usize> = (0..batch.len())
            .filter(|&token| batch[token].wants_logits)
            .collect();
        let (norm, head) = (&model.weights.output_norm, model.weights.head());
        match &mut self.compute {
            Compute::Own(pass) => pass.team().run(move || {
                run_layers(pass, model, batch, kv)?;
                pass.logits(&wanted, norm, head.view())
            }),
            #[cfg(target_arch = "wasm32")]
            Compute::Lent(pass) => {
                pass.run_layers(model, batch, kv);
                Ok(pass.logits(&wanted, norm, head))
            }
        }
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
        let model = &self.model;
        match &mut self.compute {
            Compute::Own(pass) => pass.team().run(|| run_layers(pass, model, batch, kv)),
            #[cfg(target_arch = "wasm32")]
            Compute::Lent(pass) => {
                pass.run_layers(model, batch, kv);
                Ok(())
            }
        }
    }

    /// The state of the last batch's token `index` after the output norm, `[hidden_size]`.
    ///
    /// # Errors
    /// `Internal` where there is no such token.
    pub fn final_state(&self, index: usize) -> Result<Vec<f32>, EngineError> {
        let norm = &self.model.weights.output_norm;
        match &self.compute {
            Compute::Own(pass) => pass.state(index, norm),
            #[cfg(target_arch = "wasm32")]
            Compute::Lent(pass) => Ok(pass.state(index, norm)),
        }
    }

    /// Run one layer alone on given states, `[n_tokens, hidden_size]`, in place: how the tests
    /// compare layers with a reference's. The batch's token ids do not matter.
    ///
    /// # Errors
    /// As `forward`, and `Internal` where `states` has another size or the arithmetic is lent.
    pub fn layer(
        &mut self,
        layer: usize,
        states: &mut [f32],
        batch: &[BatchToken],
        kv: &mut KvCache,
    ) -> Result<(), EngineError> {
        self.check(batch, kv)?;
        let expected = batch.len() * self.model.config.hidden_size;
        match &mut self.compute {
            Compute::Own(pass)
                if states.len() == expected && layer < self.model.config.n_layers =>
            {
                pass.begin(places(batch))?.copy_from_slice(states);
                run_layer(pass, &self.model, layer, batch, kv)?;
                states.copy_from_slice(pass.states());
                Ok(())
            }
            _ => Err(EngineError::Internal(
                "layer: no such layer, or states are not [n_tokens, hidden_size]".into(),
            )),
        }
    }

    /// The batch fits buffers, cache and vocabulary; gives the cache room for its positions.
    fn check(&self, batch: &[BatchToken], kv: &mut KvCache) -> Result<(), EngineError> {
        if batch.is_empty() || batch.len() > self.max_tokens {
            let (n, max_tokens) = (batch.len(), self.max_tokens);
            return Err(EngineError::Internal(format!(
                "a batch of {n} tokens; at least 1 and at most {max_tokens}"
            )));
        }
        for token in batch {
            if token.token as usize >= self.model.config.vocab_size
                || token.sequence >= kv.n_sequences()
            {
                return Err(EngineError::Internal(format!(
                    "no such token or sequence: {token:?}"
                )));
            }
            if kv.is_kept(token.sequence, token.position) {
                return Err(EngineError::Internal(format!(
                    "keys and values that are kept would be overwritten: {token:?}"
                )));
            }
            kv.reserve(token.sequence, token.position + 1)?;
        }
        Ok(())
    }
}

/// Embedding and all layers.
fn run_layers(
    pass: &mut Pass,
    model: &Model,
    batch: &[BatchToken],
    kv: &mut KvCache,
) -> Result<(), EngineError> {
    embed(model, batch, pass.begin(places(batch))?);
    (0..model.weights.layers.len()).try_for_each(|layer| run_layer(pass, model, layer, batch, kv))
}

/// `h += o(sub_norm(attention(norm(h)))); h += down(sub_norm(activation(gate(x)) * up(x)))` with
/// `x = norm(h)`; each norm beside the two of `h` only where the model has it: those, one of each
/// linear's own input, and one of what is added to `h`.
fn run_layer(
    pass: &mut Pass,
    model: &Model,
    layer: usize,
    batch: &[BatchToken],
    kv: &mut KvCache,
) -> Result<(), EngineError> {
    let weights = &model.weights.layers[layer];
    let isa = pass.isa();
    let (keys, values) = pass.project(weights.projection())?;
    remember(kv, isa, layer, batch, keys, values);
    pass.attend(layer, kv, weights.attention_output())?;
    pass.feed_forward(weights.feed_forward())
}
