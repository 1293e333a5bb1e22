//! The metadata of a converted file: the keys llama.cpp-style readers want, and a few of our own.

use super::{ConvertError, ConvertOptions};
use crate::config::{
    Activation, GENERAL_ARCHITECTURE, GGUF_EOS_TOKENS, GGUF_SAMPLING_KEYS, ModelConfig,
    SamplingDefaults,
};
use crate::files::gguf_tokenizer;
use crate::files::gguf_write::Entry;
use crate::files::{OpenModel, TRITS5_VERSION, TRITS5_VERSION_KEY};

/// bitnet.cpp's number for files of I2_S.
const FILE_TYPE_I2_S: u32 = 40;
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
    entries.push(if trits5 {
        (TRITS5_VERSION_KEY.into(), Entry::U32(TRITS5_VERSION))
    } else {
        ("general.file_type".into(), Entry::U32(FILE_TYPE_I2_S))
    });
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

fn architecture(config: &ModelConfig) -> Result<&'static str, ConvertError> {
    match (config.sub_norms, config.activation) {
        (true, Activation::Relu2) => Ok("bitnet-b1.58"),
        (true, Activation::Silu) => Ok("bitnet"),
        (false, _) => Err(ConvertError::Unsupported(
            "a model without sub-norms (Llama, Qwen3) cannot be converted yet; serve its file or directory as it is"
                .into(),
        )),
    }
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
    #[allow(clippy::cast_possible_truncation, reason = "GGUF stores it as f32")]
    let theta = config.rope_theta as f32;
    if f64::from(theta).to_bits() != config.rope_theta.to_bits() {
        return Err(ConvertError::Unsupported(format!(
            "rope_theta {} is no f32, which is what a GGUF stores; positions would differ",
            config.rope_theta
        )));
    }
    entries.push((format!("{architecture}.rope.freq_base"), Entry::F32(theta)));
    let epsilon = format!("{architecture}.attention.layer_norm_rms_epsilon");
    entries.push((epsilon, Entry::F32(config.rms_norm_eps)));
    Ok(entries)
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
