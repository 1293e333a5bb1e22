//! The shape of a pass: what of a model its arithmetic depends on, and where a batch's tokens
//! stand.

use crate::config::{Activation, ModelConfig, RopeScaling};
use crate::error::EngineError;
use crate::kv::KvShape;

/// The part of a model's shape that the arithmetic depends on.
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
    pub rope_scaling: RopeScaling,
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
            rope_scaling: config.rope_scaling,
            rms_norm_eps: config.rms_norm_eps,
            activation: config.activation,
        }
    }

    /// Checks that the arithmetic is possible at all.
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

    /// The shape of a position's keys and values.
    #[must_use]
    pub fn kv(&self) -> KvShape {
        KvShape {
            n_layers: self.n_layers,
            n_kv_heads: self.n_kv_heads,
            head_dim: self.head_dim,
        }
    }
}

/// The position of a token of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its sequence in the cache.
    pub sequence: usize,
    /// Its position there.
    pub position: usize,
}
