//! Keys of `config.json` that would change the arithmetic and are not implemented: refused by name,
//! unless their value asks for nothing.
//!
//! A `config.json` holds dozens of keys that mean nothing to an answer (training, versions,
//! caches), so that unknown ones are let pass. These are the ones published decoders of other
//! families have, by the names transformers reads them.

use serde_json::Value as Json;

use super::gemma::{self, GEMMA3};
use super::{ModelConfig, bad};
use crate::error::LoadError;

/// The values that ask for nothing, beside `null`.
#[derive(Clone, Copy)]
enum Nothing {
    /// `false`, 0, or nothing but such.
    Off,
    /// 1: a factor. And 0, which families that have such a factor take for none.
    Factor,
    /// The factor of a softmax over heads of this width.
    AttentionScale,
    /// The same by its inverse square.
    HeadDim,
    /// No position of the context lies outside.
    Window,
    /// Every layer attends to the whole context.
    FullAttention,
    /// No layer that is without.
    AllOn,
    /// This word or number.
    Is(&'static str),
}

use Nothing::{AllOn, AttentionScale, Factor, FullAttention, HeadDim, Is, Off, Window};

const UNSUPPORTED: [(&str, Nothing); 69] = [
    // Biases.
    ("attention_bias", Off),
    ("mlp_bias", Off),
    ("qkv_bias", Off),
    ("add_qkv_bias", Off),
    ("attention_qkv_bias", Off),
    ("attention_out_bias", Off),
    ("use_bias", Off),
    ("use_qkv_bias", Off),
    ("add_bias_linear", Off),
    ("lm_head_bias", Off),
    ("bias", Off),
    // Factors and limits on the way through.
    ("logit_scale", Factor),
    ("logits_scaling", Factor),
    ("lm_head_multiplier", Factor),
    ("embedding_multiplier", Factor),
    ("embedding_scale", Factor),
    ("scale_emb", Factor),
    ("scale_embedding", Off),
    ("normalize_embedding", Off),
    ("residual_multiplier", Factor),
    ("residual_scale", Factor),
    ("scale_depth", Off),
    ("dim_model_base", Off),
    ("attention_multiplier", AttentionScale),
    ("query_pre_attn_scalar", HeadDim),
    ("scale_attn_weights", Is("true")),
    ("scale_attn_by_inverse_layer_idx", Off),
    ("key_multiplier", Factor),
    ("attention_in_multiplier", Factor),
    ("attention_out_multiplier", Factor),
    ("mlp_multipliers", Factor),
    ("attn_logit_softcapping", Off),
    ("final_logit_softcapping", Off),
    ("output_logit_soft_cap", Off),
    ("attn_temperature_tuning", Off),
    ("clip_qkv", Off),
    ("swiglu_limit", Off),
    // Norms.
    ("qk_norm", Off),
    ("use_qk_norm", Off),
    ("qk_layernorm", Off),
    ("use_post_norm", Off),
    // What attends to what.
    ("sliding_window", Window),
    ("attention_window_size", Window),
    ("attention_chunk_size", Window),
    ("layer_types", FullAttention),
    ("attn_layer_indices", Off),
    ("use_bidirectional_attention", Off),
    ("is_causal", Is("true")),
    ("is_encoder_decoder", Off),
    ("add_cross_attention", Off),
    ("cross_attention_layers", Off),
    ("use_parallel_residual", Off),
    ("parallel_attn", Off),
    ("alibi", Off),
    // Positions.
    ("no_rope_layers", AllOn),
    ("rope_interleave", Off),
    ("rope_interleaved", Off),
    ("rotary_interleaved", Off),
    ("rope_ratio", Factor),
    ("rotary_pct", Factor),
    ("partial_rotary_factor", Factor),
    ("rotary_dim", HeadDim),
    // Experts and latent attention.
    ("num_experts", Off),
    ("num_local_experts", Off),
    ("n_routed_experts", Off),
    ("kv_lora_rank", Off),
    ("num_nextn_predict_layers", Off),
    // 1bitLLM's own.
    ("weight_bits", Is("1")),
    ("input_bits", Is("8")),
];

/// Refuse what the engine would leave out. `model` is what was read of `json`.
///
/// # Errors
/// `LoadError::Config` with the key.
pub(super) fn refuse(json: &Json, model: &ModelConfig) -> Result<(), LoadError> {
    let mut unsupported = UNSUPPORTED.iter().filter_map(|&(key, nothing)| {
        let value = json.get(key).filter(|value| !value.is_null())?;
        if model.architecture == GEMMA3 && gemma::HF_KEYS.contains(&key) {
            return None;
        }
        let off = matches!(nothing, Window)
            && json.get("use_sliding_window").and_then(Json::as_bool) == Some(false);
        (!off && !nothing.is(value, model)).then_some((key, value))
    });
    if let Some((key, value)) = unsupported.next() {
        return Err(bad(
            key,
            format!(
                "is {value}, which would change every answer and is not supported; only a model \
                 without it, or with a value that asks for nothing, can be served"
            ),
        ));
    }
    Ok(())
}

impl Nothing {
    fn is(self, value: &Json, model: &ModelConfig) -> bool {
        #[allow(clippy::cast_precision_loss, reason = "a head's width is small")]
        let head_dim = model.head_dim as f64;
        let near = |expected: f64| {
            let number = value.as_f64();
            number.is_some_and(|x| (x / expected - 1.0).abs() < 1e-5)
        };
        match self {
            Off => is_off(value),
            Factor => match value {
                Json::Array(factors) => factors.iter().all(|factor| Factor.is(factor, model)),
                value => value.as_f64().is_some_and(|x| x == 0.0 || x == 1.0),
            },
            AttentionScale => near(head_dim.sqrt().recip()),
            HeadDim => near(head_dim),
            Window => is_off(value) || covers(value, model),
            FullAttention => value
                .as_array()
                .is_some_and(|layers| layers.iter().all(|layer| layer == "full_attention")),
            AllOn => value
                .as_array()
                .is_some_and(|layers| !layers.iter().any(is_off)),
            Is(expected) => {
                let json = value.to_string();
                json == expected
            }
        }
    }
}

fn is_off(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::Bool(flag) => !flag,
        Json::Number(number) => number.as_f64() == Some(0.0),
        Json::Array(values) => values.iter().all(is_off),
        Json::String(_) | Json::Object(_) => false,
    }
}

/// True if a window is as wide as any context.
fn covers(window: &Json, model: &ModelConfig) -> bool {
    window
        .as_u64()
        .is_some_and(|window| window >= model.context_length as u64)
}
