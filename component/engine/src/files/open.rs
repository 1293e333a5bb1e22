//! From a path to everything but the weights: configuration, tokenizer, chat template, defaults.

use std::path::Path;
use std::sync::OnceLock;

use serde_json::Value as Json;

use super::finish::{finish, take_beside};
use super::gguf_weights::GgufWeights;
use super::hf::HfWeights;
use super::names::TensorId;
use super::options::LoadOptions;
use super::safetensors::TensorFiles;
use super::source::WeightSource;
use super::ternary::I2sForm;
use super::{
    Gguf, Value, damaged, directory, gguf_tokenizer, parts, read_file, read_json,
    read_optional_json, sentence_transformers, tensor_error, what_is,
};
use crate::config::{
    Activation, GEMMA3, GENERAL_ARCHITECTURE, HfConfig, LLAMA, ModelConfig, QWEN3,
    SamplingDefaults, read_gguf,
};
use crate::error::LoadError;
use crate::group_scaled::Packers;
use crate::placement::{self, Bytes};
use crate::template::{BITNET_2B_4T, CHATML, CHATML_TOKENS, ChatTemplate};
use crate::tokenizer::{Beside, Tokenizer};

/// Ends a turn in every Llama-3 vocabulary.
const EOT: &str = "<|eot_id|>";

/// A model whose weights have not been asked for yet.
pub(crate) struct OpenModel {
    pub(crate) id: String,
    pub(crate) config: ModelConfig,
    /// True if the embedding is the output head too.
    pub(crate) tied: bool,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) template: ChatTemplate,
    pub(crate) defaults: SamplingDefaults,
    /// The statements of its files that could not be taken as they are, a sentence each.
    pub(crate) warnings: Vec<String>,
    /// `general.*` texts of a GGUF (name, licence, author), or what a Hugging Face directory says
    /// of them.
    pub(crate) general: Vec<(String, String)>,
    pub(crate) source: Box<dyn WeightSource>,
}

/// Open a GGUF file or a Hugging Face directory.
pub(crate) fn open(path: &Path, options: &LoadOptions) -> Result<OpenModel, LoadError> {
    let metadata = std::fs::metadata(path).map_err(|source| LoadError::Io {
        path: path.to_owned(),
        source,
    })?;
    if metadata.is_dir() {
        return open_hf(path, options);
    }
    let bytes = placement::open(path)?;
    if !Gguf::has_magic(&bytes) {
        return Err(LoadError::NotAModel {
            path: path.to_owned(),
            reason: what_is(&bytes, path).unwrap_or_else(|| {
                "it does not begin as a GGUF file does. Give one, or the directory of a Hugging \
                 Face model with safetensors"
                    .into()
            }),
        });
    }
    open_gguf(path, &stem(path), bytes, options)
}

/// Open a GGUF that is in memory already.
pub(crate) fn open_gguf_bytes(
    name: &str,
    bytes: Bytes,
    options: &LoadOptions,
) -> Result<OpenModel, LoadError> {
    open_gguf(Path::new(name), name, bytes, options)
}

fn open_gguf(
    path: &Path,
    name: &str,
    bytes: Bytes,
    options: &LoadOptions,
) -> Result<OpenModel, LoadError> {
    let gguf = Gguf::parse(bytes).map_err(|reason| damaged(path, reason))?;
    let gguf = parts::complete(gguf, path)?;
    let mut config = read_gguf(&gguf)?;
    let mut warnings = Vec::new();
    let defaults = SamplingDefaults::from_gguf(&gguf, &mut warnings);
    let meta = gguf_tokenizer::read(&gguf)?;
    // BitNet's own files never say it.
    let unsaid = meta.pre.is_none() && config.architecture.starts_with("bitnet");
    warnings.extend(meta.doubt().filter(|_| !unsaid));
    let mut tokenizer = Tokenizer::from_gguf(meta)?;

    let own = gguf
        .get(gguf_tokenizer::CHAT_TEMPLATE)
        .and_then(Value::as_str);
    let template = choose_template(own, options, &config, &tokenizer, &mut warnings);
    finish(
        &mut config,
        &mut tokenizer,
        template.unwrap_or_default(),
        &mut warnings,
    )?;
    let template = build_template(template, &config, &tokenizer, None, None);
    warnings.extend(template_warning(&template));

    let mut general: Vec<_> = gguf
        .metadata()
        .filter(|(key, _)| key.starts_with("general.") && *key != GENERAL_ARCHITECTURE)
        .filter_map(|(key, value)| Some((key.to_owned(), value.as_str()?.to_owned())))
        .collect();
    general.sort();

    let form = if options.i2s_arm {
        I2sForm::Interleave64
    } else {
        I2sForm::Interleave128
    };
    let qwen3 = config.architecture == QWEN3;
    let input_norms = config.block.input_norm_eps.is_some();
    let mut source = GgufWeights {
        gguf,
        i2s_form: form,
        grouped: qwen3 && !input_norms,
        grouped_tables: qwen3 && !input_norms,
        masters: options.quantize || input_norms || config.architecture.starts_with("bitnet"),
        packers: Packers::new(options.trits8),
        q2_0_group: OnceLock::new(),
    };
    if config.architecture == LLAMA {
        source.grouped = source.has_scales_of_groups(&config);
    }
    source.check_rope_freqs(config.head_dim / 2)?;
    let tied = !source.has(TensorId::Head);
    source.refuse_leftovers(&config, tied)?;
    let id = options.id.clone().unwrap_or_else(|| name.to_owned());
    Ok(OpenModel {
        id,
        config,
        tied,
        tokenizer,
        template,
        defaults,
        warnings,
        general,
        source: Box::new(source),
    })
}

fn open_hf(dir: &Path, options: &LoadOptions) -> Result<OpenModel, LoadError> {
    let config_path = dir.join("config.json");
    if !config_path.is_file() {
        return Err(LoadError::NotAModel {
            path: dir.to_owned(),
            reason: directory::without_config(dir),
        });
    }
    if let Some(reason) = directory::refused(dir) {
        return Err(LoadError::NotAModel {
            path: dir.to_owned(),
            reason: reason.into(),
        });
    }
    let mut hf = HfConfig::from_json(&read_json(&config_path)?)?;
    let mut warnings = Vec::new();
    let defaults = match read_optional_json(&dir.join("generation_config.json"))? {
        Some(json) => hf.add_generation_config(&json, &mut warnings)?,
        None => SamplingDefaults::default(),
    };
    let HfConfig {
        model: mut config,
        scale_rule,
        grouped,
        tied,
    } = hf;
    let optional = |name: &str| Ok(read_optional_json(&dir.join(name))?.unwrap_or(Json::Null));
    let beside = Beside {
        tokenizer_config: optional("tokenizer_config.json")?,
        special_tokens_map: optional("special_tokens_map.json")?,
        added_tokens: optional("added_tokens.json")?,
    };
    let mut tokenizer = read_tokenizer(dir, &beside)?;
    take_beside(&mut config, &mut tokenizer, &beside, &mut warnings);

    let jinja = dir.join("chat_template.jinja");
    let own = if jinja.is_file() {
        Some(String::from_utf8_lossy(&read_file(&jinja)?).into_owned())
    } else {
        chat_template(&beside.tokenizer_config)
    };
    let chosen = choose_template(own.as_deref(), options, &config, &tokenizer, &mut warnings);
    config.embedding.pooling = sentence_transformers::pooling(dir)?;
    let mut source = HfWeights {
        files: TensorFiles::open(dir)?,
        scale_rule,
        grouped,
        grouped_tables: grouped && config.architecture == QWEN3,
        masters: options.quantize || !grouped,
        norms_plus_one: config.architecture == GEMMA3,
        packers: Packers::new(options.trits8),
    };
    if source.has_input_norms() && config.block.input_norm_eps.is_none() {
        // BitNet's models for embeddings. Their linears are master weights, and where nothing else
        // says how the states are pooled, it is as they were trained.
        config.block.input_norm_eps = Some(config.rms_norm_eps);
        (source.grouped, source.grouped_tables, source.masters) = (false, false, true);
        config.embedding.pooling.get_or_insert_default();
    }
    finish(
        &mut config,
        &mut tokenizer,
        chosen.unwrap_or_default(),
        &mut warnings,
    )?;
    let bos = beside.texts("bos_token").next().map(str::to_owned);
    let eos = beside.texts("eos_token").next().map(str::to_owned);
    let template = build_template(chosen, &config, &tokenizer, bos, eos);
    warnings.extend(template_warning(&template));

    let has_head = source.has(TensorId::Head);
    if tied == Some(false) && !has_head {
        return Err(tensor_error(
            "lm_head.weight",
            "is absent, but config.json says `tie_word_embeddings: false`",
        ));
    }
    if tied == Some(true) {
        source.check_tied()?;
    }
    let tied = tied.unwrap_or(!has_head);
    source.refuse_leftovers(&config, tied)?;
    let name = stem(dir);
    let mut general = vec![("general.name".to_owned(), name.clone())];
    general.extend(card_license(dir).map(|license| ("general.license".to_owned(), license)));
    let id = options.id.clone().unwrap_or(name);
    Ok(OpenModel {
        id,
        config,
        tied,
        tokenizer,
        template,
        defaults,
        warnings,
        general,
        source: Box::new(source),
    })
}

fn read_tokenizer(dir: &Path, beside: &Beside) -> Result<Tokenizer, LoadError> {
    let paths = [dir.join("tokenizer.json"), dir.join("tokenizer.model")];
    let Some(path) = paths.iter().find(|path| path.exists()) else {
        return Err(LoadError::NotAModel {
            path: dir.to_owned(),
            reason: directory::WITHOUT_TOKENIZER.into(),
        });
    };
    let bytes = read_file(path)?;
    let tokenizer = if *path == paths[0] {
        Tokenizer::from_json_beside(&bytes, beside)
    } else {
        Tokenizer::from_sentencepiece_beside(&bytes, beside)
    };
    // A page or a pointer that was downloaded in its place is a text.
    let other = || std::str::from_utf8(&bytes).ok().and(what_is(&bytes, path));
    tokenizer.map_err(|error| match other() {
        Some(other) if !Tokenizer::is_sentencepiece(&bytes) => damaged(path, other),
        _ => error,
    })
}

/// The template that is used: the one that was asked for, the file's own, or one that its
/// vocabulary tells of.
fn choose_template<'a>(
    own: Option<&'a str>,
    options: &'a LoadOptions,
    config: &ModelConfig,
    tokenizer: &Tokenizer,
    warnings: &mut Vec<String>,
) -> Option<&'a str> {
    if let Some(asked_for) = &options.chat_template {
        return Some(asked_for);
    }
    let has = |text: &str| tokenizer.token_to_id(text).is_some();
    let relu2 = config.activation == Activation::Relu2;
    match own {
        // The template inside 2B-4T's own GGUF ("BITNETAssistant") is a converter's mistake.
        Some(text) if relu2 && text.contains("BITNETAssistant") => Some(BITNET_2B_4T),
        None if relu2 && has(EOT) => Some(BITNET_2B_4T),
        None if CHATML_TOKENS.into_iter().all(has) => {
            warnings.push(
                "it has no chat template, but the tokens of ChatML, which is used; --chat-template names another"
                    .into(),
            );
            Some(CHATML)
        }
        own => own,
    }
}

fn build_template(
    source: Option<&str>,
    config: &ModelConfig,
    tokenizer: &Tokenizer,
    bos: Option<String>,
    eos: Option<String>,
) -> ChatTemplate {
    let text = |id: Option<u32>| {
        id.and_then(|id| tokenizer.token_bytes(id))
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            .unwrap_or_default()
    };
    let bos = bos.unwrap_or_else(|| text(config.bos_token));
    let eos = eos.unwrap_or_else(|| text(config.eos_tokens.first().copied()));
    ChatTemplate::new(source, &bos, &eos)
}

/// A warning for the operator about a template that cannot be used.
fn template_warning(template: &ChatTemplate) -> Option<String> {
    let fault = template.fault()?;
    Some(format!(
        "the chat template cannot be used ({fault}): chat requests are refused, completions are served"
    ))
}

/// `tokenizer_config.json` has one template, or several with names.
pub(super) fn chat_template(tokenizer_config: &Json) -> Option<String> {
    let template = tokenizer_config.get("chat_template")?;
    let default = || {
        let named = template
            .as_array()?
            .iter()
            .find(|entry| entry.get("name").is_some_and(|name| name == "default"));
        named?.get("template")?.as_str()
    };
    template.as_str().or_else(default).map(str::to_owned)
}

/// The licence in the front matter of the model card.
fn card_license(dir: &Path) -> Option<String> {
    let card = String::from_utf8(read_file(&dir.join("README.md")).ok()?).ok()?;
    let front = card.strip_prefix("---")?.split("\n---").next()?;
    let license = front
        .lines()
        .find_map(|line| line.strip_prefix("license:"))?
        .trim();
    (!license.is_empty()).then(|| license.to_owned())
}

/// The name a path suggests for its model.
#[must_use]
pub fn stem(path: &Path) -> String {
    // `.` and `..` have a name only once they are resolved.
    let full = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = if full.is_dir() {
        full.file_name()
    } else {
        full.file_stem()
    };
    let name = name.map_or_else(|| "model".into(), |name| name.to_string_lossy());
    parts::whole_stem(&name).unwrap_or(&name).to_owned()
}
