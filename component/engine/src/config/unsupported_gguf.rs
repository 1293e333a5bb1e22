//! GGUF metadata that would change the arithmetic and is not implemented: refused by name, unless
//! its value asks for nothing.
//!
//! Names as in llama.cpp's `llama-arch.cpp` and the `gguf` package's `constants.py`. Keys of the
//! file's own architecture that neither list knows are refused too: what they change cannot be
//! told, and an answer that is silently wrong is worse than none.

use super::gemma::GEMMA3;
use super::{ModelConfig, RopeScaling, bad};
use crate::error::LoadError;
use crate::files::{Array, Gguf, Value};

/// Keys behind `<architecture>.` that are read (`config/gguf.rs`), or mean nothing once others are
/// as they are read.
const KNOWN: [&str; 21] = [
    "vocab_size",
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "rope.dimension_count",
    "pooling_type",
    "rope.freq_base",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    // What was done, not what to do.
    "rope.scaling.finetuned",
    // Norms with a mean to subtract: there are none.
    "attention.layer_norm_epsilon",
    "attention.group_norm_epsilon",
];

/// The same in files of Gemma 3.
const KNOWN_OF_GEMMA: [&str; 4] = [
    "attention.scale",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "rope.freq_base_swa",
];

/// Refuse what the engine would leave out. `config` is what was read of the file.
///
/// # Errors
/// `LoadError::Config` with the key.
pub(super) fn refuse(gguf: &Gguf, config: &ModelConfig) -> Result<(), LoadError> {
    let prefix = format!("{}.", config.architecture);
    for (key, value) in gguf.metadata() {
        let own = key.strip_prefix(&prefix);
        let fine = match own {
            None => true,
            Some(key) => {
                KNOWN.contains(&key)
                    || config.architecture == GEMMA3 && KNOWN_OF_GEMMA.contains(&key)
                    || asks_for_nothing(key, value, gguf, config)
            }
        };
        if !fine {
            return Err(bad(
                key,
                format!(
                    "is {}, which would change every answer and is not supported; only a file \
                     without it, or with a value that asks for nothing, can be served",
                    shown(value)
                ),
            ));
        }
    }
    Ok(())
}

/// Checks that are independent of the architecture: that the file is a whole model, and of weights
/// as they are.
///
/// # Errors
/// `LoadError::Config` with the key and what to do.
pub(super) fn refuse_kind(gguf: &Gguf) -> Result<(), LoadError> {
    if let Some((key, _)) = gguf
        .metadata()
        .find(|(key, _)| key.starts_with("prism.hadamard."))
    {
        return Err(bad(
            key,
            "the weights of this file are folded with a rotation (PrismML), which is not supported: \
             without it they mean nothing. Use a file of this model that is not folded",
        ));
    }
    let kind = gguf.get("general.type").map(|kind| match kind {
        Value::String(kind) => kind.clone(),
        other => shown(other),
    });
    let adapter = gguf.metadata().find(|(key, _)| key.starts_with("adapter."));
    let remedy = match (kind.as_deref(), adapter) {
        (Some("adapter"), _) | (_, Some(_)) => {
            "this is an adapter (LoRA), which is not supported; merge it into its model first"
        }
        (None | Some("model"), None) => return refuse_version(gguf),
        (Some("mmproj"), None) => "this is the projector of a vision model; give the model itself",
        (Some("imatrix"), None) => "this holds statistics for quantising; give the model itself",
        _ => "this is no model; give the model itself",
    };
    let key = match adapter {
        Some((key, _)) => key,
        None => "general.type",
    };
    Err(bad(key, remedy))
}

/// ggml's version of its quantised blocks (`GGML_QNT_VERSION`).
fn refuse_version(gguf: &Gguf) -> Result<(), LoadError> {
    const KEY: &str = "general.quantization_version";
    const VERSION: i64 = 2;
    match gguf.get(KEY) {
        None => Ok(()),
        Some(value) if value.as_i64() == Some(VERSION) => Ok(()),
        Some(value) => Err(bad(
            KEY,
            format!("is {}, this program reads {VERSION}", shown(value)),
        )),
    }
}

/// True if a model with this value computes what it would without the key.
fn asks_for_nothing(key: &str, value: &Value, gguf: &Gguf, config: &ModelConfig) -> bool {
    let is = |expected: f64| number(value) == Some(expected);
    let head_dim = config.head_dim as f64;
    match key {
        // In llama.cpp 0 means that it is not set.
        "attention.scale" => {
            is(0.0) || number(value).is_some_and(|x| (x * head_dim.sqrt() - 1.0).abs() < 1e-5)
        }
        "attention.causal" => value.as_bool() == Some(true),
        "attention.sliding_window" => is(0.0) || covers(value, config),
        "attention.sliding_window_pattern" | "rope.freq_base_swa" => {
            let window = gguf.get(&format!("{}.attention.sliding_window", config.architecture));
            window.is_none_or(|window| number(window) == Some(0.0) || covers(window, config))
        }
        "logit_scale"
        | "residual_scale"
        | "embedding_scale"
        | "attention.output_scale"
        | "rope.scaling.attn_factor"
        | "rope.scaling.yarn_attn_factor"
        | "rope.scale_linear" => is(0.0) || is(1.0),
        // The share of YaRN's ramp. -1: chosen by the type of scaling, all of it for YaRN.
        "rope.scaling.yarn_ext_factor" => {
            let yarn = matches!(config.rope_scaling, RopeScaling::Yarn(_));
            is(-1.0) || is(if yarn { 1.0 } else { 0.0 })
        }
        _ => is_empty(value),
    }
}

/// True if a window is as wide as any context.
fn covers(window: &Value, config: &ModelConfig) -> bool {
    window
        .as_usize()
        .is_some_and(|window| window >= config.context_length)
}

/// 0, false, no text, or nothing but such.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Bool(flag) => !flag,
        Value::String(text) => text.is_empty() || text == "none",
        Value::Array(array) => array
            .scalars()
            .is_some_and(|values| values.iter().all(is_empty)),
        other => number(other) == Some(0.0),
    }
}

fn number(value: &Value) -> Option<f64> {
    #[allow(clippy::cast_precision_loss, reason = "compared with small numbers")]
    let integer = || value.as_i64().map(|n| n as f64);
    value.as_f64().or_else(integer)
}

fn shown(value: &Value) -> String {
    match value {
        Value::Bool(flag) => flag.to_string(),
        Value::String(text) => format!("`{text}`"),
        Value::Array(array) => array_shown(array),
        other => number(other).map_or_else(|| "a large number".into(), |x| x.to_string()),
    }
}

fn array_shown(array: &Array) -> String {
    format!("an array of {}", array.len())
}
