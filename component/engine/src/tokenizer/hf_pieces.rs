//! Reading a `tokenizer.json` whose vocabulary is of SentencePiece's kind: BPE over characters,
//! with bytes for unknown ones (Llama 2, Gemma), and unigram (T5 and what SentencePiece trains
//! itself).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::beside::Beside;
use super::bpe::Merges;
use super::hf::{self, BpeTables, Pipeline, Rule, Text, error, shown};
use super::lead::Lead;
use super::normal::{Charsmap, Normal, Prefix, SPACE_SIGN, Step};
use super::pieces::{Algorithm, Pieces, Rules, Unigram, Words};
use super::pipeline::{kind_of, steps, unicode_form};
use super::vocab::{Kind, Vocab};
use super::{Model, Parts};
use crate::error::LoadError;

/// Bytes of an ordinary piece at most: what is looked up at each place of a text.
const MAX_PIECE: usize = 1024;

/// True if a file's vocabulary holds pieces of text and not of bytes.
pub(super) fn are_meant(pipeline: &Pipeline) -> bool {
    let model = &pipeline.model;
    let normalizes = steps(&pipeline.normalizer, "normalizers")
        .iter()
        .any(|step| matches!(kind_of(step), "Prepend" | "Replace"));
    let cuts = steps(&pipeline.pre_tokenizer, "pretokenizers")
        .iter()
        .any(|step| kind_of(step) == "Metaspace");
    model.is_unigram() || model.byte_fallback || normalizes || cuts
}

/// The file's tables where its model is unigram, borrowed from it.
#[derive(Deserialize)]
struct Tables<'a> {
    #[serde(borrow)]
    model: Scores<'a>,
}

#[derive(Deserialize)]
struct Scores<'a> {
    #[serde(borrow)]
    vocab: Vec<(Text<'a>, f64)>,
}

pub(super) fn read(
    bytes: &[u8],
    mut pipeline: Pipeline,
    beside: &Beside,
) -> Result<Parts, LoadError> {
    let normal = normalizer(&pipeline.normalizer)?;
    let words = pre_tokenizer(&pipeline.pre_tokenizer, &normal)?;
    let lead = Lead::from_decoder(&pipeline.decoder)?;
    let byte_fallback = pipeline.model.byte_fallback;
    let (vocab, pieces) = if pipeline.model.is_unigram() {
        let tables: Tables<'_> = serde_json::from_slice(bytes).map_err(hf::damaged)?;
        let table = tables.model.vocab;
        let scores: Vec<f64> = table.iter().map(|&(_, score)| score).collect();
        let texts = table.into_iter().zip(0..);
        let entries: Vec<_> = texts.map(|((Text(text), _), id)| (text, id)).collect();
        beside.add_to(&mut pipeline.added_tokens, hf::texts(&entries));
        let names = hf::names(&entries, &pipeline.added_tokens)?;
        let vocab = fill(names.into_iter(), byte_fallback)?;
        let unknown = pipeline.model.unk_id;
        if unknown.is_some_and(|id| id as usize >= entries.len()) {
            return Err(error("tokenizer.json's `unk_id` is not in the vocabulary"));
        }
        let lowest = scores.iter().copied().fold(f64::INFINITY, f64::min);
        let rules = Rules {
            words,
            byte_fallback,
            unknown,
            fuse_unknown: true,
        };
        let unigram = Unigram::new(&vocab, scores, false, lowest);
        let pieces = Pieces::new(&vocab, Algorithm::Unigram(unigram), rules);
        (vocab, pieces)
    } else {
        let tables = BpeTables::parse(bytes)?;
        beside.add_to(&mut pipeline.added_tokens, hf::texts(tables.entries()));
        let names = hf::names(tables.entries(), &pipeline.added_tokens)?;
        let vocab = fill(names.into_iter(), byte_fallback)?;
        let rules = tables.merges.iter();
        let merges = merges(
            rules.map(|Rule { left, right }| (&**left, &**right)),
            &vocab,
        )?;
        let model = &pipeline.model;
        let rules = Rules {
            words,
            byte_fallback,
            unknown: model.unknown(tables.entries(), &pipeline.added_tokens)?,
            fuse_unknown: model.fuse_unk,
        };
        let whole = model.ignore_merges;
        let pieces = Pieces::new(&vocab, Algorithm::Rules { merges, whole }, rules);
        (vocab, pieces)
    };
    hf::finish(pipeline, vocab, normal, Model::Pieces(pieces), lead)
}

fn normalizer(part: &Value) -> Result<Normal, LoadError> {
    let space = SPACE_SIGN.to_string();
    let step = |step: &&Value| {
        let kind = kind_of(step);
        let (from, to) = (&step["pattern"], step["content"].as_str());
        Ok(match kind {
            "Nmt" => Step::Nmt,
            "Prepend" => Step::Prepend(step["prepend"].as_str().unwrap_or_default().into()),
            "Replace" if from["String"] == " " && to == Some(&space) => Step::Spaces,
            "Replace" if from["Regex"] == " {2,}" && to == Some(" ") => Step::OneSpace,
            "Replace" if from["Regex"] == " {2,}" && to == Some(&space) => Step::OneSign,
            "Strip" => Step::Strip {
                left: step["strip_left"].as_bool().unwrap_or(true),
                right: step["strip_right"].as_bool().unwrap_or(true),
            },
            "Precompiled" => Step::Precompiled(charsmap(&step["precompiled_charsmap"])?),
            kind => unicode_form(kind).ok_or_else(|| {
                let step = shown(&step.to_string());
                error(format!(
                    "tokenizer.json has the normalizer `{step}`; supported beside pieces: `NFC`, `NFD`, `NFKC`, \
                     `NFKD`, `Nmt`, `Precompiled`, `Strip`, `Prepend`, `Replace` of a space by `▁` or of \
                     ` {{2,}}` by either"
                ))
            })?,
        })
    };
    let steps = steps(part, "normalizers")
        .iter()
        .map(step)
        .collect::<Result<_, LoadError>>()?;
    Ok(Normal { steps })
}

/// The table of a `Precompiled` normalizer, which is base64.
fn charsmap(text: &Value) -> Result<Charsmap, LoadError> {
    let bytes = text
        .as_str()
        .and_then(|text| BASE64_STANDARD.decode(text).ok());
    let table = bytes.and_then(|bytes| Charsmap::parse(&bytes));
    table.ok_or_else(|| {
        error(
            "tokenizer.json's `precompiled_charsmap` is damaged: download the file again, or take the \
             `tokenizer.model` of the same model and this file away from beside it",
        )
    })
}

/// How words are cut; `None` where a text merges as a whole.
fn pre_tokenizer(part: &Value, normal: &Normal) -> Result<Option<Words>, LoadError> {
    let spaces = normal.steps.contains(&Step::Spaces);
    let steps = steps(part, "pretokenizers");
    let (whitespace_vanishes, rest) = match &steps[..] {
        [first, rest @ ..] if kind_of(first) == "WhitespaceSplit" => (true, rest),
        rest => (false, rest),
    };
    let metaspace = match rest {
        // Of a text whose spaces are `▁`, nothing is cut at a space.
        [] if spaces && !whitespace_vanishes => return Ok(None),
        [only] if spaces && !whitespace_vanishes && only["pattern"]["String"] == " " => {
            return Ok(None);
        }
        [only] if kind_of(only) == "Metaspace" => only,
        _ => {
            let described = shown(&part.to_string());
            return Err(error(format!(
                "tokenizer.json has the pre-tokenizer `{described}`; supported beside pieces: `Metaspace`, after \
                 `WhitespaceSplit` or not, and none where the normalizer has `Replace` of a space by `▁`"
            )));
        }
    };
    if metaspace["replacement"].as_str() != Some(&SPACE_SIGN.to_string()) {
        return Err(error(
            "tokenizer.json's `Metaspace` must have the replacement `▁`",
        ));
    }
    let prefix = match metaspace["prepend_scheme"].as_str() {
        Some("always") => Prefix::Always,
        Some("first") => Prefix::First,
        Some("never") => Prefix::Never,
        None if metaspace["add_prefix_space"] == false => Prefix::Never,
        None => Prefix::Always,
        Some(other) => {
            let other = shown(other);
            return Err(error(format!(
                "tokenizer.json's `Metaspace` has the prepend_scheme `{other}`; supported: `always`, `first`, `never`"
            )));
        }
    };
    Ok(Some(Words {
        prefix,
        each_space: metaspace["split"].as_bool().unwrap_or(true),
        whitespace_vanishes,
    }))
}

/// The vocabulary of pieces given in id order, a space written as [`SPACE_SIGN`].
pub(super) fn fill<'a>(
    names: impl Iterator<Item = (&'a str, Kind)>,
    byte_fallback: bool,
) -> Result<Vocab, LoadError> {
    let mut vocab = Vocab::default();
    let mut bytes = Vec::new();
    for (name, kind) in names {
        bytes.clear();
        match kind {
            Kind::Normal | Kind::Byte if byte_fallback => match byte_of(name) {
                Some(byte) => {
                    vocab.push(&[byte], Kind::Byte)?;
                    continue;
                }
                None => push_bytes(name, &mut bytes),
            },
            Kind::Normal | Kind::UserDefined => push_bytes(name, &mut bytes),
            Kind::Control | Kind::Unused | Kind::Byte => bytes.extend_from_slice(name.as_bytes()),
        }
        if kind == Kind::Normal && bytes.len() > MAX_PIECE {
            return Err(error(format!(
                "the piece `{}` has {} bytes; at most {MAX_PIECE} are supported",
                shown(name),
                bytes.len()
            )));
        }
        vocab.push(&bytes, kind)?;
    }
    let kinds: Vec<_> = (0..vocab.len() as u32).map(|id| vocab.kind(id)).collect();
    vocab.index(|id| !matches!(kinds[id as usize], Some(Kind::Byte | Kind::Unused)));
    Ok(vocab)
}

/// The byte that `<0x0A>` stands for.
pub(super) fn byte_of(name: &str) -> Option<u8> {
    let digits = name.strip_prefix("<0x")?.strip_suffix('>')?;
    let upper = |c: u8| c.is_ascii_digit() || (b'A'..=b'F').contains(&c);
    let right = digits.len() == 2 && digits.bytes().all(upper);
    right.then(|| u8::from_str_radix(digits, 16).ok())?
}

/// Append the text that a piece stands for.
fn push_bytes(name: &str, out: &mut Vec<u8>) {
    for (at, part) in name.split(SPACE_SIGN).enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(part.as_bytes());
    }
}

/// Rules in the order of their ranks, each of two pieces by name. One that would make a marker out
/// of ordinary text is left out: where it counts as one, it is cut out before anything merges.
pub(super) fn merges<'a>(
    rules: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
    vocab: &Vocab,
) -> Result<Merges, LoadError> {
    let mut merges = Merges::with_capacity(rules.len());
    let mut text = Vec::new();
    for (left, right) in rules {
        text.clear();
        push_bytes(left, &mut text);
        let middle = text.len();
        push_bytes(right, &mut text);
        let id = |bytes: &[u8]| {
            vocab.id_of(bytes).ok_or_else(|| {
                error(format!(
                    "the merge `{} {}` names or makes a token that is not in the vocabulary",
                    shown(left),
                    shown(right)
                ))
            })
        };
        let merged = id(&text)?;
        // Runs of spaces are some vocabularies' own added tokens, and merge.
        let marker = match vocab.kind(merged) {
            Some(Kind::UserDefined) => text.iter().any(u8::is_ascii_alphanumeric),
            kind => kind == Some(Kind::Control),
        };
        if !marker {
            merges.push(id(&text[..middle])?, id(&text[middle..])?, merged);
        }
    }
    Ok(merges)
}
