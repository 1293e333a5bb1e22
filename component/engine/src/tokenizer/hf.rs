//! Reading Hugging Face's `tokenizer.json` (huggingface/tokenizers).
//!
//! The file describes a pipeline of any shape; what is supported is the shape byte-level BPE models
//! have. Anything else is refused by name, since ignoring a step would give other tokens without a
//! word.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use unicode_normalization::UnicodeNormalization;

use super::added::AddedToken;
use super::beside::Beside;
use super::bpe::Merges;
use super::pipeline::{normalizer, post_processor, pre_tokenizer};
use super::vocab::{Kind, Vocab};
use super::{Parts, byte_chars};
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
struct Pipeline {
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    model: ModelKind,
}

#[derive(Deserialize)]
struct ModelKind {
    /// Absent from files older than the field, which are BPE.
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    #[serde(default)]
    unk_token: Option<String>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
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
    model: Model<'a>,
}

#[derive(Deserialize)]
struct Model<'a> {
    #[serde(borrow)]
    vocab: Entries<'a>,
    #[serde(borrow)]
    merges: Vec<Rule<'a>>,
}

/// `bytes` are a `tokenizer.json`, `beside` what lies beside it.
pub(super) fn read(bytes: &[u8], beside: &Beside) -> Result<Parts, LoadError> {
    let damaged =
        |e: serde_json::Error| error(format!("tokenizer.json is damaged or incomplete: {e}"));
    // The kind first: another model's `vocab` has another type.
    let mut pipeline: Pipeline = serde_json::from_slice(bytes).map_err(damaged)?;
    let model = &pipeline.model;
    check_model(model)?;
    let nfc = normalizer(&pipeline.normalizer)?;
    let split = pre_tokenizer(&pipeline.pre_tokenizer)?;
    let tables: Tables<'_> = serde_json::from_slice(bytes).map_err(damaged)?;
    let entries = tables.model.vocab.0.iter();
    let entries = entries.map(|(text, id)| (text.as_ref(), *id));
    beside.add_to(&mut pipeline.added_tokens, entries);

    let vocab = vocabulary(&tables.model.vocab.0, &pipeline.added_tokens)?;
    let mut merges = Merges::with_capacity(tables.model.merges.len());
    let mut scratch = Vec::new();
    for Rule { left, right } in &tables.model.merges {
        push_merge(left, right, &vocab, &mut merges, &mut scratch)?;
    }
    let unknown = match model.unk_token.as_deref().filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => {
            let entry = tables
                .model
                .vocab
                .0
                .iter()
                .find(|(name, _)| name == text)
                .map(|&(_, id)| id);
            let added = || {
                pipeline
                    .added_tokens
                    .iter()
                    .find(|token| token.content == text)
                    .map(|token| token.id)
            };
            Some(entry.or_else(added).ok_or_else(|| {
                error(format!(
                    "the unknown token `{}` is not in the vocabulary",
                    shown(text)
                ))
            })?)
        }
    };
    let around = post_processor(&pipeline.post_processor, vocab.len())?;
    let (normalized, raw) = pipeline
        .added_tokens
        .into_iter()
        .partition::<Vec<_>, _>(|token| token.normalized);
    let added = |tokens: Vec<Added>, nfc: bool| {
        tokens
            .into_iter()
            .map(|token| token.into_token(nfc))
            .collect()
    };
    Ok(Parts {
        vocab,
        merges,
        added: added(raw, false),
        added_normalized: added(normalized, nfc),
        split,
        ignore_merges: model.ignore_merges,
        nfc,
        unknown,
        around,
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

    fn into_token(self, nfc: bool) -> AddedToken {
        let Added {
            id,
            content,
            special,
            lstrip,
            rstrip,
            single_word,
            ..
        } = self;
        let text = if nfc {
            content.nfc().collect()
        } else {
            content
        };
        AddedToken {
            id,
            text,
            special,
            lstrip,
            rstrip,
            single_word,
        }
    }
}

fn check_model(model: &ModelKind) -> Result<(), LoadError> {
    let kind = model.kind.as_deref().unwrap_or("BPE");
    if kind != "BPE" {
        return Err(error(format!(
            "tokenizer.json has a `{}` model; only byte-level `BPE` is supported",
            shown(kind)
        )));
    }
    if model.byte_fallback {
        return Err(error(
            "tokenizer.json is sentencepiece-style BPE (`byte_fallback`); only byte-level BPE is supported",
        ));
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
                "tokenizer.json's model has a `{key}`; only byte-level BPE, which has none, is supported"
            )));
        }
    }
    Ok(())
}

/// All tokens in id order; those written in byte characters indexed.
fn vocabulary(entries: &[(Cow<'_, str>, u32)], added: &[Added]) -> Result<Vocab, LoadError> {
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
    fill(
        names
            .into_iter()
            .map(|name| name.unwrap_or(("", Kind::Unused))),
    )
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
struct Text<'a>(Cow<'a, str>);

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
struct Rule<'a> {
    left: Cow<'a, str>,
    right: Cow<'a, str>,
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
