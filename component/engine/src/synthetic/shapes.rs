//! The shapes that synthetic models are made of, by name.

use crate::config::{
    Activation, BlockOptions, EmbeddingConfig, ModelConfig, QWEN3, RopePairs, RopeScaling, bad,
};
use crate::error::LoadError;

/// The shapes that can be made, by name; `2b`, `0.7b`, `3b` and `8b` are short for the first four.
pub const SHAPES: [&str; 9] = [
    "bitnet-2b-4t",
    "bitnet-0.7b",
    "bitnet-3b",
    "llama3-8b-1.58",
    "bonsai-1.7b",
    "bonsai-4b",
    "bonsai-8b",
    "bonsai-tiny",
    "tiny",
];

/// The configuration of a named shape: the published one of its model, save that the
/// tokenizer is bytes.
pub fn shape(name: &str) -> Option<ModelConfig> {
    // vocabulary, hidden, ffn, layers, heads, kv heads, head_dim, context, theta
    let (sizes, theta, architecture) = match name {
        "bitnet-2b-4t" | "2b" => (
            [128_256, 2560, 6912, 30, 20, 5, 128, 4096],
            500_000.0,
            "bitnet-b1.58",
        ),
        "bitnet-0.7b" | "0.7b" => (
            [32_002, 1536, 4096, 24, 16, 16, 96, 2048],
            10_000.0,
            "bitnet",
        ),
        "bitnet-3b" | "3b" => (
            [32_002, 3200, 8640, 26, 32, 32, 100, 2048],
            10_000.0,
            "bitnet",
        ),
        "llama3-8b-1.58" | "8b" => (
            [128_256, 4096, 14_336, 32, 32, 8, 128, 8192],
            500_000.0,
            "llama",
        ),
        "bonsai-1.7b" => (
            [151_936, 2048, 6144, 28, 16, 8, 128, 65_536],
            1_000_000.0,
            QWEN3,
        ),
        "bonsai-4b" => (
            [151_936, 2560, 9728, 36, 32, 8, 128, 65_536],
            1_000_000.0,
            QWEN3,
        ),
        "bonsai-8b" => (
            [151_936, 4096, 12_288, 36, 32, 8, 128, 65_536],
            1_000_000.0,
            QWEN3,
        ),
        "bonsai-tiny" => ([1024, 512, 1536, 2, 8, 2, 128, 2048], 1_000_000.0, QWEN3),
        "tiny" => ([512, 256, 640, 4, 8, 2, 32, 256], 10_000.0, "bitnet-b1.58"),
        _ => return None,
    };
    let [
        vocab_size,
        hidden_size,
        ffn_size,
        n_layers,
        n_heads,
        n_kv_heads,
        head_dim,
        context_length,
    ] = sizes;
    Some(ModelConfig {
        architecture: architecture.into(),
        vocab_size,
        hidden_size,
        ffn_size,
        n_layers,
        n_heads,
        n_kv_heads,
        head_dim,
        context_length,
        rope_theta: theta,
        rope_scaling: RopeScaling::Unscaled,
        rope_pairs: RopePairs::Halves,
        rms_norm_eps: if architecture == QWEN3 { 1e-6 } else { 1e-5 },
        activation: if architecture == "bitnet-b1.58" {
            Activation::Relu2
        } else {
            Activation::Silu
        },
        sub_norms: !["llama", QWEN3].contains(&architecture),
        qk_norms: architecture == QWEN3,
        bos_token: Some(super::BOS),
        // A benchmark counts tokens; none may end it.
        eos_tokens: Vec::new(),
        block: BlockOptions::default(),
        embedding: EmbeddingConfig::default(),
    })
}

/// The configuration of a named shape, and whether its head is tied, as the published model's is.
///
/// # Errors
/// `LoadError::Config` for an unknown name.
pub(super) fn known_shape(name: &str) -> Result<(ModelConfig, bool), LoadError> {
    let config = shape(name).ok_or_else(|| {
        bad(
            "shape",
            format!("`{name}` is unknown; known are {}", SHAPES.join(", ")),
        )
    })?;
    let tied = !["llama3-8b-1.58", "8b", "bonsai-8b"].contains(&name);
    Ok((config, tied))
}
