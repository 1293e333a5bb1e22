//! Steps that need configuration and tokenizer together: markers, the tokens that begin a text,
//! every end of a turn, and that the ids fit the embedding.

use crate::config::{ModelConfig, Pooling};
use crate::error::LoadError;
use crate::tokenizer::{Beside, TURN_ENDS, Tokenizer};

/// The number of names a warning lists.
const LISTED: usize = 6;

/// If both of these are special tokens, `<|end|>` ends a message of several and not the answer
/// (OpenAI's harmony format, and Solar's).
const LONGER_ANSWERS: [[&str; 2]; 2] = [["<|return|>", "<|call|>"], ["<|flush|>", "<|calls|>"]];
const MESSAGE_END: &str = "<|end|>";

/// The special tokens of a Hugging Face directory beside its `tokenizer.json`: the texts that end a
/// sequence, and whether one that begins or ends it is put around a text.
pub(super) fn take_beside(
    config: &mut ModelConfig,
    tokenizer: &mut Tokenizer,
    beside: &Beside,
    warnings: &mut Vec<String>,
) {
    for text in beside.texts("eos_token") {
        match tokenizer.token_to_id(text) {
            Some(id) => config.add_eos(id),
            None => warnings.push(format!(
                "its eos_token {} is not in the vocabulary, and so ends nothing",
                quoted(text)
            )),
        }
    }
    let begin = |text: &str| tokenizer.token_to_id(text);
    let named = beside.texts("bos_token").find_map(begin);
    // config.json's is for generation without a prompt, and differs in real files.
    config.bos_token = named
        .or(tokenizer.prefix().first().copied())
        .or(config.bos_token);

    // The flags are for tokenizers that put nothing around a text by themselves: transformers, too,
    // lets a post-processor that does decide.
    if tokenizer.prefix().is_empty() && tokenizer.suffix().is_empty() {
        let end = beside.texts("eos_token").find_map(begin);
        let end = end.or(config.eos_tokens.first().copied());
        let wanted = |key: &str, id: Option<u32>| {
            id.filter(|_| beside.flag(key) == Some(true))
                .into_iter()
                .collect()
        };
        let prefix = wanted("add_bos_token", config.bos_token);
        tokenizer.set_around(prefix, wanted("add_eos_token", end));
    } else if beside.flag("add_bos_token") == Some(false) && !tokenizer.prefix().is_empty() {
        warnings.push(
            "its tokenizer_config.json says add_bos_token: false, but tokenizer.json's post-processor puts a token \
             before every text, which is done"
                .into(),
        );
    }
}

/// The rest, alike for every file. `template` is the chat template's source, empty without one.
///
/// # Errors
/// `LoadError::Config` as [`ModelConfig::validate`]; `LoadError::Tokenizer` where text would become
/// tokens that the embedding has no row for.
pub(super) fn finish(
    config: &mut ModelConfig,
    tokenizer: &mut Tokenizer,
    template: &str,
    warnings: &mut Vec<String>,
) -> Result<(), LoadError> {
    let named: Vec<u32> = config
        .bos_token
        .iter()
        .chain(&config.eos_tokens)
        .copied()
        .collect();
    let marked = tokenizer.mark(template, &named);
    if !marked.is_empty() {
        warnings.push(format!(
            "its tokenizer types {} as ordinary text, or has no types; they are taken as the markers they look like",
            listed(&marked)
        ));
    }
    add_turn_ends(config, tokenizer);
    fit(config, tokenizer, warnings)?;
    if config.eos_tokens.is_empty() {
        warnings.push(
            "no token ends its turn, so answers run to max_tokens or the context's end: name one as \
             eos_token_id in config.json (tokenizer.ggml.eos_token_id in a GGUF), or send stop texts"
                .into(),
        );
    }
    config.bos_token = config.bos_token.or(tokenizer.prefix().first().copied());
    // Its state stands for the whole text, as it was trained to.
    if config.embedding.pooling == Some(Pooling::Last) && tokenizer.suffix().is_empty() {
        config.embedding.end_token = config.eos_tokens.first().copied();
    }
    config.validate()
}

/// Tokens whose text is known as an end, where they are markers: a vocabulary may hold the same
/// text as an ordinary token.
fn add_turn_ends(config: &mut ModelConfig, tokenizer: &Tokenizer) {
    let has = |text: &&str| tokenizer.added_id(text).is_some();
    let longer = LONGER_ANSWERS.iter().any(|pair| pair.iter().all(has));
    for text in TURN_ENDS
        .iter()
        .filter(|&&text| !(longer && text == MESSAGE_END))
    {
        if let Some(id) = tokenizer.added_id(text) {
            config.add_eos(id);
        }
    }
}

/// Ids beyond the embedding are never generated, and no prompt may hold them: a file that only
/// names such tokens can be served.
fn fit(
    config: &mut ModelConfig,
    tokenizer: &Tokenizer,
    warnings: &mut Vec<String>,
) -> Result<(), LoadError> {
    let size = config.vocab_size;
    let is_beyond = |id: &u32| usize::try_from(*id).is_ok_and(|id| id >= size);
    match tokenizer.beyond(size) {
        Err(id) => {
            return Err(LoadError::Tokenizer(format!(
                "it has {} tokens, the model's vocabulary {size}, and id {id} is no added token: it belongs to another model",
                tokenizer.vocab_size(),
            )));
        }
        Ok(added) if !added.is_empty() => warnings.push(format!(
            "its tokenizer has {} beyond the {size} rows of the embedding; a prompt with such a token is refused",
            listed(&added)
        )),
        Ok(_) => {}
    }
    let mut around = tokenizer.prefix().iter().chain(tokenizer.suffix());
    if let Some(id) = around.find(|id| is_beyond(id)) {
        return Err(LoadError::Tokenizer(format!(
            "it puts token {id} around every text, and the model's vocabulary has {size}: it belongs to another model"
        )));
    }
    let dropped = |key: &str, id: u32| {
        format!("its {key} {id} is beyond the {size} rows of the embedding, and is ignored")
    };
    if let Some(id) = config.bos_token.filter(|id| is_beyond(id)) {
        warnings.push(dropped("bos_token_id", id));
        config.bos_token = None;
    }
    let (beyond, eos) = config
        .eos_tokens
        .iter()
        .partition::<Vec<u32>, _>(|id| is_beyond(id));
    warnings.extend(beyond.into_iter().map(|id| dropped("eos_token_id", id)));
    config.eos_tokens = eos;
    Ok(())
}

/// A file's own text in a warning.
fn quoted(text: &str) -> String {
    format!("`{}`", &text[..text.floor_char_boundary(80)].escape_debug())
}

fn listed(texts: &[String]) -> String {
    let first: Vec<String> = texts.iter().take(LISTED).map(|text| quoted(text)).collect();
    match texts.len().saturating_sub(LISTED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
