//! The metadata of a converted file: the keys llama.cpp-style readers want, and a few of our own.

use sterna_kernels::TernaryLayout;

use super::{ConvertError, ConvertOptions};
use crate::config::{
    Activation, BlockOptions, GEMMA3, GENERAL_ARCHITECTURE, GGUF_EOS_TOKENS,
    GGUF_INPUT_NORM_EPSILON, GGUF_SAMPLING_KEYS, LLAMA, ModelConfig, Pooling, QWEN3, RopePairs,
    RopeScaling, SamplingDefaults, Yarn,
};
use crate::files::gguf_write::{ALIGNMENT_KEY, Entry};
use crate::files::{BlockType, OpenModel, OwnLayout, TRITS5, gguf_tokenizer, group_tiles};

/// bitnet.cpp's number for files of I2_S.
const FILE_TYPE_I2_S: u32 = 40;
/// llama.cpp's numbers for files of TQ1_0 and TQ2_0 (`llama_ftype`); other types have none that all
/// programs agree about.
fn file_type(ty: BlockType) -> Option<u32> {
    match ty {
        BlockType::Tq1_0 => Some(36),
        BlockType::Tq2_0 => Some(37),
        BlockType::Q1_0 | BlockType::Q2_0G64 | BlockType::Q2_0G128 => None,
    }
}

const QUANTIZATION_VERSION: u32 = 2;

/// Every entry, in the order they are written; `trits5` where linears are stored so.
pub(super) fn entries(
    model: &OpenModel,
    options: &ConvertOptions,
    trits5: bool,
) -> Result<Vec<(String, Entry)>, ConvertError> {
    let config = &model.config;
    let architecture = architecture(config)?;
    let mut entries = vec![(
        GENERAL_ARCHITECTURE.to_owned(),
        Entry::String(architecture.into()),
    )];

    let mut general = model.general.clone();
    for (key, value) in [
        ("general.name", &options.name),
        ("general.license", &options.license),
    ] {
        if let Some(value) = value {
            general.retain(|(other, _)| other != key);
            general.push((key.into(), value.clone()));
        }
    }
    entries.extend(
        general
            .into_iter()
            .map(|(key, value)| (key, Entry::String(value))),
    );
    let version = |layout: OwnLayout| (layout.version_key.into(), Entry::U32(layout.version));
    let tiles = model.source.may_have_groups() && options.blocks.is_none();
    // Where a layout with one scale is asked for, a matrix with groups is refused.
    let one_scale = options.layout == Some(TernaryLayout::I2S);
    if let Some(blocks) = options.blocks {
        let file_type = file_type(blocks);
        entries.extend(file_type.map(|ty| ("general.file_type".into(), Entry::U32(ty))));
    } else if trits5 {
        entries.push(version(TRITS5));
    } else if one_scale || !tiles {
        entries.push(("general.file_type".into(), Entry::U32(FILE_TYPE_I2_S)));
    }
    if tiles {
        entries.push(version(group_tiles::LAYOUT));
        let alignment = group_tiles::ALIGNMENT as u32;
        entries.push((ALIGNMENT_KEY.into(), Entry::U32(alignment)));
    }
    entries.push((
        "general.quantization_version".into(),
        Entry::U32(QUANTIZATION_VERSION),
    ));
    entries.extend(sampling(&model.defaults));
    entries.extend(shape(config, architecture)?);

    let end = config.eos_tokens.first().copied();
    let tokenizer = model.tokenizer.to_gguf_with(config.bos_token, end);
    entries.extend(gguf_tokenizer::entries(tokenizer));
    if let [_, second, ..] = config.eos_tokens[..] {
        entries.push(("tokenizer.ggml.eot_token_id".into(), Entry::U32(second)));
        let all = config
            .eos_tokens
            .iter()
            .filter_map(|&id| i32::try_from(id).ok())
            .collect();
        entries.push((GGUF_EOS_TOKENS.into(), Entry::I32s(all)));
    }
    if let Some(template) = options.chat_template.as_deref().or(model.template.source()) {
        entries.push((
            gguf_tokenizer::CHAT_TEMPLATE.into(),
            Entry::String(template.into()),
        ));
    }
    Ok(entries)
}

pub(super) fn architecture(config: &ModelConfig) -> Result<&'static str, ConvertError> {
    match (config.sub_norms, config.qk_norms, config.activation) {
        (true, false, Activation::Relu2) => Ok("bitnet-b1.58"),
        (true, false, Activation::Silu) => Ok("bitnet"),
        (false, true, Activation::Silu) => Ok(QWEN3),
        (false, false, Activation::Silu) => Ok(LLAMA),
        (false, true, Activation::GeluTanh) if config.block.post_norms => Ok(GEMMA3),
        _ => Err(ConvertError::Unsupported(
            "no GGUF architecture that is read has this model's norms with its activation, so that it cannot be \
             converted; serve its file or directory as it is"
                .into(),
        )),
    }
}

/// True if the rows of `q` and `k` are written in another order than the model has them in:
/// readers of `llama` expect adjacent pairs.
pub(super) fn makes_pairs_adjacent(config: &ModelConfig) -> bool {
    config.rope_pairs == RopePairs::Halves
        && architecture(config).is_ok_and(|architecture| architecture == LLAMA)
}

/// The keys of a shape.
pub(crate) fn shape(
    config: &ModelConfig,
    architecture: &str,
) -> Result<Vec<(String, Entry)>, ConvertError> {
    let sizes = [
        ("vocab_size", config.vocab_size),
        ("context_length", config.context_length),
        ("embedding_length", config.hidden_size),
        ("block_count", config.n_layers),
        ("feed_forward_length", config.ffn_size),
        ("rope.dimension_count", config.head_dim),
        ("attention.head_count", config.n_heads),
        ("attention.head_count_kv", config.n_kv_heads),
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
    ];
    let mut entries = Vec::new();
    for (key, size) in sizes {
        let size = u32::try_from(size)
            .map_err(|_| ConvertError::Unsupported(format!("{key} is {size}")))?;
        entries.push((format!("{architecture}.{key}"), Entry::U32(size)));
    }
    entries.extend(block(config, architecture)?);
    if let Some(pooling) = config.embedding.pooling {
        let number = match pooling {
            Pooling::Mean => 1,
            Pooling::First => 2,
            Pooling::Last => 3,
        };
        entries.push((format!("{architecture}.pooling_type"), Entry::U32(number)));
    }
    let theta = f32_exactly("rope_theta", config.rope_theta)?;
    entries.push((format!("{architecture}.rope.freq_base"), Entry::F32(theta)));
    for (key, entry) in scaling(config)? {
        entries.push((format!("{architecture}.rope.scaling.{key}"), entry));
    }
    let epsilon = format!("{architecture}.attention.layer_norm_rms_epsilon");
    entries.push((epsilon, Entry::F32(config.rms_norm_eps)));
    Ok(entries)
}

/// The keys of what a block of Gemma has beyond others; those of norms are their tensors.
fn block(config: &ModelConfig, architecture: &str) -> Result<Vec<(String, Entry)>, ConvertError> {
    let BlockOptions {
        input_norm_eps,
        attention_scale,
        window,
        ..
    } = &config.block;
    let mut entries = Vec::new();
    if let Some(eps) = input_norm_eps.filter(|&eps| eps != config.rms_norm_eps) {
        entries.push((GGUF_INPUT_NORM_EPSILON.to_owned(), Entry::F32(eps)));
    }
    let mut add = |key: &str, entry| entries.push((format!("{architecture}.{key}"), entry));
    if let Some(scale) = attention_scale {
        add("attention.scale", Entry::F32(*scale));
    }
    if let Some(window) = window {
        let period = window.period().ok_or_else(|| {
            ConvertError::Unsupported(
                "layer_types: GGUF has no key for layers with a window that come in no period, so that this model \
                 cannot be converted; serve its directory as it is"
                    .into(),
            )
        })?;
        let theta = f32_exactly("rope_local_base_freq", window.rope_theta)?;
        let size = |n: usize| Entry::U32(u32::try_from(n).unwrap_or(u32::MAX));
        add("attention.sliding_window", size(window.size));
        add("attention.sliding_window_pattern", size(period));
        add("rope.freq_base_swa", Entry::F32(theta));
    }
    Ok(entries)
}

/// The keys of the rotary frequencies' scaling, where GGUF has keys that say all of it.
fn scaling(config: &ModelConfig) -> Result<Vec<(&'static str, Entry)>, ConvertError> {
    let refused = |what: &str| {
        Err(ConvertError::Unsupported(format!(
            "rope_scaling: GGUF has no key for {what}, so that this model cannot be converted; serve its directory as it is"
        )))
    };
    let yarn = match config.rope_scaling {
        RopeScaling::Unscaled => return Ok(Vec::new()),
        RopeScaling::Llama3(_) => return refused("llama3's"),
        RopeScaling::Yarn(yarn) => yarn,
    };
    let implied = Yarn {
        beta_fast: yarn.beta_fast,
        beta_slow: yarn.beta_slow,
        ..Yarn::new(yarn.factor, yarn.original_context)
    };
    if yarn != implied {
        return refused("an attention factor of its own, or a ramp that is not truncated");
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "compared with what it was"
    )]
    let original = yarn.original_context as u32;
    if f64::from(original) != yarn.original_context {
        return refused("an original context that is no whole number");
    }
    Ok(vec![
        ("type", Entry::String("yarn".into())),
        (
            "factor",
            Entry::F32(f32_exactly("rope_scaling.factor", yarn.factor)?),
        ),
        ("original_context_length", Entry::U32(original)),
        (
            "yarn_beta_fast",
            Entry::F32(f32_exactly("rope_scaling.beta_fast", yarn.beta_fast)?),
        ),
        (
            "yarn_beta_slow",
            Entry::F32(f32_exactly("rope_scaling.beta_slow", yarn.beta_slow)?),
        ),
    ])
}

fn f32_exactly(key: &str, value: f64) -> Result<f32, ConvertError> {
    #[allow(clippy::cast_possible_truncation, reason = "GGUF stores it as f32")]
    let narrow = value as f32;
    if f64::from(narrow).to_bits() == value.to_bits() {
        return Ok(narrow);
    }
    Err(ConvertError::Unsupported(format!(
        "{key} {value} is no f32, which is what a GGUF stores; positions would differ"
    )))
}

fn sampling(defaults: &SamplingDefaults) -> Vec<(String, Entry)> {
    let SamplingDefaults {
        temperature,
        top_k,
        top_p,
        min_p,
        repetition_penalty,
    } = *defaults;
    let top_k = top_k.map(|k| Entry::I32(i32::try_from(k).unwrap_or(i32::MAX)));
    let values = [
        temperature.map(Entry::F32),
        top_k,
        top_p.map(Entry::F32),
        min_p.map(Entry::F32),
        repetition_penalty.map(Entry::F32),
    ];
    GGUF_SAMPLING_KEYS
        .iter()
        .zip(values)
        .filter_map(|(key, value)| Some(((*key).to_owned(), value?)))
        .collect()
}
