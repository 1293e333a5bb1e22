//! The configuration inside a GGUF: keys `<arch>.*`, named by `general.architecture`.
//!
//! `bitnet-b1.58` and `bitnet-25` are bitnet.cpp's (squared ReLU); `bitnet` is upstream
//! llama.cpp's, for the 1bitLLM models (SiLU); `qwen3` has norms of queries and keys instead of
//! sub-norms; `llama` has neither. All but `llama` rotate halves.

use super::gemma::{self, GEMMA3};
use super::hf::split_heads;
use super::hf_object::narrow;
use super::{
    Activation, BlockOptions, EmbeddingConfig, LLAMA, ModelConfig, Pooling, QWEN3, RopePairs,
    RopeScaling, SlidingWindow, Yarn, bad, check_ends, hybrid, is_hybrid, unsupported_gguf,
};
use crate::error::LoadError;
use crate::files::{Array, Gguf, Part, TensorId, Value};

pub(crate) const GENERAL_ARCHITECTURE: &str = "general.architecture";
/// Every end token, where there are more than GGUF has keys for: our own key.
pub(crate) const GGUF_EOS_TOKENS: &str = "sterna.eos_token_ids";
/// End of a sequence, of a turn, and of a message that a tool answers. Ollama writes a list too.
const GGUF_END_KEYS: [&str; 3] = [
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.eot_token_id",
    "tokenizer.ggml.eom_token_id",
];

/// What norms of linears' own inputs add inside their roots, where that is not what other norms
/// add: our own key.
pub(crate) const GGUF_INPUT_NORM_EPSILON: &str = "sterna.input_norm_epsilon";

/// Models differ in it, and llama.cpp's readers have no default either.
const RMS_EPSILON: &str = "attention.layer_norm_rms_epsilon";

/// Read the configuration. It is not validated yet: the tokenizer may add end tokens.
pub(crate) fn read_gguf(gguf: &Gguf) -> Result<ModelConfig, LoadError> {
    unsupported_gguf::refuse_kind(gguf)?;
    let architecture = gguf
        .get(GENERAL_ARCHITECTURE)
        .and_then(Value::as_str)
        .ok_or_else(|| bad(GENERAL_ARCHITECTURE, "is absent or not a text"))?;
    let (activation, sub_norms, qk_norms) = match architecture {
        "bitnet-b1.58" | "bitnet-25" => (Activation::Relu2, true, false),
        "bitnet" => (Activation::Silu, true, false),
        QWEN3 => (Activation::Silu, false, true),
        LLAMA => (Activation::Silu, false, false),
        GEMMA3 => (Activation::GeluTanh, false, true),
        other if is_hybrid(other) => return Err(bad(GENERAL_ARCHITECTURE, hybrid(other))),
        other => {
            return Err(bad(
                GENERAL_ARCHITECTURE,
                format!(
                    "`{other}` is not supported; supported are `bitnet-b1.58`, `bitnet-25`, `bitnet`, \
                     `gemma3`, `llama` and `qwen3`"
                ),
            ));
        }
    };
    let keys = Keys { gguf, architecture };
    let hidden_size = keys.size("embedding_length")?;
    let n_heads = keys.size("attention.head_count")?;
    let head_dim = match keys.optional_size("attention.key_length")? {
        Some(head_dim) => head_dim,
        None => split_heads(hidden_size, n_heads, &keys.full("attention.head_count"))?,
    };
    for key in ["rope.dimension_count", "attention.value_length"] {
        if let Some(other) = keys.optional_size(key)?.filter(|&other| other != head_dim) {
            return Err(bad(
                &keys.full(key),
                format!("is {other}, must equal the head's width {head_dim}"),
            ));
        }
    }
    // The embedding's rows, where no key says it: the tokenizer may have tokens beyond them.
    let rows = || gguf.tensor("token_embd.weight")?.ne.get(1).copied();
    let tokens = || Some(gguf.get("tokenizer.ggml.tokens")?.as_array()?.len());
    let vocab_size = keys
        .optional_size("vocab_size")?
        .or_else(|| rows().and_then(|rows| usize::try_from(rows).ok()))
        .or_else(tokens)
        .ok_or_else(|| {
            bad(
                &keys.full("vocab_size"),
                "is absent, and so are the embedding and the vocabulary",
            )
        })?;
    let bos_token = keys.token("tokenizer.ggml.bos_token_id")?;
    let context_length = keys.size("context_length")?;
    let n_layers = keys.size("block_count")?;
    let mut config = ModelConfig {
        architecture: architecture.to_owned(),
        vocab_size,
        hidden_size,
        ffn_size: keys.size("feed_forward_length")?,
        n_layers,
        n_heads,
        n_kv_heads: keys
            .optional_size("attention.head_count_kv")?
            .unwrap_or(n_heads),
        head_dim,
        context_length,
        rope_theta: keys.float("rope.freq_base")?.unwrap_or(10_000.0),
        rope_scaling: keys.scaling(context_length)?,
        rope_pairs: match architecture {
            LLAMA => RopePairs::Adjacent,
            _ => RopePairs::Halves,
        },
        rms_norm_eps: keys
            .float(RMS_EPSILON)?
            .map(narrow)
            .ok_or_else(|| bad(&keys.full(RMS_EPSILON), "is absent"))?,
        activation,
        sub_norms,
        qk_norms,
        bos_token,
        eos_tokens: Vec::new(),
        block: keys.block(hidden_size, n_layers)?,
        embedding: EmbeddingConfig {
            pooling: keys.pooling()?,
            end_token: None,
        },
    };
    for key in GGUF_END_KEYS {
        if let Some(token) = keys.token(key)? {
            config.add_eos(token);
        }
    }
    for key in [GGUF_EOS_TOKENS, "tokenizer.ggml.eos_token_ids"] {
        let ids = gguf
            .get(key)
            .and_then(Value::as_array)
            .and_then(Array::integers);
        let ids = ids.unwrap_or_default();
        check_ends(key, ids.len())?;
        for id in ids.into_iter().filter(|&id| id != -1) {
            let token = u32::try_from(id)
                .map_err(|_| bad(key, format!("holds {id}, which is no token id")))?;
            config.add_eos(token);
        }
    }
    unsupported_gguf::refuse(gguf, &config)?;
    Ok(config)
}

/// Reads keys of the architecture.
struct Keys<'a> {
    gguf: &'a Gguf,
    architecture: &'a str,
}

impl Keys<'_> {
    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    /// An integer, or an array (one a layer) of one and the same integer.
    fn optional_size(&self, key: &str) -> Result<Option<usize>, LoadError> {
        let full = self.full(key);
        let Some(value) = self.gguf.get(&full) else {
            return Ok(None);
        };
        if let Some(array) = value.as_array() {
            let sizes = array.integers().unwrap_or_default();
            return match sizes.split_first() {
                Some((first, rest)) if rest.iter().all(|size| size == first) => {
                    usize::try_from(*first)
                        .map(Some)
                        .map_err(|_| bad(&full, format!("is {first}, must not be negative")))
                }
                _ => Err(bad(&full, "differs between layers, which is not supported")),
            };
        }
        value
            .as_usize()
            .map(Some)
            .ok_or_else(|| bad(&full, "is not a whole number, or negative"))
    }

    fn size(&self, key: &str) -> Result<usize, LoadError> {
        self.optional_size(key)?
            .ok_or_else(|| bad(&self.full(key), "is absent"))
    }

    fn float(&self, key: &str) -> Result<Option<f64>, LoadError> {
        let full = self.full(key);
        let value = self
            .gguf
            .get(&full)
            .map(|value| value.as_f64().ok_or_else(|| bad(&full, "is not a number")));
        value.transpose()
    }

    /// What its blocks have beyond Llama's.
    fn block(&self, hidden_size: usize, n_layers: usize) -> Result<BlockOptions, LoadError> {
        // Every container of such a model has them all.
        let own_norm = TensorId::Block(0, Part::QIn).gguf();
        let input_norms = self.gguf.tensor(&own_norm).is_some();
        let plain = BlockOptions {
            input_norm_eps: input_norms
                .then(|| self.input_norm_eps())
                .transpose()?
                .flatten(),
            ..BlockOptions::default()
        };
        if self.architecture != GEMMA3 {
            return Ok(plain);
        }
        let scale = self.float("attention.scale")?.filter(|&scale| scale != 0.0);
        let size = self.optional_size("attention.sliding_window")?;
        let window = match size.filter(|&size| size > 0) {
            None => None,
            Some(size) => {
                // llama.cpp's defaults.
                let period = self.optional_size("attention.sliding_window_pattern")?;
                let theta = self.float("rope.freq_base_swa")?;
                let period = period.unwrap_or(6).max(1);
                let theta = theta.unwrap_or(gemma::LOCAL_THETA);
                let window = SlidingWindow::periodic(size, period, n_layers, theta);
                Some(window).filter(|window| window.layers.contains(&true))
            }
        };
        Ok(BlockOptions {
            post_norms: true,
            embedding_scale: Some(gemma::embedding_scale(hidden_size)),
            attention_scale: scale.map(narrow),
            window,
            ..plain
        })
    }

    /// That of the norms of linears' own inputs: all norms', where our own key says no other.
    fn input_norm_eps(&self) -> Result<Option<f32>, LoadError> {
        if let Some(own) = self.gguf.get(GGUF_INPUT_NORM_EPSILON) {
            let eps = own.as_f64().map(narrow);
            return eps
                .map(Some)
                .ok_or_else(|| bad(GGUF_INPUT_NORM_EPSILON, "is not a number"));
        }
        Ok(self.float(RMS_EPSILON)?.map(narrow))
    }

    /// llama.cpp's `LLAMA_POOLING_TYPE`. A model that generates has none.
    fn pooling(&self) -> Result<Option<Pooling>, LoadError> {
        match self.optional_size("pooling_type")? {
            None | Some(0) => Ok(None),
            Some(1) => Ok(Some(Pooling::Mean)),
            Some(2) => Ok(Some(Pooling::First)),
            Some(3) => Ok(Some(Pooling::Last)),
            Some(4) => Err(bad(
                &self.full("pooling_type"),
                "is 4: this is a reranker, which is not supported; take a model for embeddings (1, 2 or 3)",
            )),
            Some(other) => Err(bad(
                &self.full("pooling_type"),
                format!("is {other}; 1 (mean), 2 (first token) and 3 (last token) are supported"),
            )),
        }
    }

    fn token(&self, key: &str) -> Result<Option<u32>, LoadError> {
        match self.gguf.get(key).map(Value::as_i64) {
            None | Some(Some(-1)) => Ok(None),
            // Converters write -1 as an unsigned number too.
            Some(Some(id)) if id == i64::from(u32::MAX) => Ok(None),
            Some(Some(id)) => u32::try_from(id)
                .map(Some)
                .map_err(|_| bad(key, format!("is {id}, which is no token id"))),
            Some(None) => Err(bad(key, "is not a whole number")),
        }
    }

    /// Without a type a factor is a linear one, in llama.cpp too. Its attention factor is a factor
    /// on the one that YaRN's own factor gives, and must be 1 (`unsupported_gguf`).
    fn scaling(&self, context_length: usize) -> Result<RopeScaling, LoadError> {
        let full = self.full("rope.scaling.type");
        let kind = self
            .gguf
            .get(&full)
            .map_or(Some("linear"), Value::as_str)
            .ok_or_else(|| bad(&full, "is no text"))?;
        let factor = self.float("rope.scaling.factor")?.unwrap_or(1.0);
        match kind {
            "none" => Ok(RopeScaling::Unscaled),
            "linear" if factor == 1.0 => Ok(RopeScaling::Unscaled),
            "yarn" => {
                let original = self.optional_size("rope.scaling.original_context_length")?;
                let yarn = Yarn::new(factor, original.unwrap_or(context_length) as f64);
                let beta = |key, default| Ok(self.float(key)?.unwrap_or(default));
                Ok(RopeScaling::Yarn(Yarn {
                    beta_fast: beta("rope.scaling.yarn_beta_fast", yarn.beta_fast)?,
                    beta_slow: beta("rope.scaling.yarn_beta_slow", yarn.beta_slow)?,
                    ..yarn
                }))
            }
            _ => Err(bad(
                &full,
                format!(
                    "`{kind}` with factor {factor} is not supported; `yarn` and unscaled positions are"
                ),
            )),
        }
    }
}
