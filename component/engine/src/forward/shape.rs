//! The shape of a pass: what of a model its arithmetic depends on, and where a batch's tokens
//! stand and how they turn.

use sterna_kernels::KvType;

use super::sub_layers::LinearView;
use crate::config::{Activation, ModelConfig, RopePairs, RopeScaling};
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
    pub rms_norm_eps: f32,
    pub activation: Activation,
    pub attention_scale: f32,
    /// Where each linear norms its own input: what is added to the mean square inside the root.
    pub input_norm_eps: Option<f32>,
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
            rms_norm_eps: config.rms_norm_eps,
            activation: config.activation,
            attention_scale: config.attention_scale(),
            input_norm_eps: config.block.input_norm_eps,
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

    /// The norm of a linear's own input, with what is added inside its root.
    pub(super) fn own_norm<'a>(&self, linear: &LinearView<'a>) -> Option<(&'a [f32], f32)> {
        linear.norm.zip(self.input_norm_eps)
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

    /// The shape of a position's keys and values in this type.
    #[must_use]
    pub fn kv(&self, ty: KvType) -> KvShape {
        KvShape {
            ty,
            n_layers: self.n_layers,
            n_kv_heads: self.n_kv_heads,
            head_dim: self.head_dim,
        }
    }
}

/// The rotary embedding of a pass, whatever its scaling.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotation {
    /// By how much each pair of a head turns from one position to the next, in radians,
    /// `[head_dim / 2]`.
    pub frequencies: Vec<f64>,
    /// The factor of every rotated query and key.
    pub magnitude: f64,
    /// Which of a head's numbers turn together.
    pub pairs: RopePairs,
    /// The same frequencies of layers with a window, `[head_dim / 2]`, where there are such; their
    /// factor is 1.
    pub local: Option<Vec<f64>>,
}

impl Rotation {
    /// Of a model.
    #[must_use]
    pub fn of(config: &ModelConfig) -> Self {
        let scaling = config.rope_scaling;
        Rotation {
            frequencies: scaling.frequencies(config.rope_theta, config.head_dim),
            magnitude: scaling.magnitude(),
            pairs: config.rope_pairs,
            local: config.block.window.as_ref().map(|window| {
                RopeScaling::Unscaled.frequencies(window.rope_theta, config.head_dim)
            }),
        }
    }

    /// Checks that it is one of heads of this width.
    ///
    /// # Errors
    /// `Internal` where it has more or fewer frequencies.
    pub fn check(&self, head_dim: usize) -> Result<(), EngineError> {
        let half = head_dim / 2;
        let of_all = [Some(&self.frequencies), self.local.as_ref()];
        let mut lengths = of_all.into_iter().flatten().map(Vec::len);
        match lengths.find(|&n| n != half) {
            None => Ok(()),
            Some(n) => Err(EngineError::Internal(format!(
                "{n} rotary frequencies; heads of {head_dim} have {half}"
            ))),
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
