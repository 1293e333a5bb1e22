//! The weights of each sub-layer, borrowed: from a loaded model, or from the memory of an engine in
//! a sandbox.

use crate::matrix::{Matrix, MatrixView};
use crate::weights::{InputNorms, Layer};

/// A matrix, and the norm of its own input, after every other, where it has one: `[in]`.
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "said above")]
pub struct LinearView<'a> {
    pub weights: MatrixView<'a>,
    pub norm: Option<&'a [f32]>,
}

/// The arguments of `Pass::project`.
#[derive(Clone, Copy)]
pub struct Projection<'a> {
    /// `[hidden_size]`
    pub norm: &'a [f32],
    /// `[n_heads * head_dim, hidden_size]`
    pub q: LinearView<'a>,
    /// `[n_kv_heads * head_dim, hidden_size]`
    pub k: LinearView<'a>,
    /// `[n_kv_heads * head_dim, hidden_size]`
    pub v: LinearView<'a>,
    /// `[head_dim]`
    pub q_norm: Option<&'a [f32]>,
    /// `[head_dim]`
    pub k_norm: Option<&'a [f32]>,
    /// Heads turn by the frequencies of layers with a window.
    pub local: bool,
}

/// The arguments of `Pass::attend`.
#[derive(Clone, Copy)]
pub struct AttentionOutput<'a> {
    /// `[n_heads * head_dim]`
    pub sub_norm: Option<&'a [f32]>,
    /// `[hidden_size, n_heads * head_dim]`
    pub o: LinearView<'a>,
    /// `[hidden_size]`
    pub post_norm: Option<&'a [f32]>,
    /// The positions that a token sees, where they are not all.
    pub window: Option<usize>,
}

/// The arguments of `Pass::feed_forward`.
#[derive(Clone, Copy)]
pub struct FeedForward<'a> {
    /// `[hidden_size]`
    pub norm: &'a [f32],
    /// `[ffn_size, hidden_size]`
    pub gate: LinearView<'a>,
    /// `[ffn_size, hidden_size]`
    pub up: LinearView<'a>,
    /// `[ffn_size]`
    pub sub_norm: Option<&'a [f32]>,
    /// `[hidden_size, ffn_size]`
    pub down: LinearView<'a>,
    /// `[hidden_size]`
    pub post_norm: Option<&'a [f32]>,
}

impl Layer {
    /// The first sub-layer.
    #[must_use]
    pub fn projection(&self) -> Projection<'_> {
        Projection {
            norm: &self.attn_norm,
            q: self.linear(&self.q, |norms| &norms.q),
            k: self.linear(&self.k, |norms| &norms.k),
            v: self.linear(&self.v, |norms| &norms.v),
            q_norm: self.q_norm.as_deref(),
            k_norm: self.k_norm.as_deref(),
            local: self.window.is_some(),
        }
    }

    /// The second sub-layer.
    #[must_use]
    pub fn attention_output(&self) -> AttentionOutput<'_> {
        AttentionOutput {
            sub_norm: self.attn_sub_norm.as_deref(),
            o: self.linear(&self.o, |norms| &norms.o),
            post_norm: self.attn_post_norm.as_deref(),
            window: self.window,
        }
    }

    /// The third sub-layer.
    #[must_use]
    pub fn feed_forward(&self) -> FeedForward<'_> {
        FeedForward {
            norm: &self.ffn_norm,
            gate: self.linear(&self.gate, |norms| &norms.gate),
            up: self.linear(&self.up, |norms| &norms.up),
            sub_norm: self.ffn_sub_norm.as_deref(),
            down: self.linear(&self.down, |norms| &norms.down),
            post_norm: self.ffn_post_norm.as_deref(),
        }
    }

    fn linear<'a>(
        &'a self,
        matrix: &'a Matrix,
        norm: impl Fn(&'a InputNorms) -> &'a Vec<f32>,
    ) -> LinearView<'a> {
        LinearView {
            weights: matrix.view(),
            norm: self.input_norms.as_deref().map(|norms| &norm(norms)[..]),
        }
    }
}
