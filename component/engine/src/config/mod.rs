//! The configuration of a model: its shape and the few choices that change the arithmetic.
//!
//! Both containers describe it in their own words: `config.json` (`config/hf.rs`) and GGUF metadata
//! (`config/gguf.rs`) are read into this one struct, and everything after that trusts it.

mod block;
mod embedding;
mod gemma;
mod gguf;
mod hf;
mod hf_object;
mod hf_rope;
mod rope;
mod sampling;
mod unsupported_gguf;
mod unsupported_hf;

pub use block::{BlockOptions, SlidingWindow};
pub use embedding::{EmbeddingConfig, Pooling};
pub(crate) use gemma::GEMMA3;
pub(crate) use gguf::{GENERAL_ARCHITECTURE, GGUF_EOS_TOKENS, GGUF_INPUT_NORM_EPSILON, read_gguf};
pub(crate) use hf::{HfConfig, ScaleRule};
pub use rope::{Llama3, RopePairs, RopeScaling, Yarn};
pub(crate) use sampling::GGUF_SAMPLING_KEYS;
pub use sampling::SamplingDefaults;

use crate::error::LoadError;

/// The gate of the feed-forward network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `relu(gate)^2 * up`, as BitNet b1.58 2B-4T was trained.
    Relu2,
    /// `silu(gate) * up`, as Llama.
    Silu,
    /// `gelu(gate) * up` in the form with tanh, as Gemma.
    GeluTanh,
}

/// The shape of a decoder-only transformer whose linears are ternary or binary.
///
/// After [`ModelConfig::validate`] every product of two sizes fits an i64, and every accumulation
/// of int8 activations over a row fits an i32.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// As the file names it: `general.architecture` of a GGUF, `model_type` of a `config.json`.
    pub architecture: String,
    /// Rows of the embedding; token ids are below this.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward network (`intermediate_size`).
    pub ffn_size: usize,
    /// Transformer blocks.
    pub n_layers: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; query head h reads head `h / (n_heads / n_kv_heads)`.
    pub n_kv_heads: usize,
    /// Width of one head; need not be `hidden_size / n_heads`.
    pub head_dim: usize,
    /// Positions the model was made for.
    pub context_length: usize,
    /// Base of the rotary embedding's frequencies.
    pub rope_theta: f64,
    /// The scaling of those frequencies.
    pub rope_scaling: RopeScaling,
    /// Which two numbers of a query or key head, as its matrix's rows give it, turn together.
    pub rope_pairs: RopePairs,
    /// Added to the mean square inside every norm's root.
    pub rms_norm_eps: f32,
    /// The feed-forward network's gate.
    pub activation: Activation,
    /// True if each block norms the attention's output and the gated product before `o` and `down`.
    pub sub_norms: bool,
    /// True if each query and key head is normed before it is rotated, as in Qwen3.
    pub qk_norms: bool,
    /// The beginning-of-sequence token, if the model has one. What goes before a text is the
    /// tokenizer's to say ([`crate::tokenizer::Tokenizer::prefix`]).
    pub bos_token: Option<u32>,
    /// Every token that ends a generation; may be empty.
    pub eos_tokens: Vec<u32>,
    /// What its blocks have beyond Llama's.
    pub block: BlockOptions,
    /// How it makes embeddings.
    pub embedding: EmbeddingConfig,
}

/// The architecture of Llama, as both containers name it: that of ternary models with one scale
/// (Falcon3, Falcon-E, Llama3-8B-1.58), and of TriLM, with a scale for each shard of a matrix.
pub(crate) const LLAMA: &str = "llama";

/// The architecture of Qwen3, as both containers name it. Its published 1-bit and ternary models
/// have a scale for each group of weights.
pub(crate) const QWEN3: &str = "qwen3";

/// Tokens that end a generation at most: each is compared with every token that is generated.
pub(crate) const MAX_END_TOKENS: usize = 256;

/// A generous multiple of what exists; keeps every size computation far from overflow.
const MAX_WIDTH: usize = 1 << 20;
const MAX_LAYERS: usize = 1 << 12;
const MAX_HEADS: usize = 1 << 12;
const MAX_HEAD_DIM: usize = 1 << 12;
const MAX_VOCAB: usize = 1 << 22;
const MAX_CONTEXT: usize = 1 << 24;

impl ModelConfig {
    /// Width of the concatenated query heads: rows of `q`, columns of `o`.
    pub fn q_size(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Width of the concatenated key (or value) heads: rows of `k` and of `v`.
    pub fn kv_size(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }

    /// Check every value against what the engine can compute.
    ///
    /// # Errors
    /// `LoadError::Config` with the field and the limit it breaks.
    pub fn validate(&self) -> Result<(), LoadError> {
        let sizes = [
            ("vocab_size", self.vocab_size, MAX_VOCAB),
            ("hidden_size", self.hidden_size, MAX_WIDTH),
            ("intermediate_size", self.ffn_size, MAX_WIDTH),
            ("num_hidden_layers", self.n_layers, MAX_LAYERS),
            ("num_attention_heads", self.n_heads, MAX_HEADS),
            ("num_key_value_heads", self.n_kv_heads, MAX_HEADS),
            ("head_dim", self.head_dim, MAX_HEAD_DIM),
            ("max_position_embeddings", self.context_length, MAX_CONTEXT),
        ];
        for (key, value, limit) in sizes {
            if value == 0 || value > limit {
                return Err(bad(key, format!("is {value}, must be 1 to {limit}")));
            }
        }
        if self.q_size() > MAX_WIDTH {
            return Err(bad(
                "head_dim",
                format!(
                    "{} heads of {} are wider than {MAX_WIDTH}",
                    self.n_heads, self.head_dim
                ),
            ));
        }
        if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            return Err(bad(
                "num_key_value_heads",
                format!(
                    "{} does not divide the {} attention heads",
                    self.n_kv_heads, self.n_heads
                ),
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(bad(
                "head_dim",
                format!("is {}, rotary embedding needs an even one", self.head_dim),
            ));
        }
        if !(self.rope_theta.is_finite() && self.rope_theta >= 1.0) {
            return Err(bad(
                "rope_theta",
                format!("is {}, must be finite and at least 1", self.rope_theta),
            ));
        }
        self.rope_scaling.validate()?;
        self.validate_block()?;
        if !(self.rms_norm_eps > 0.0 && self.rms_norm_eps < 1.0) {
            return Err(bad(
                "rms_norm_eps",
                format!("is {}, must be between 0 and 1", self.rms_norm_eps),
            ));
        }
        for (key, token) in self
            .bos_token
            .iter()
            .map(|&token| ("bos_token_id", token))
            .chain(self.eos_tokens.iter().map(|&token| ("eos_token_id", token)))
        {
            if usize::try_from(token).is_ok_and(|id| id >= self.vocab_size) {
                return Err(bad(
                    key,
                    format!("is {token}, the vocabulary has {} tokens", self.vocab_size),
                ));
            }
        }
        Ok(())
    }

    /// Add a token that ends a generation, once.
    pub(crate) fn add_eos(&mut self, token: u32) {
        if !self.eos_tokens.contains(&token) {
            self.eos_tokens.push(token);
        }
    }
}

/// True of the architecture of Bonsai 27B, as GGUF (`qwen35`) and transformers (`qwen3_5`) name it.
fn is_hybrid(architecture: &str) -> bool {
    architecture.starts_with("qwen35") || architecture.starts_with("qwen3_5")
}

/// Why it is refused.
fn hybrid(architecture: &str) -> String {
    format!(
        "`{architecture}` (Bonsai 27B) mixes attention with recurrent layers, which are not computed; \
         take Bonsai or Ternary-Bonsai 1.7B, 4B or 8B, whose architecture is `{QWEN3}`"
    )
}

/// Refuse a list of more end tokens than there can be.
pub(crate) fn check_ends(key: &str, length: usize) -> Result<(), LoadError> {
    if length > MAX_END_TOKENS {
        return Err(bad(
            key,
            format!("lists {length} tokens, at most {MAX_END_TOKENS} are supported"),
        ));
    }
    Ok(())
}

/// A `LoadError::Config` for `key`.
pub(crate) fn bad(key: &str, reason: impl Into<String>) -> LoadError {
    LoadError::Config {
        key: key.to_owned(),
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn small() -> ModelConfig {
        ModelConfig {
            architecture: "bitnet-b1.58".into(),
            vocab_size: 100,
            hidden_size: 64,
            ffn_size: 96,
            n_layers: 1,
            n_heads: 4,
            n_kv_heads: 2,
            head_dim: 16,
            context_length: 32,
            rope_theta: 10000.0,
            rope_scaling: RopeScaling::Unscaled,
            rope_pairs: RopePairs::Halves,
            rms_norm_eps: 1e-5,
            activation: Activation::Relu2,
            sub_norms: true,
            qk_norms: false,
            bos_token: Some(0),
            eos_tokens: vec![1],
            block: BlockOptions::default(),
            embedding: EmbeddingConfig::default(),
        }
    }

    fn refused(change: impl FnOnce(&mut ModelConfig)) -> String {
        let mut config = small();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn a_sound_shape_passes() {
        small().validate().unwrap();
    }

    #[test]
    fn each_bad_value_is_named() {
        assert!(refused(|c| c.hidden_size = 0).contains("hidden_size"));
        assert!(refused(|c| c.n_layers = usize::MAX).contains("num_hidden_layers"));
        assert!(refused(|c| c.n_kv_heads = 3).contains("num_key_value_heads"));
        assert!(refused(|c| c.head_dim = 15).contains("head_dim"));
        assert!(refused(|c| c.rope_theta = f64::NAN).contains("rope_theta"));
        assert!(refused(|c| c.rms_norm_eps = 0.0).contains("rms_norm_eps"));
        assert!(refused(|c| c.eos_tokens = vec![100]).contains("eos_token_id"));
        assert!(refused(|c| c.bos_token = Some(u32::MAX)).contains("bos_token_id"));
    }
}
