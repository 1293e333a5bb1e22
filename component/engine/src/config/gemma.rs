//! What Gemma 3's text models have beyond Llama's block, in either container
//! (transformers: `models/gemma3`; llama.cpp: architecture `gemma3`).

use serde_json::Value as Json;

use super::hf_object::{Object, narrow};
use super::{BlockOptions, SlidingWindow, bad};
use crate::error::LoadError;

/// The architecture as GGUF names it, and `model_type`s of its text models.
pub(crate) const GEMMA3: &str = "gemma3";
pub(super) const GEMMA3_TEXT: &str = "gemma3_text";

/// Keys of a `config.json` that are read here; of other models they are refused.
pub(super) const HF_KEYS: [&str; 3] = ["query_pre_attn_scalar", "sliding_window", "layer_types"];

/// transformers' defaults.
const QUERY_SCALAR: f64 = 256.0;
const WINDOW: usize = 4096;
const PERIOD: usize = 6;
pub(super) const THETA: f64 = 1e6;
pub(super) const LOCAL_THETA: f64 = 1e4;
pub(super) const EPS: f32 = 1e-6;

/// Embeddings enter the first block times the root of their width.
pub(super) fn embedding_scale(hidden_size: usize) -> f32 {
    #[allow(clippy::cast_precision_loss, reason = "a width is small")]
    narrow((hidden_size as f64).sqrt())
}

/// The options of a block by a `config.json`.
pub(super) fn from_json(
    object: &Object<'_>,
    hidden_size: usize,
    n_layers: usize,
) -> Result<BlockOptions, LoadError> {
    let scalar = object
        .number("query_pre_attn_scalar")?
        .unwrap_or(QUERY_SCALAR);
    Ok(BlockOptions {
        input_norm_eps: None,
        post_norms: true,
        embedding_scale: Some(embedding_scale(hidden_size)),
        attention_scale: Some(narrow(scalar.powf(-0.5))),
        window: window(object, n_layers)?,
    })
}

fn window(object: &Object<'_>, n_layers: usize) -> Result<Option<SlidingWindow>, LoadError> {
    let size = object.optional_size("sliding_window")?.unwrap_or(WINDOW);
    let rope_theta = theta(
        object,
        "sliding_attention",
        "rope_local_base_freq",
        LOCAL_THETA,
    )?;
    let window = match object.get("layer_types") {
        None => {
            let period = ["sliding_window_pattern", "_sliding_window_pattern"];
            let mut period = period.iter().map(|key| object.optional_size(key));
            let period = period.find_map(Result::transpose).transpose()?;
            let period = period.unwrap_or(PERIOD);
            if period == 0 {
                return Err(bad("sliding_window_pattern", "is 0, must be at least 1"));
            }
            SlidingWindow::periodic(size, period, n_layers, rope_theta)
        }
        Some(types) => {
            let local = |layer: &Json| match layer.as_str() {
                Some("sliding_attention") => Some(true),
                Some("full_attention") => Some(false),
                _ => None,
            };
            let layers = types.as_array();
            let layers = layers.and_then(|layers| layers.iter().map(local).collect());
            SlidingWindow {
                size,
                layers: layers.ok_or_else(|| {
                    bad(
                        "layer_types",
                        "must be a list of `sliding_attention` and `full_attention`",
                    )
                })?,
                rope_theta,
            }
        }
    };
    Ok(Some(window).filter(|window| window.layers.contains(&true)))
}

/// The base of the rotary frequencies of a kind of layer: transformers 5 has an object for each in
/// `rope_parameters`, earlier ones a key of its own.
pub(super) fn theta(
    object: &Object<'_>,
    kind: &str,
    key: &str,
    default: f64,
) -> Result<f64, LoadError> {
    let parameters = object.get("rope_parameters").and_then(|all| all.get(kind));
    let of_kind = Object(parameters.unwrap_or(&Json::Null));
    if let Some(scaling) = of_kind.text("rope_type")?.filter(|kind| kind != "default") {
        return Err(bad(
            &format!("rope_parameters.{kind}.rope_type"),
            format!("`{scaling}` is not supported for this architecture; `default` is"),
        ));
    }
    let theta = of_kind.number("rope_theta")?;
    Ok(theta.or(object.number(key)?).unwrap_or(default))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Activation, HfConfig};
    use super::*;

    /// google/gemma-3-270m's, with keys of transformers 4.
    fn gemma() -> Json {
        json!({
            "architectures": ["Gemma3TextModel"], "model_type": "gemma3_text", "vocab_size": 262_144,
            "hidden_size": 640, "intermediate_size": 2048, "num_hidden_layers": 18,
            "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256,
            "hidden_activation": "gelu_pytorch_tanh", "hidden_act": "silu",
            "max_position_embeddings": 32_768, "rms_norm_eps": 1e-6, "rope_theta": 1_000_000.0,
            "rope_local_base_freq": 10_000.0, "query_pre_attn_scalar": 64, "sliding_window": 512,
            "_sliding_window_pattern": 6, "attn_logit_softcapping": null,
            "final_logit_softcapping": null, "use_bidirectional_attention": false,
            "bos_token_id": 2, "eos_token_id": 1, "tie_word_embeddings": true,
        })
    }

    #[test]
    fn gemmas_blocks_are_read_in_both_forms() {
        let config = HfConfig::from_json(&gemma()).unwrap().model;
        config.validate().unwrap();
        assert_eq!(
            (config.activation, config.qk_norms),
            (Activation::GeluTanh, true)
        );
        let block = &config.block;
        assert!(block.post_norms && block.input_norm_eps.is_none());
        assert_eq!(block.embedding_scale, Some(640f32.sqrt()));
        assert_eq!(block.attention_scale, Some(0.125));
        let window = SlidingWindow::periodic(512, 6, 18, 10_000.0);
        assert_eq!(block.window.as_ref(), Some(&window));

        // transformers 5's keys for the same.
        let mut json = gemma();
        for key in [
            "rope_theta",
            "rope_local_base_freq",
            "_sliding_window_pattern",
        ] {
            json[key] = Json::Null;
        }
        json["rope_parameters"] = json!({
            "full_attention": {"rope_type": "default", "rope_theta": 1_000_000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        });
        let kind = |local: &bool| {
            if *local {
                "sliding_attention"
            } else {
                "full_attention"
            }
        };
        json["layer_types"] = window.layers.iter().map(kind).collect();
        assert_eq!(HfConfig::from_json(&json).unwrap().model, config);

        json["layer_types"][3] = json!("chunked_attention");
        let error = HfConfig::from_json(&json).unwrap_err().to_string();
        assert!(error.contains("layer_types"), "{error}");
        json["layer_types"] = vec!["full_attention"; 17].into();
        json["layer_types"][0] = json!("sliding_attention");
        let short = HfConfig::from_json(&json).unwrap().model;
        assert!(
            short
                .validate()
                .unwrap_err()
                .to_string()
                .contains("17 layers")
        );
        json["layer_types"] = Json::Null;
        json["rope_parameters"]["full_attention"]["rope_type"] = json!("linear");
        let error = HfConfig::from_json(&json).unwrap_err().to_string();
        assert!(error.contains("full_attention.rope_type"), "{error}");
        let mut both_ways = gemma();
        both_ways["use_bidirectional_attention"] = json!(true);
        let error = HfConfig::from_json(&both_ways).unwrap_err().to_string();
        assert!(error.contains("use_bidirectional_attention"), "{error}");
    }
}
