//! A batch of tokens: where they stand, their embeddings, and what the cache keeps of them.

use sterna_kernels::Isa;

use super::shape::Place;
use crate::kv::KvCache;
use crate::model::Model;

/// One token to take in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchToken {
    /// Its sequence in the cache.
    pub sequence: usize,
    /// Its position in the sequence. All earlier positions are cached or in the same batch.
    pub position: usize,
    /// Its id, below the vocabulary's size.
    pub token: u32,
    /// True if the distribution of the token after it is wanted.
    pub wants_logits: bool,
}

/// The positions of the batch's tokens.
pub(super) fn places(batch: &[BatchToken]) -> impl ExactSizeIterator<Item = Place> {
    batch.iter().map(|token| Place {
        sequence: token.sequence,
        position: token.position,
    })
}

/// The batch's embeddings, into `states`, `[n_tokens, hidden_size]`.
pub(super) fn embed(model: &Model, batch: &[BatchToken], states: &mut [f32]) {
    let embedding = model.weights.embedding.view();
    for (token, state) in batch
        .iter()
        .zip(states.chunks_exact_mut(model.config.hidden_size))
    {
        embedding.row(token.token as usize, state);
        if let Some(scale) = model.config.block.embedding_scale {
            state.iter_mut().for_each(|value| *value *= scale);
        }
    }
}

/// Cache a layer's new keys and values, each `[n_tokens, n_kv_heads, head_dim]`.
pub(super) fn remember(
    kv: &mut KvCache,
    isa: Isa,
    layer: usize,
    batch: &[BatchToken],
    keys: &[f32],
    values: &[f32],
) {
    let width = keys.len() / batch.len();
    let rows = keys.chunks_exact(width).zip(values.chunks_exact(width));
    for (token, (keys, values)) in batch.iter().zip(rows) {
        kv.write(isa, token.sequence, layer, token.position, keys, values);
    }
}
