//! The tokenizer inside a GGUF file: `tokenizer.ggml.*` (ggml-org/ggml, `docs/gguf.md`).

use super::added::AddedToken;
use super::bpe::Merges;
use super::split::Split;
use super::vocab::Kind;
use super::{Parts, Tokenizer, byte_chars, hf};
use crate::error::LoadError;

/// GGUF's keys, each named in its field's comment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GgufTokenizer {
    /// `tokenizer.ggml.model`: `gpt2` is byte-level BPE.
    pub model: String,
    /// `tokenizer.ggml.pre`: the pre-tokenizer; absent from BitNet's own files, which use Llama 3's.
    pub pre: Option<String>,
    /// `tokenizer.ggml.tokens`, in GPT-2's byte characters; position is id.
    pub tokens: Vec<String>,
    /// `tokenizer.ggml.token_type`: 1 normal, 3 control, 4 user defined, 5 unused. Empty: all normal.
    pub token_types: Vec<i32>,
    /// `tokenizer.ggml.merges`: `left right`, by rank.
    pub merges: Vec<String>,
    /// `tokenizer.ggml.bos_token_id`
    pub bos_id: Option<u32>,
    /// `tokenizer.ggml.eos_token_id`
    pub eos_id: Option<u32>,
    /// `tokenizer.ggml.add_bos_token`; absent: what `pre` is used to, which is yes for Llama 3's.
    pub add_bos: Option<bool>,
    /// `sterna.tokenizer.ignore_merges`, a key of ours: GGUF implies it by `pre`. Absent: yes for Llama 3's.
    pub ignore_merges: Option<bool>,
    /// `sterna.tokenizer.nfc`, a key of ours: text is brought to Unicode's NFC first. Absent: no.
    pub nfc: bool,
}

/// `tokenizer.ggml.pre` names that mean Llama 3's cut (llama.cpp, `llama-vocab.cpp`; FORMATS.md 4.4).
const LLAMA3_NAMES: &[&str] = &[
    "llama-bpe",
    "llama3",
    "llama-v3",
    "falcon3",
    "falcon-e",
    "falcon_e",
];
const GPT2_NAMES: &[&str] = &["gpt-2", "gpt2"];
const QWEN2_NAMES: &[&str] = &["qwen2"];

fn split_of(pre: Option<&str>) -> Result<Split, LoadError> {
    match pre {
        None => Ok(Split::Llama3),
        Some(name) if LLAMA3_NAMES.contains(&name) => Ok(Split::Llama3),
        Some(name) if GPT2_NAMES.contains(&name) => Ok(Split::Gpt2),
        Some(name) if QWEN2_NAMES.contains(&name) => Ok(Split::Qwen2),
        Some(other) => Err(LoadError::Tokenizer(format!(
            "`tokenizer.ggml.pre` is `{other}`; supported: {}",
            [LLAMA3_NAMES, GPT2_NAMES, QWEN2_NAMES].concat().join(", ")
        ))),
    }
}

pub(super) fn read(meta: &GgufTokenizer) -> Result<Parts, LoadError> {
    if meta.model != "gpt2" {
        return Err(LoadError::Tokenizer(format!(
            "`tokenizer.ggml.model` is `{}`; only `gpt2` (byte-level BPE) is supported, sentencepiece (`llama`) and others are not",
            meta.model
        )));
    }
    let split = split_of(meta.pre.as_deref())?;
    if !meta.token_types.is_empty() && meta.token_types.len() != meta.tokens.len() {
        return Err(LoadError::Tokenizer(format!(
            "`tokenizer.ggml.token_type` has {} entries for {} tokens",
            meta.token_types.len(),
            meta.tokens.len()
        )));
    }
    let kinds = (0..meta.tokens.len()).map(|id| match meta.token_types.get(id) {
        Some(3) => Kind::Control,
        Some(4) => Kind::UserDefined,
        Some(5) => Kind::Unused,
        _ => Kind::Normal,
    });
    let added = |(id, kind): (usize, Kind)| {
        let special = kind == Kind::Control;
        let text = meta.tokens[id].clone();
        matches!(kind, Kind::Control | Kind::UserDefined).then_some(AddedToken {
            id: id as u32,
            text,
            special,
            lstrip: false,
            rstrip: false,
            single_word: false,
        })
    };
    let added = kinds.clone().enumerate().filter_map(added).collect();
    let vocab = hf::fill(meta.tokens.iter().map(String::as_str).zip(kinds))?;
    let mut merges = Merges::with_capacity(meta.merges.len());
    let mut scratch = Vec::new();
    for rule in &meta.merges {
        let (left, right) = rule
            .split_once(' ')
            .ok_or_else(|| LoadError::Tokenizer(format!("the merge `{rule}` has no space")))?;
        hf::push_merge(left, right, &vocab, &mut merges, &mut scratch)?;
    }
    let llama3 = split == Split::Llama3;
    let prefix = meta.bos_id.filter(|_| meta.add_bos.unwrap_or(llama3));
    if let Some(bos) = prefix.filter(|&bos| bos as usize >= vocab.len()) {
        return Err(LoadError::Tokenizer(format!(
            "`tokenizer.ggml.bos_token_id` is {bos}, the vocabulary has {} tokens",
            vocab.len()
        )));
    }
    Ok(Parts {
        vocab,
        merges,
        added,
        added_normalized: Vec::new(),
        split,
        ignore_merges: meta.ignore_merges.unwrap_or(llama3),
        nfc: meta.nfc,
        unknown: None,
        prefix: prefix.into_iter().collect(),
    })
}

pub(super) fn write(tokenizer: &Tokenizer) -> GgufTokenizer {
    let vocab = &tokenizer.vocab;
    // A token outside the index is not written in byte characters.
    let name = |id: u32| {
        let bytes = vocab.get(id).unwrap_or_default();
        match vocab.kind(id) {
            Some(Kind::Unused) | None => format!("[PAD{id}]"),
            Some(Kind::Normal) if vocab.id_of(bytes) == Some(id) => byte_chars::to_text(bytes),
            Some(_) => String::from_utf8_lossy(bytes).into_owned(),
        }
    };
    let ids = 0..vocab.len() as u32;
    GgufTokenizer {
        model: "gpt2".into(),
        pre: Some(match tokenizer.split {
            Split::Llama3 => "llama-bpe".into(),
            Split::Gpt2 => "gpt-2".into(),
            Split::Qwen2 => "qwen2".into(),
        }),
        tokens: ids.clone().map(name).collect(),
        token_types: ids
            .map(|id| vocab.kind(id).unwrap_or(Kind::Unused) as i32)
            .collect(),
        merges: tokenizer
            .merges
            .pairs()
            .map(|(left, right)| format!("{} {}", name(left), name(right)))
            .collect(),
        bos_id: tokenizer.prefix.first().copied(),
        eos_id: None,
        add_bos: Some(!tokenizer.prefix.is_empty()),
        ignore_merges: Some(tokenizer.ignore_merges),
        nfc: tokenizer.nfc,
    }
}
