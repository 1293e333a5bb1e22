//! The tokenizer inside a GGUF file: `tokenizer.ggml.*` (ggml-org/ggml, `docs/gguf.md`).

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::added::{AddedToken, AddedTokens};
use super::bpe::Merges;
use super::byte_bpe::ByteBpe;
use super::gguf_pieces::{self, MorePieces};
use super::gguf_pre::{self, PRES};
use super::lead::Lead;
use super::normal::Normal;
use super::pipeline::Around;
use super::split::{Split, Steps};
use super::vocab::{Kind, Vocab};
use super::{Model, Parts, Tokenizer, byte_chars, hf};
use crate::error::LoadError;

/// GGUF's keys, each named in its field's comment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GgufTokenizer {
    /// `tokenizer.ggml.model`: `gpt2` is byte-level BPE; `llama` and `gemma` are SentencePiece's
    /// BPE, `t5` its unigram.
    pub model: String,
    /// `tokenizer.ggml.pre`: the pre-tokenizer; absent from BitNet's own files, which use Llama
    /// 3's.
    pub pre: Option<String>,
    /// `tokenizer.ggml.tokens`, in GPT-2's byte characters, or with `▁` for a space; position is
    /// id.
    pub tokens: Vec<String>,
    /// `tokenizer.ggml.token_type`: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6
    /// byte. Empty: all normal.
    pub token_types: Vec<i32>,
    /// `tokenizer.ggml.scores`: of SentencePiece's pieces. Empty for others.
    pub scores: Vec<f32>,
    /// `tokenizer.ggml.merges`: `left right`, by rank.
    pub merges: Vec<String>,
    /// `tokenizer.ggml.bos_token_id`
    pub bos_id: Option<u32>,
    /// `tokenizer.ggml.eos_token_id`
    pub eos_id: Option<u32>,
    /// `tokenizer.ggml.unknown_token_id`; absent: the token of that type.
    pub unknown_id: Option<u32>,
    /// `tokenizer.ggml.add_space_prefix`; absent: yes for `llama` and `t5`.
    pub add_space_prefix: Option<bool>,
    /// `tokenizer.ggml.remove_extra_whitespaces`; absent: no.
    pub remove_extra_whitespaces: Option<bool>,
    /// `tokenizer.ggml.precompiled_charsmap`: SentencePiece's replacements of characters. Empty:
    /// none.
    pub charsmap: Vec<u8>,
    /// `tokenizer.ggml.add_bos_token`; absent: what `pre` is used to, which is yes for Llama 3's
    /// and for `llama`.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`; absent: no.
    pub add_eos: Option<bool>,
    /// `sterna.tokenizer.ignore_merges`, a key of ours: GGUF implies it by `pre`. Absent: yes for
    /// Llama 3's.
    pub ignore_merges: Option<bool>,
    /// `sterna.tokenizer.nfc`, a key of ours: text is brought to Unicode's NFC first. Absent: what
    /// `pre` is used to, which is yes for Qwen's.
    pub nfc: Option<bool>,
    /// `sterna.tokenizer.more`, a key of ours: what GGUF has no keys for, as JSON. Absent where
    /// there is nothing.
    pub more: Option<String>,
}

/// The contents of [`GgufTokenizer::more`].
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct More {
    /// The tokens before a text, where that is not the one beginning-of-sequence token.
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<Vec<u32>>,
    /// The tokens after a text, where that is not the one end-of-sequence token.
    #[serde(skip_serializing_if = "Option::is_none")]
    suffix: Option<Vec<u32>>,
    /// The cut's regular expression, where none of `pre`'s names means it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern: Option<String>,
    /// With it: each digit is cut off first.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    digits_alone: bool,
    /// With it: all steps that the expression does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<Steps>,
    /// The normal form, where it is neither NFC nor the text itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    normal: Option<Normal>,
    /// What there is to a vocabulary of pieces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pieces: Option<MorePieces>,
    /// The token for a byte that is no token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unknown: Option<u32>,
    /// Options of added tokens that have any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    added: Vec<Options>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    id: u32,
    lstrip: bool,
    rstrip: bool,
    single_word: bool,
    normalized: bool,
}

impl GgufTokenizer {
    /// What is not certain about this tokenizer, a sentence for a warning.
    #[must_use]
    pub fn doubt(&self) -> Option<String> {
        let bytes = self.model == "gpt2";
        gguf_pre::doubt(self.pre.as_deref()).filter(|_| bytes && self.more.is_none())
    }
}

pub(super) fn read(meta: &GgufTokenizer) -> Result<Parts, LoadError> {
    if !meta.token_types.is_empty() && meta.token_types.len() != meta.tokens.len() {
        return Err(LoadError::Tokenizer(format!(
            "`tokenizer.ggml.token_type` has {} entries for {} tokens",
            meta.token_types.len(),
            meta.tokens.len()
        )));
    }
    let more = more(meta)?;
    match meta.model.as_str() {
        "gpt2" => read_bytes(meta, more),
        "llama" | "gemma" | "t5" => gguf_pieces::read(meta, more),
        other => Err(LoadError::Tokenizer(format!(
            "`tokenizer.ggml.model` is `{}`; supported: `gpt2` (byte-level BPE), `llama` and `gemma` \
             (SentencePiece's BPE), `t5` (its unigram)",
            hf::shown(other)
        ))),
    }
}

fn read_bytes(meta: &GgufTokenizer, more: More) -> Result<Parts, LoadError> {
    let pre = gguf_pre::of(meta.pre.as_deref())?;
    let split = match &more.pattern {
        None => pre.split,
        Some(pattern) => {
            let alone = Steps {
                digits_alone: more.digits_alone,
                ..Steps::default()
            };
            Split::from_pattern(pattern, false)
                .map(|split| split.with(more.steps.unwrap_or(alone)))
                .ok_or_else(|| bad_more("names an unknown `pattern`"))?
        }
    };
    let kinds = (0..meta.tokens.len()).map(|id| meta.kind(id));
    let vocab = hf::fill(meta.tokens.iter().map(String::as_str).zip(kinds))?;
    let mut merges = Merges::with_capacity(meta.merges.len());
    let mut scratch = Vec::new();
    for rule in &meta.merges {
        let (left, right) = halves(rule)?;
        hf::push_merge(left, right, &vocab, &mut merges, &mut scratch)?;
    }
    let unknown = meta.checked_unknown(more.unknown)?;
    let ignore_merges = meta.ignore_merges.unwrap_or(pre.llama3);
    let normal = match &more.normal {
        Some(normal) => normal.clone(),
        None => Normal::nfc(meta.nfc.unwrap_or(pre.nfc)),
    };
    let bpe = ByteBpe::new(&vocab, merges, split, ignore_merges, unknown);
    let (added_normalized, added) = added(meta, &more, |token, normalized| (token, normalized));
    Ok(Parts {
        around: around(meta, more, pre.llama3, vocab.len())?,
        vocab,
        added,
        added_normalized,
        normal,
        model: Model::Bytes(bpe),
        lead: Lead::Kept,
    })
}

/// The two tokens of a merge.
pub(super) fn halves(rule: &str) -> Result<(&str, &str), LoadError> {
    rule.split_once(' ')
        .ok_or_else(|| hf::error(format!("the merge `{}` has no space", hf::shown(rule))))
}

impl GgufTokenizer {
    pub(super) fn kind(&self, id: usize) -> Kind {
        match self.token_types.get(id) {
            // An unknown token (`<unk>`) never comes of text.
            Some(2 | 3) => Kind::Control,
            Some(4) => Kind::UserDefined,
            Some(5) => Kind::Unused,
            Some(6) => Kind::Byte,
            _ => Kind::Normal,
        }
    }

    fn checked_unknown(&self, id: Option<u32>) -> Result<Option<u32>, LoadError> {
        match id {
            Some(id) if id as usize >= self.tokens.len() => Err(bad_more(&format!(
                "has `unknown` {id}, which is not in the vocabulary"
            ))),
            id => Ok(id),
        }
    }
}

/// The added tokens, first those that are matched in the normal form; each as `change` makes it of
/// itself and of whether it is one of those, as far as the file says.
pub(super) fn added(
    meta: &GgufTokenizer,
    more: &More,
    change: impl Fn(AddedToken, bool) -> (AddedToken, bool),
) -> (Vec<AddedToken>, Vec<AddedToken>) {
    let options = more.added.iter();
    let options: HashMap<usize, &Options> = options
        .map(|options| (options.id as usize, options))
        .collect();
    let (mut normalized, mut raw) = (Vec::new(), Vec::new());
    for (id, text) in meta.tokens.iter().enumerate() {
        let kind = meta.kind(id);
        if !matches!(kind, Kind::Control | Kind::UserDefined) {
            continue;
        }
        let mut token = AddedToken::plain(id as u32, text.clone(), kind == Kind::Control);
        let options = options.get(&id);
        if let Some(options) = options {
            token.lstrip = options.lstrip;
            token.rstrip = options.rstrip;
            token.single_word = options.single_word;
        }
        match change(token, options.is_some_and(|options| options.normalized)) {
            (token, true) => normalized.push(token),
            (token, false) => raw.push(token),
        }
    }
    (normalized, raw)
}

/// The tokens around a text; `begins` where one goes before it though no key says so.
pub(super) fn around(
    meta: &GgufTokenizer,
    more: More,
    begins: bool,
    vocab_size: usize,
) -> Result<Around, LoadError> {
    let one = |id: Option<u32>, wanted: bool| id.filter(|_| wanted).into_iter().collect();
    let around = Around {
        prefix: more
            .prefix
            .unwrap_or_else(|| one(meta.bos_id, meta.add_bos.unwrap_or(begins))),
        suffix: more
            .suffix
            .unwrap_or_else(|| one(meta.eos_id, meta.add_eos.unwrap_or(false))),
    };
    for (key, ids) in [("bos", &around.prefix), ("eos", &around.suffix)] {
        if let Some(id) = ids.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(LoadError::Tokenizer(format!(
                "`tokenizer.ggml.{key}_token_id` is {id}, the vocabulary has {vocab_size} tokens"
            )));
        }
    }
    Ok(around)
}

fn more(meta: &GgufTokenizer) -> Result<More, LoadError> {
    let Some(json) = &meta.more else {
        return Ok(More::default());
    };
    serde_json::from_str(json).map_err(|error| bad_more(&format!("cannot be read: {error}")))
}

pub(super) fn bad_more(reason: &str) -> LoadError {
    LoadError::Tokenizer(format!(
        "`sterna.tokenizer.more` {reason}: convert the model again"
    ))
}

/// The keys of a tokenizer, in a file whose beginning and end of a sequence are these.
pub(super) fn write(
    tokenizer: &Tokenizer,
    bos_id: Option<u32>,
    eos_id: Option<u32>,
) -> GgufTokenizer {
    let Around { prefix, suffix } = &tokenizer.around;
    // Nothing, or the one token that a flag asks for.
    let unusual = |ids: &[u32], one: Option<u32>| match ids {
        [] => false,
        [only] => Some(*only) != one,
        _ => true,
    };
    let options = |tokens: &AddedTokens, normalized: bool| -> Vec<Options> {
        let options = tokens.iter().map(|token| Options {
            id: token.id,
            lstrip: token.lstrip,
            rstrip: token.rstrip,
            single_word: token.single_word,
            normalized,
        });
        options
            .filter(|options| {
                *options
                    != Options {
                        id: options.id,
                        ..Options::default()
                    }
            })
            .collect()
    };
    let mut added = options(&tokenizer.added, false);
    added.extend(options(&tokenizer.added_normalized, true));
    added.sort_by_key(|options| options.id);
    let mut more = More {
        prefix: unusual(prefix, bos_id).then(|| prefix.clone()),
        suffix: unusual(suffix, eos_id).then(|| suffix.clone()),
        added,
        ..More::default()
    };
    let vocab = &tokenizer.vocab;
    let ids = 0..vocab.len() as u32;
    let mut meta = GgufTokenizer {
        token_types: ids
            .map(|id| vocab.kind(id).unwrap_or(Kind::Unused) as i32)
            .collect(),
        bos_id,
        eos_id,
        add_bos: Some(!prefix.is_empty()),
        add_eos: (!suffix.is_empty()).then_some(true),
        ..GgufTokenizer::default()
    };
    match &tokenizer.model {
        Model::Bytes(bpe) => write_bytes(&mut meta, &mut more, vocab, &tokenizer.normal, bpe),
        Model::Pieces(pieces) => {
            more.pieces = Some(gguf_pieces::write(&mut meta, tokenizer, pieces));
        }
    }
    if more != More::default() {
        meta.more = serde_json::to_string(&more).ok();
    }
    meta
}

fn write_bytes(
    meta: &mut GgufTokenizer,
    more: &mut More,
    vocab: &Vocab,
    normal: &Normal,
    bpe: &ByteBpe,
) {
    // A token outside the index is not written in byte characters.
    let name = |id: u32| {
        let bytes = vocab.get(id).unwrap_or_default();
        match vocab.kind(id) {
            Some(Kind::Unused) | None => format!("[PAD{id}]"),
            Some(Kind::Normal) if vocab.id_of(bytes) == Some(id) => byte_chars::to_text(bytes),
            Some(_) => String::from_utf8_lossy(bytes).into_owned(),
        }
    };
    let nfc = normal.is_nfc();
    let same = || PRES.iter().filter(|pre| pre.split == bpe.split);
    let pre = same()
        .find(|pre| Some(pre.nfc) == nfc)
        .or_else(|| same().next());
    if pre.is_none() {
        more.pattern = Some(bpe.split.expression());
        more.steps = Some(bpe.split.steps()).filter(|&steps| steps != Steps::default());
    }
    more.normal = nfc.is_none().then(|| normal.clone());
    more.unknown = bpe.unknown;
    meta.model = "gpt2".into();
    meta.pre = Some(pre.unwrap_or(&PRES[0]).names[0].into());
    meta.tokens = (0..vocab.len() as u32).map(name).collect();
    meta.merges = bpe
        .merges
        .pairs()
        .map(|(left, right)| format!("{} {}", name(left), name(right)))
        .collect();
    meta.ignore_merges = Some(bpe.ignore_merges);
    meta.nfc = nfc.filter(|&nfc| nfc != pre.is_some_and(|pre| pre.nfc));
}
