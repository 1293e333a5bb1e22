//! The tokenizer inside a GGUF: keys `tokenizer.ggml.*`.

use super::gguf_write::Entry;
use super::{Gguf, Value};
use crate::config::bad;
use crate::error::LoadError;
use crate::tokenizer::GgufTokenizer;

pub(crate) const CHAT_TEMPLATE: &str = "tokenizer.chat_template";
const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TOKEN_TYPE: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
const MERGES: &str = "tokenizer.ggml.merges";
const BOS: &str = "tokenizer.ggml.bos_token_id";
const EOS: &str = "tokenizer.ggml.eos_token_id";
const UNKNOWN: &str = "tokenizer.ggml.unknown_token_id";
const ADD_SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";
const REMOVE_EXTRA_WHITESPACES: &str = "tokenizer.ggml.remove_extra_whitespaces";
const CHARSMAP: &str = "tokenizer.ggml.precompiled_charsmap";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";
/// Facts of a tokenizer.json that GGUF has no key for: readers imply them from `pre`.
const IGNORE_MERGES: &str = "sterna.tokenizer.ignore_merges";
const NFC: &str = "sterna.tokenizer.nfc";
const MORE: &str = "sterna.tokenizer.more";

/// Reads the data a tokenizer is made from. bitnet.cpp's files have no `pre`: then it is Llama-3's.
pub(crate) fn read(gguf: &Gguf) -> Result<GgufTokenizer, LoadError> {
    let array = |key: &str| gguf.get(key).and_then(Value::as_array);
    let text = |key: &str| gguf.get(key).and_then(Value::as_str).map(str::to_owned);
    let id = |key: &str| {
        gguf.get(key)
            .and_then(Value::as_i64)
            .and_then(|id| u32::try_from(id).ok())
    };
    let flag = |key: &str| gguf.get(key).and_then(Value::as_bool);
    let tokens = array(TOKENS)
        .and_then(|tokens| tokens.strings())
        .ok_or_else(|| {
            bad(
                TOKENS,
                "is absent or no array of texts: this GGUF carries no tokenizer",
            )
        })?;
    let token_types = match array(TOKEN_TYPE) {
        None => Vec::new(),
        Some(types) => types
            .integers()
            .and_then(|types| {
                types
                    .into_iter()
                    .map(|ty| i32::try_from(ty).ok())
                    .collect::<Option<Vec<_>>>()
            })
            .filter(|types| types.len() == tokens.len())
            .ok_or_else(|| bad(TOKEN_TYPE, "is no array of one small number for each token"))?,
    };
    let merges = match array(MERGES) {
        None => Vec::new(),
        Some(merges) => merges
            .strings()
            .ok_or_else(|| bad(MERGES, "is no array of texts"))?,
    };
    let scores = match array(SCORES) {
        None => Vec::new(),
        Some(scores) => scores
            .floats()
            .ok_or_else(|| bad(SCORES, "is no array of floats"))?,
    };
    let charsmap = match array(CHARSMAP) {
        None => Vec::new(),
        Some(bytes) => bytes
            .bytes()
            .ok_or_else(|| bad(CHARSMAP, "is no array of bytes"))?,
    };
    Ok(GgufTokenizer {
        model: text(MODEL).ok_or_else(|| bad(MODEL, "is absent"))?,
        pre: text(PRE),
        tokens,
        token_types,
        scores,
        merges,
        bos_id: id(BOS),
        eos_id: id(EOS),
        unknown_id: id(UNKNOWN),
        add_space_prefix: flag(ADD_SPACE_PREFIX),
        remove_extra_whitespaces: flag(REMOVE_EXTRA_WHITESPACES),
        charsmap,
        add_bos: flag(ADD_BOS),
        add_eos: flag(ADD_EOS),
        ignore_merges: flag(IGNORE_MERGES),
        nfc: flag(NFC),
        more: text(MORE),
    })
}

/// The keys [`read`] reads.
pub(crate) fn entries(tokenizer: GgufTokenizer) -> Vec<(String, Entry)> {
    let GgufTokenizer {
        model,
        pre,
        tokens,
        token_types,
        scores,
        merges,
        bos_id,
        eos_id,
        unknown_id,
        add_space_prefix,
        remove_extra_whitespaces,
        charsmap,
        add_bos,
        add_eos,
        ignore_merges,
        nfc,
        more,
    } = tokenizer;
    // Byte-level BPE must have them, if none.
    let merges = Some(merges).filter(|merges| model == "gpt2" || !merges.is_empty());
    let optional = [
        (PRE, pre.map(Entry::String)),
        (BOS, bos_id.map(Entry::U32)),
        (EOS, eos_id.map(Entry::U32)),
        (UNKNOWN, unknown_id.map(Entry::U32)),
        (SCORES, present(scores).map(Entry::F32s)),
        (MERGES, merges.map(Entry::Strings)),
        (CHARSMAP, present(charsmap).map(Entry::U8s)),
        (ADD_SPACE_PREFIX, add_space_prefix.map(Entry::Bool)),
        (
            REMOVE_EXTRA_WHITESPACES,
            remove_extra_whitespaces.map(Entry::Bool),
        ),
        (ADD_BOS, add_bos.map(Entry::Bool)),
        (ADD_EOS, add_eos.map(Entry::Bool)),
        (IGNORE_MERGES, ignore_merges.map(Entry::Bool)),
        (NFC, nfc.map(Entry::Bool)),
        (MORE, more.map(Entry::String)),
    ];
    let required = [
        (MODEL, Entry::String(model)),
        (TOKENS, Entry::Strings(tokens)),
        (TOKEN_TYPE, Entry::I32s(token_types)),
    ];
    let optional = optional
        .into_iter()
        .filter_map(|(key, entry)| Some((key, entry?)));
    required
        .into_iter()
        .chain(optional)
        .map(|(key, entry)| (key.to_owned(), entry))
        .collect()
}

/// An array that is not empty.
fn present<T>(array: Vec<T>) -> Option<Vec<T>> {
    (!array.is_empty()).then_some(array)
}
