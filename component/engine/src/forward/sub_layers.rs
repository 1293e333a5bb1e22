//! The weights of each sub-layer, borrowed: from a loaded model, or from the memory of an engine in
//! a sandbox.

use crate::matrix::MatrixView;
use crate::weights::Layer;

/// The arguments of `Pass::project`.
#[derive(Clone, Copy)]
pub struct Projection<'a> {
    /// `[hidden_size]`
    pub norm: &'a [f32],
    /// `[n_heads * head_dim, hidden_size]`
    pub q: MatrixView<'a>,
    /// `[n_kv_heads * head_dim, hidden_size]`
    pub k: MatrixView<'a>,
    /// `[n_kv_heads * head_dim, hidden_size]`
    pub v: MatrixView<'a>,
    /// `[head_dim]`
    pub q_norm: Option<&'a [f32]>,
    /// `[head_dim]`
    pub k_norm: Option<&'a [f32]>,
}

/// The arguments of `Pass::attend`.
#[derive(Clone, Copy)]
pub struct AttentionOutput<'a> {
    /// `[n_heads * head_dim]`
    pub sub_norm: Option<&'a [f32]>,
    /// `[hidden_size, n_heads * head_dim]`
    pub o: MatrixView<'a>,
}

/// The arguments of `Pass::feed_forward`.
#[derive(Clone, Copy)]
pub struct FeedForward<'a> {
    /// `[hidden_size]`
    pub norm: &'a [f32],
    /// `[ffn_size, hidden_size]`
    pub gate: MatrixView<'a>,
    /// `[ffn_size, hidden_size]`
    pub up: MatrixView<'a>,
    /// `[ffn_size]`
    pub sub_norm: Option<&'a [f32]>,
    /// `[hidden_size, ffn_size]`
    pub down: MatrixView<'a>,
}

impl Layer {
    /// The first sub-layer.
    #[must_use]
    pub fn projection(&self) -> Projection<'_> {
        Projection {
            norm: &self.attn_norm,
            q: self.q.view(),
            k: self.k.view(),
            v: self.v.view(),
            q_norm: self.q_norm.as_deref(),
            k_norm: self.k_norm.as_deref(),
        }
    }

    /// The second sub-layer.
    #[must_use]
    pub fn attention_output(&self) -> AttentionOutput<'_> {
        AttentionOutput {
            sub_norm: self.attn_sub_norm.as_deref(),
            o: self.o.view(),
        }
    }

    /// The third sub-layer.
    #[must_use]
    pub fn feed_forward(&self) -> FeedForward<'_> {
        FeedForward {
            norm: &self.ffn_norm,
            gate: self.gate.view(),
            up: self.up.view(),
            sub_norm: self.ffn_sub_norm.as_deref(),
            down: self.down.view(),
        }
    }
}
