//! `config.json` of a Hugging Face directory.
//!
//! Three families are served: `BitNetForCausalLM` (2B-4T and the 1bitLLM models, with sub-norms),
//! `LlamaForCausalLM` whose `quantization_config` says bitnet (Falcon-E, Llama3-8B-1.58) or with
//! the unpacked weights of a ternary model (TriLM, Falcon3's `bfloat16`), and `Qwen3ForCausalLM`
//! with one or with the unpacked weights of a 1-bit or ternary model (Bonsai); and BitNet's models
//! for embeddings, on Qwen3 and on Gemma 3.
//! What would change the arithmetic and is not implemented is refused by name, never ignored.

use serde_json::Value as Json;

use super::gemma::{self, GEMMA3, GEMMA3_TEXT};
use super::hf_object::{Object, narrow};
use super::hf_rope::{rope_scaling, rope_theta};
use super::{
    Activation, BlockOptions, EmbeddingConfig, LLAMA, ModelConfig, QWEN3, RopePairs,
    SamplingDefaults, bad, hybrid, is_hybrid, unsupported_hf,
};
use crate::error::LoadError;

/// The meaning of a packed tensor's `weight_scale`; the tensor itself does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScaleRule {
    /// `linear_class: autobitlinear`: weight = trit * scale.
    Multiply,
    /// `bitlinear` or absent: weight = trit / scale.
    Divide,
}

/// Head dimension of a Qwen3 whose config.json has none: transformers' default of that class.
const QWEN3_HEAD_DIM: usize = 128;

/// The same of Gemma 3.
const GEMMA3_HEAD_DIM: usize = 256;

/// A `config.json`, read.
#[derive(Clone, Debug)]
pub(crate) struct HfConfig {
    pub(crate) model: ModelConfig,
    pub(crate) scale_rule: ScaleRule,
    /// True if linears are floats on a grid, with a scale for each group of weights.
    pub(crate) grouped: bool,
    /// `None` where the file does not say: then tied exactly where there is no `lm_head.weight`.
    pub(crate) tied: Option<bool>,
}

impl HfConfig {
    /// Read a parsed `config.json`. `model` is not validated yet: more eos tokens may come.
    pub(crate) fn from_json(json: &Json) -> Result<HfConfig, LoadError> {
        let object = Object(json);
        let model_type = object.text("model_type")?.unwrap_or_default();
        let class = json
            .pointer("/architectures/0")
            .and_then(Json::as_str)
            .unwrap_or_default();
        // 1bitLLM's files say `BitnetForCausalLM` and keep Llama's `model_type`.
        let bitnet = model_type == "bitnet" || class.eq_ignore_ascii_case("BitNetForCausalLM");
        let is = |name: &str, of_class: &str| model_type == name || class == of_class;
        let architecture = if bitnet {
            "bitnet"
        } else if is(LLAMA, "LlamaForCausalLM") {
            LLAMA
        } else if is(QWEN3, "Qwen3ForCausalLM") {
            QWEN3
        } else if is(GEMMA3_TEXT, "Gemma3ForCausalLM") {
            GEMMA3
        } else if is_hybrid(&model_type) {
            return Err(bad("model_type", hybrid(&model_type)));
        } else {
            return Err(bad(
                "model_type",
                format!(
                    "`{model_type}` (class `{class}`) is not supported; supported are `bitnet`, \
                     `gemma3_text`, `llama` and `qwen3`"
                ),
            ));
        };
        let quantization = Object(json.get("quantization_config").unwrap_or(&Json::Null));
        let grouped = !bitnet && architecture != GEMMA3 && quantization.0.is_null();
        let scale_rule = read_quantization(&quantization)?;

        let gemma = architecture == GEMMA3;
        let n_heads = object.size("num_attention_heads")?;
        let hidden_size = object.size("hidden_size")?;
        let head_dim = match object.optional_size("head_dim")? {
            Some(head_dim) => head_dim,
            None if architecture == QWEN3 => QWEN3_HEAD_DIM,
            None if gemma => GEMMA3_HEAD_DIM,
            None => split_heads(hidden_size, n_heads, "num_attention_heads")?,
        };
        // Gemma's files have `hidden_act` too, which transformers does not read.
        let act = if gemma {
            "hidden_activation"
        } else {
            "hidden_act"
        };
        let activation = match object.text(act)?.as_deref() {
            None if gemma => Activation::GeluTanh,
            Some("gelu_pytorch_tanh") => Activation::GeluTanh,
            Some("relu2") => Activation::Relu2,
            Some("silu" | "swish") => Activation::Silu,
            // 1bitLLM's class has Llama's default.
            None if model_type == "bitnet" => Activation::Relu2,
            None => Activation::Silu,
            Some(other) => {
                return Err(bad(
                    act,
                    format!(
                        "`{other}` is not supported; `relu2`, `silu` and `gelu_pytorch_tanh` are"
                    ),
                ));
            }
        };
        let context_length = object.size("max_position_embeddings")?;
        let n_layers = object.size("num_hidden_layers")?;
        let mut model = ModelConfig {
            architecture: architecture.into(),
            vocab_size: object.size("vocab_size")?,
            hidden_size,
            ffn_size: object.size("intermediate_size")?,
            n_layers,
            n_heads,
            n_kv_heads: object
                .optional_size("num_key_value_heads")?
                .unwrap_or(n_heads),
            head_dim,
            context_length,
            rope_theta: if gemma {
                gemma::theta(&object, "full_attention", "rope_theta", gemma::THETA)?
            } else {
                rope_theta(&object)?
            },
            rope_scaling: rope_scaling(&object, context_length, gemma)?,
            rope_pairs: RopePairs::Halves,
            // Classes differ in their default, and some in the same class.
            rms_norm_eps: object
                .number("rms_norm_eps")?
                .map(narrow)
                .or(gemma.then_some(gemma::EPS))
                .ok_or_else(|| bad("rms_norm_eps", "is absent from config.json"))?,
            activation,
            sub_norms: bitnet,
            qk_norms: [QWEN3, GEMMA3].contains(&architecture),
            bos_token: object.tokens("bos_token_id")?.first().copied(),
            eos_tokens: Vec::new(),
            block: if gemma {
                gemma::from_json(&object, hidden_size, n_layers)?
            } else {
                BlockOptions::default()
            },
            embedding: EmbeddingConfig::default(),
        };
        if quantization.flag("use_rms_norm")? == Some(true) {
            // transformers' default.
            let eps = quantization.number("rms_norm_eps")?.unwrap_or(1e-6);
            model.block.input_norm_eps = Some(narrow(eps));
        }
        for token in object.tokens("eos_token_id")? {
            model.add_eos(token);
        }
        unsupported_hf::refuse(json, &model)?;
        let tied = object.flag("tie_word_embeddings")?;
        Ok(HfConfig {
            model,
            scale_rule,
            grouped,
            tied,
        })
    }

    /// Take the end tokens and sampling of a parsed `generation_config.json`.
    pub(crate) fn add_generation_config(
        &mut self,
        json: &Json,
        warnings: &mut Vec<String>,
    ) -> Result<SamplingDefaults, LoadError> {
        for token in Object(json).tokens("eos_token_id")? {
            self.model.add_eos(token);
        }
        Ok(SamplingDefaults::from_json(json, warnings))
    }
}

/// The width of a head where the file names only the number of heads.
pub(super) fn split_heads(
    hidden_size: usize,
    n_heads: usize,
    key: &str,
) -> Result<usize, LoadError> {
    match hidden_size.checked_div(n_heads) {
        Some(head_dim) if head_dim * n_heads == hidden_size => Ok(head_dim),
        _ => Err(bad(
            key,
            format!(
                "{n_heads} does not divide the hidden size {hidden_size}, and no head_dim is given"
            ),
        )),
    }
}

fn read_quantization(quantization: &Object<'_>) -> Result<ScaleRule, LoadError> {
    match quantization.text("quant_method")?.as_deref() {
        Some("bitnet") => {}
        Some(other) => {
            return Err(bad(
                "quantization_config.quant_method",
                format!("`{other}` is not supported; `bitnet` is"),
            ));
        }
        None if quantization.0.is_null() => {}
        None => return Err(bad("quantization_config.quant_method", "is absent")),
    }
    let kept_float = quantization
        .0
        .get("modules_to_not_convert")
        .and_then(Json::as_array);
    for module in kept_float.into_iter().flatten().filter_map(Json::as_str) {
        if module.contains("_proj") || module.contains("layers") {
            return Err(bad(
                "quantization_config.modules_to_not_convert",
                format!(
                    "`{module}` is kept in float; every linear inside the blocks must be ternary"
                ),
            ));
        }
    }
    match quantization.text("linear_class")?.as_deref() {
        Some("autobitlinear") => Ok(ScaleRule::Multiply),
        None | Some("bitlinear") => Ok(ScaleRule::Divide),
        Some(other) => Err(bad(
            "quantization_config.linear_class",
            format!("`{other}` is not supported; `autobitlinear` and `bitlinear` are"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Llama3, RopeScaling, Yarn};
    use super::*;

    fn two_b() -> Json {
        json!({
            "architectures": ["BitNetForCausalLM"], "model_type": "bitnet", "vocab_size": 128_256,
            "hidden_size": 2560, "intermediate_size": 6912, "num_hidden_layers": 30,
            "num_attention_heads": 20, "num_key_value_heads": 5, "hidden_act": "relu2",
            "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 500_000.0,
            "tie_word_embeddings": true, "bos_token_id": 128_000, "eos_token_id": 128_001,
            "quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear",
                "quantization_mode": "offline"},
        })
    }

    fn with(key: &str, value: Json) -> Result<HfConfig, LoadError> {
        let mut json = two_b();
        json[key] = value;
        HfConfig::from_json(&json)
    }

    fn refused(key: &str, value: Json) -> String {
        with(key, value).unwrap_err().to_string()
    }

    #[test]
    fn reads_2b_4t() {
        let config = HfConfig::from_json(&two_b()).unwrap();
        config.model.validate().unwrap();
        assert_eq!(config.scale_rule, ScaleRule::Multiply);
        assert_eq!(config.tied, Some(true));
        assert_eq!(config.model.head_dim, 128);
        assert_eq!(config.model.eos_tokens, [128_001]);
        assert_eq!(
            (config.model.activation, config.model.sub_norms),
            (Activation::Relu2, true)
        );
    }

    #[test]
    fn reads_a_llama_with_its_own_head_dim_and_the_inverse_scale() {
        let mut json = two_b();
        json["architectures"] = json!(["LlamaForCausalLM"]);
        json["model_type"] = json!("llama");
        json["hidden_act"] = json!("silu");
        json["head_dim"] = json!(256);
        json["eos_token_id"] = json!([1, 2, 1]);
        json["quantization_config"] = json!({"quant_method": "bitnet"});
        let config = HfConfig::from_json(&json).unwrap();
        assert_eq!(config.scale_rule, ScaleRule::Divide);
        assert_eq!((config.model.head_dim, config.model.q_size()), (256, 5120));
        assert_eq!(
            (config.model.activation, config.model.sub_norms),
            (Activation::Silu, false)
        );
        assert_eq!(config.model.eos_tokens, [1, 2]);
        assert!(!config.grouped);
        json["quantization_config"] = json!({});
        let error = HfConfig::from_json(&json).unwrap_err().to_string();
        assert!(error.contains("quant_method"), "{error}");
        // Unpacked weights, which say themselves whether they are ternary.
        json["quantization_config"] = Json::Null;
        assert!(HfConfig::from_json(&json).unwrap().grouped);
    }

    #[test]
    fn takes_theta_from_where_transformers_5_writes_it() {
        let config = with(
            "rope_parameters",
            json!({"rope_type": "default", "rope_theta": 7.0}),
        )
        .unwrap();
        assert!((config.model.rope_theta - 7.0).abs() < f64::EPSILON);
        assert!(with("rope_scaling", json!({"type": "linear", "factor": 1.0})).is_ok());
        let error = refused(
            "rope_scaling",
            json!({"rope_type": "longrope", "factor": 8.0}),
        );
        assert!(
            error.contains("rope_scaling") && error.contains("longrope"),
            "{error}"
        );
        let error = refused("rope_scaling", json!({"type": "llama3", "factor": 8.0}));
        assert!(error.contains("rope_scaling.low_freq_factor"), "{error}");
        assert!(
            refused(
                "rope_parameters",
                json!({"rope_type": "linear", "factor": 2})
            )
            .contains("factor 2")
        );
    }

    #[test]
    fn norms_of_linears_inputs_have_an_epsilon_of_their_own() {
        let eps = |quantization: Json| {
            let mut json = two_b();
            json["quantization_config"] = quantization;
            let config = HfConfig::from_json(&json).unwrap();
            config.model.block.input_norm_eps
        };
        let with = json!({"quant_method": "bitnet", "use_rms_norm": true});
        assert_eq!(eps(with.clone()), Some(1e-6));
        let mut own = with;
        own["rms_norm_eps"] = json!(1e-4);
        assert_eq!(eps(own.clone()), Some(1e-4));
        own["use_rms_norm"] = json!(false);
        assert_eq!(eps(own), None);
    }

    #[test]
    fn what_it_cannot_compute_is_refused_by_name() {
        assert!(refused("hidden_act", json!("gelu")).contains("gelu"));
        assert!(refused("model_type", json!(3)).contains("model_type"));
        assert!(refused("attention_bias", json!(true)).contains("attention_bias"));
        assert!(refused("vocab_size", json!(-5)).contains("vocab_size"));
        assert!(refused("num_hidden_layers", json!(1.5)).contains("num_hidden_layers"));
        assert!(refused("hidden_size", Json::Null).contains("absent"));
        assert!(refused("num_attention_heads", json!(0)).contains("num_attention_heads"));
        assert!(refused("eos_token_id", json!("x")).contains("eos_token_id"));
        let gptq = json!({"quant_method": "gptq"});
        assert!(refused("quantization_config", gptq).contains("gptq"));
        let float =
            json!({"quant_method": "bitnet", "modules_to_not_convert": ["model.layers.0.mlp"]});
        assert!(refused("quantization_config", float).contains("layers.0"));
        let other = HfConfig::from_json(&json!({"model_type": "qwen35"}))
            .unwrap_err()
            .to_string();
        assert!(other.contains("qwen35") && other.contains("4B"), "{other}");
        assert!(HfConfig::from_json(&json!([1])).is_err());
    }

    #[test]
    fn scaled_positions_are_read_as_transformers_does() {
        let read = |key: &str, value| with(key, value).unwrap().model.rope_scaling;
        let yarn = json!({"rope_type": "yarn", "factor": 4.0, "beta_fast": 16,
            "original_max_position_embeddings": 1024});
        let expected = Yarn {
            beta_fast: 16.0,
            ..Yarn::new(4.0, 1024.0)
        };
        assert_eq!(
            read("rope_scaling", yarn.clone()),
            RopeScaling::Yarn(expected)
        );
        assert_eq!(read("rope_parameters", yarn), RopeScaling::Yarn(expected));
        // Without a factor the contexts say it, and without a context the model's own is it.
        let short = json!({"type": "yarn", "original_max_position_embeddings": 512});
        let expected = Yarn::new(8.0, 512.0);
        assert_eq!(read("rope_scaling", short), RopeScaling::Yarn(expected));
        let bare = json!({"type": "yarn", "factor": 2, "truncate": false, "attention_factor": 1.5});
        let expected = Yarn {
            truncate: false,
            attention_factor: 1.5,
            ..Yarn::new(2.0, 4096.0)
        };
        assert_eq!(read("rope_scaling", bare), RopeScaling::Yarn(expected));
        let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 256});
        let expected = Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 256.0,
        };
        assert_eq!(read("rope_scaling", llama3), RopeScaling::Llama3(expected));
    }

    #[test]
    fn generation_config_adds_end_tokens_and_sampling() {
        let mut config = HfConfig::from_json(&two_b()).unwrap();
        let generation =
            json!({"eos_token_id": [128_001, 128_009], "temperature": 0.6, "top_k": 40});
        let mut warnings = Vec::new();
        let defaults = config
            .add_generation_config(&generation, &mut warnings)
            .unwrap();
        assert!(warnings.is_empty());
        assert_eq!(config.model.eos_tokens, [128_001, 128_009]);
        assert_eq!(
            (defaults.temperature, defaults.top_k, defaults.top_p),
            (Some(0.6), Some(40), None)
        );
    }
}
