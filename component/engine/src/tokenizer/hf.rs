//! Reading Hugging Face's `tokenizer.json` (huggingface/tokenizers).
//!
//! The file describes a pipeline of any shape; what is supported are the shapes that byte-level BPE
//! models and those of SentencePiece's kind ([`super::hf_pieces`]) have. Anything else is refused
//! by name, since ignoring a step would give other tokens without a word.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::added::AddedToken;
use super::beside::Beside;
use super::bpe::Merges;
use super::byte_bpe::ByteBpe;
use super::lead::Lead;
use super::normal::Normal;
use super::pipeline::{normalizer, post_processor, pre_tokenizer};
use super::vocab::{Kind, Vocab};
use super::{Model, Parts, byte_chars, hf_pieces};
use crate::error::LoadError;

/// The largest distance of ids beyond the number of tokens: room for gaps, none for nonsense.
const MAX_GAPS: usize = 1 << 16;

/// A file's own text in an error, which is not for reading the file: its beginning.
pub(super) fn shown(text: &str) -> String {
    const BYTES: usize = 100;
    let end = text.floor_char_boundary(BYTES);
    format!(
        "{}{}",
        &text[..end],
        if end < text.len() { "..." } else { "" }
    )
}

pub(super) fn error(message: impl Into<String>) -> LoadError {
    LoadError::Tokenizer(message.into())
}

/// The file but its tables, to tell what it is.
#[derive(Deserialize)]
pub(super) struct Pipeline {
    #[serde(default)]
    pub(super) added_tokens: Vec<Added>,
    #[serde(default)]
    pub(super) normalizer: Value,
    #[serde(default)]
    pub(super) pre_tokenizer: Value,
    #[serde(default)]
    pub(super) post_processor: Value,
    #[serde(default)]
    pub(super) decoder: Value,
    pub(super) model: ModelKind,
}

#[derive(Deserialize)]
pub(super) struct ModelKind {
    /// Absent from files older than the field, which are BPE.
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    pub(super) byte_fallback: bool,
    #[serde(default)]
    pub(super) fuse_unk: bool,
    #[serde(default)]
    pub(super) ignore_merges: bool,
    #[serde(default)]
    unk_token: Option<String>,
    #[serde(default)]
    pub(super) unk_id: Option<u32>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
}

impl ModelKind {
    pub(super) fn is_unigram(&self) -> bool {
        self.kind.as_deref() == Some("Unigram")
    }

    /// The id of `unk_token`, a token of these or an added one.
    pub(super) fn unknown(
        &self,
        entries: &[(Cow<'_, str>, u32)],
        added: &[Added],
    ) -> Result<Option<u32>, LoadError> {
        let Some(text) = self.unk_token.as_deref().filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let entry = entries.iter().find(|(name, _)| name == text);
        let entry = entry.map(|&(_, id)| id);
        let added = || added.iter().find(|token| token.content == text);
        let id = entry.or_else(|| added().map(|token| token.id));
        id.map(Some).ok_or_else(|| {
            error(format!(
                "the unknown token `{}` is not in the vocabulary",
                shown(text)
            ))
        })
    }
}

/// A token of `added_tokens`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Added {
    pub(super) id: u32,
    pub(super) content: String,
    #[serde(default)]
    pub(super) special: bool,
    #[serde(default)]
    pub(super) normalized: bool,
    #[serde(default)]
    pub(super) lstrip: bool,
    #[serde(default)]
    pub(super) rstrip: bool,
    #[serde(default)]
    pub(super) single_word: bool,
}

/// The file's tables, borrowed from it.
#[derive(Deserialize)]
struct Tables<'a> {
    #[serde(borrow)]
    model: BpeTables<'a>,
}

#[derive(Deserialize)]
pub(super) struct BpeTables<'a> {
    #[serde(borrow)]
    vocab: Entries<'a>,
    #[serde(borrow)]
    pub(super) merges: Vec<Rule<'a>>,
}

impl<'a> BpeTables<'a> {
    /// The tables of a file whose model is BPE.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, LoadError> {
        let tables: Tables<'a> = serde_json::from_slice(bytes).map_err(damaged)?;
        Ok(tables.model)
    }

    /// Tokens with their ids.
    pub(super) fn entries(&self) -> &[(Cow<'a, str>, u32)] {
        &self.vocab.0
    }
}

pub(super) fn damaged(error: serde_json::Error) -> LoadError {
    self::error(format!("tokenizer.json is damaged or incomplete: {error}"))
}

/// `bytes` are a `tokenizer.json`, `beside` what lies beside it.
pub(super) fn read(bytes: &[u8], beside: &Beside) -> Result<Parts, LoadError> {
    // The kind first: another model's `vocab` has another type.
    let mut pipeline: Pipeline = serde_json::from_slice(bytes).map_err(damaged)?;
    check_model(&pipeline.model)?;
    if hf_pieces::are_meant(&pipeline) {
        return hf_pieces::read(bytes, pipeline, beside);
    }
    let normal = normalizer(&pipeline.normalizer)?;
    let split = pre_tokenizer(&pipeline.pre_tokenizer)?;
    let tables = BpeTables::parse(bytes)?;
    beside.add_to(&mut pipeline.added_tokens, texts(tables.entries()));

    let names = names(tables.entries(), &pipeline.added_tokens)?;
    let vocab = fill(names.into_iter())?;
    let mut merges = Merges::with_capacity(tables.merges.len());
    let mut scratch = Vec::new();
    for Rule { left, right } in &tables.merges {
        push_merge(left, right, &vocab, &mut merges, &mut scratch)?;
    }
    let model = &pipeline.model;
    let unknown = model.unknown(tables.entries(), &pipeline.added_tokens)?;
    let bpe = ByteBpe::new(&vocab, merges, split, model.ignore_merges, unknown);
    let lead = Lead::Kept;
    finish(pipeline, vocab, normal, Model::Bytes(bpe), lead)
}

/// Tokens' texts and ids.
pub(super) fn texts<'a>(
    entries: &'a [(Cow<'_, str>, u32)],
) -> impl Iterator<Item = (&'a str, u32)> {
    entries.iter().map(|(text, id)| (text.as_ref(), *id))
}

/// The parts of the file that every model has.
pub(super) fn finish(
    pipeline: Pipeline,
    vocab: Vocab,
    normal: Normal,
    model: Model,
    lead: Lead,
) -> Result<Parts, LoadError> {
    let around = post_processor(&pipeline.post_processor, vocab.len())?;
    let (normalized, raw) = pipeline
        .added_tokens
        .into_iter()
        .partition::<Vec<_>, _>(|token| token.normalized);
    let added = |tokens: Vec<Added>, normal: &Normal| {
        let tokens = tokens.into_iter();
        tokens.map(|token| token.into_token(normal)).collect()
    };
    Ok(Parts {
        added: added(raw, &Normal::default()),
        added_normalized: added(normalized, &normal),
        vocab,
        normal,
        model,
        around,
        lead,
    })
}

impl Added {
    /// Without options.
    pub(super) fn plain(id: u32, content: &str, special: bool) -> Self {
        Added {
            id,
            content: content.to_owned(),
            special,
            normalized: false,
            lstrip: false,
            rstrip: false,
            single_word: false,
        }
    }

    /// As it is matched in a text that was brought to this normal form.
    pub(super) fn into_token(self, normal: &Normal) -> AddedToken {
        let Added {
            id,
            content,
            special,
            lstrip,
            rstrip,
            single_word,
            ..
        } = self;
        AddedToken {
            id,
            text: normal.apply(&content, true).into_owned(),
            special,
            lstrip,
            rstrip,
            single_word,
        }
    }
}

fn check_model(model: &ModelKind) -> Result<(), LoadError> {
    let kind = model.kind.as_deref().unwrap_or("BPE");
    if !matches!(kind, "BPE" | "Unigram") {
        return Err(error(format!(
            "tokenizer.json has a `{}` model; supported: `BPE`, `Unigram`",
            shown(kind)
        )));
    }
    for (key, value) in [
        (
            "continuing_subword_prefix",
            &model.continuing_subword_prefix,
        ),
        ("end_of_word_suffix", &model.end_of_word_suffix),
    ] {
        if value.as_deref().is_some_and(|text| !text.is_empty()) {
            return Err(error(format!(
                "tokenizer.json's model has a `{key}`, which is not supported"
            )));
        }
    }
    Ok(())
}

/// The names and kinds of all tokens, in id order.
pub(super) fn names<'a>(
    entries: &'a [(Cow<'_, str>, u32)],
    added: &'a [Added],
) -> Result<Vec<(&'a str, Kind)>, LoadError> {
    let count = entries.len() + added.len();
    let ids = entries
        .iter()
        .map(|&(_, id)| id)
        .chain(added.iter().map(|token| token.id));
    let last = ids.max().map_or(0, |id| id as usize);
    if last >= count + MAX_GAPS {
        return Err(error(format!(
            "a token has the id {last}, but there are only {count} tokens"
        )));
    }
    let mut names: Vec<Option<(&str, Kind)>> = vec![None; if count == 0 { 0 } else { last + 1 }];
    for (name, id) in entries {
        if let Some((other, _)) = names[*id as usize].replace((name, Kind::Normal)) {
            return Err(error(format!(
                "the tokens `{}` and `{}` both have the id {id}",
                shown(other),
                shown(name)
            )));
        }
    }
    for token in added {
        let kind = if token.special {
            Kind::Control
        } else {
            Kind::UserDefined
        };
        match names[token.id as usize].replace((&token.content, kind)) {
            Some((other, _)) if other != token.content => {
                return Err(error(format!(
                    "the tokens `{}` and `{}` both have the id {}",
                    shown(other),
                    shown(&token.content),
                    token.id
                )));
            }
            _ => {}
        }
    }
    let unused = ("", Kind::Unused);
    Ok(names
        .into_iter()
        .map(|name| name.unwrap_or(unused))
        .collect())
}

/// The vocabulary of tokens given in id order, as names in byte characters (added tokens: as text).
pub(super) fn fill<'a>(
    names: impl ExactSizeIterator<Item = (&'a str, Kind)>,
) -> Result<Vocab, LoadError> {
    let mut vocab = Vocab::default();
    // Which tokens merges can make: those whose name stands for bytes.
    let mut plain = vec![false; names.len()];
    let mut bytes = Vec::new();
    for (id, (name, kind)) in names.enumerate() {
        bytes.clear();
        plain[id] = kind != Kind::Unused
            && byte_chars::push_bytes(name, &mut bytes)
            // An added token is its text, which need not be what the same name would stand for.
            && (kind == Kind::Normal || bytes == name.as_bytes());
        vocab.push(if plain[id] { &bytes } else { name.as_bytes() }, kind)?;
    }
    vocab.index(|id| plain[id as usize]);
    Ok(vocab)
}

/// Append the rule that merges two tokens, given by name. A rule that would make a special token
/// out of ordinary text is left out.
pub(super) fn push_merge(
    left: &str,
    right: &str,
    vocab: &Vocab,
    merges: &mut Merges,
    scratch: &mut Vec<u8>,
) -> Result<(), LoadError> {
    let absent = || {
        error(format!(
            "the merge `{} {}` names or makes a token that is not in the vocabulary",
            shown(left),
            shown(right)
        ))
    };
    scratch.clear();
    let written = byte_chars::push_bytes(left, scratch);
    let middle = scratch.len();
    if !written || !byte_chars::push_bytes(right, scratch) {
        return Err(absent());
    }
    let id = |bytes: &[u8]| vocab.id_of(bytes).ok_or_else(absent);
    let merged = id(scratch)?;
    if vocab.kind(merged) != Some(Kind::Control) {
        merges.push(id(&scratch[..middle])?, id(&scratch[middle..])?, merged);
    }
    Ok(())
}

/// A string, borrowed from the file where it holds no escapes.
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// `vocab`: an object of token to id.
struct Entries<'a>(Vec<(Cow<'a, str>, u32)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;
        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of token to id")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some((Text(name), id)) = map.next_entry()? {
                    entries.push((name, id));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(EntriesVisitor)
    }
}

/// A merge: `"left right"`, or since version 0.20 of the library `["left", "right"]`.
pub(super) struct Rule<'a> {
    pub(super) left: Cow<'a, str>,
    pub(super) right: Cow<'a, str>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Rule<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RuleVisitor;
        impl<'de> Visitor<'de> for RuleVisitor {
            type Value = Rule<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`left right` or [left, right]")
            }
            fn visit_borrowed_str<E: serde::de::Error>(
                self,
                text: &'de str,
            ) -> Result<Rule<'de>, E> {
                let (left, right) = text.split_once(' ').ok_or_else(|| {
                    E::custom(format!("the merge `{}` has no space", shown(text)))
                })?;
                Ok(Rule {
                    left: Cow::Borrowed(left),
                    right: Cow::Borrowed(right),
                })
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Rule<'de>, E> {
                let (left, right) = text.split_once(' ').ok_or_else(|| {
                    E::custom(format!("the merge `{}` has no space", shown(text)))
                })?;
                Ok(Rule {
                    left: Cow::Owned(left.to_owned()),
                    right: Cow::Owned(right.to_owned()),
                })
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Rule<'de>, A::Error> {
                match (
                    seq.next_element()?,
                    seq.next_element()?,
                    seq.next_element::<Text<'_>>()?,
                ) {
                    (Some(Text(left)), Some(Text(right)), None) => Ok(Rule { left, right }),
                    _ => Err(A::Error::custom("a merge is not of two tokens")),
                }
            }
        }
        deserializer.deserialize_any(RuleVisitor)
    }
}
