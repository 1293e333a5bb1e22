//! Reading a `tokenizer.model` (google/sentencepiece, `sentencepiece_model.proto`): pieces with
//! scores, and the rules of the normal form.

mod wire;

use std::collections::HashSet;

use super::beside::Beside;
use super::hf::{Added, error, shown};
use super::hf_pieces;
use super::lead::Lead;
use super::normal::{Charsmap, Normal, Prefix, SentencePiece, Step};
use super::pieces::{Algorithm, Pieces, Rules, Unigram};
use super::pipeline::Around;
use super::vocab::{Kind, MAX_TOKENS};
use super::{Model, Parts};
use crate::error::LoadError;
use wire::{Value, fields};

/// `ModelProto`, as far as it is read.
#[derive(Debug, Default)]
struct Proto<'a> {
    pieces: Vec<Piece<'a>>,
    trainer: Trainer,
    normalizer: Normalizer<'a>,
}

/// `SentencePiece`.
#[derive(Clone, Copy, Debug)]
struct Piece<'a> {
    text: &'a str,
    score: f32,
    kind: u64,
}

const UNKNOWN: u64 = 2;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;
const UNUSED: u64 = 5;
const BYTE: u64 = 6;

/// `TrainerSpec`: ids that are negative there are none.
#[derive(Debug)]
struct Trainer {
    model_type: u64,
    byte_fallback: bool,
    whitespace_as_suffix: bool,
    bos: Option<u32>,
    eos: Option<u32>,
}

impl Default for Trainer {
    fn default() -> Self {
        Trainer {
            model_type: UNIGRAM,
            byte_fallback: false,
            whitespace_as_suffix: false,
            bos: Some(1),
            eos: Some(2),
        }
    }
}

const UNIGRAM: u64 = 1;
const BPE: u64 = 2;

/// `NormalizerSpec`.
#[derive(Debug)]
struct Normalizer<'a> {
    charsmap: &'a [u8],
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    escape_whitespaces: bool,
}

impl Default for Normalizer<'_> {
    fn default() -> Self {
        Normalizer {
            charsmap: &[],
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            escape_whitespaces: true,
        }
    }
}

/// True if these bytes begin as a `tokenizer.model` does: with a piece.
pub(super) fn begins(bytes: &[u8]) -> bool {
    matches!(fields(bytes).next(), Some(Some((1, Value::Bytes(_)))))
}

/// `bytes` are a `tokenizer.model`, `beside` what lies beside it.
pub(super) fn read(bytes: &[u8], beside: &Beside) -> Result<Parts, LoadError> {
    let Some(proto) = Proto::parse(bytes).filter(|_| begins(bytes)) else {
        return Err(error(
            "tokenizer.model is damaged or incomplete: download it again",
        ));
    };
    proto.check()?;
    let unknown = proto.pieces.iter().position(|piece| piece.kind == UNKNOWN);
    let mut added: Vec<Added> = (proto.pieces.iter().zip(0..))
        .filter(|(piece, _)| piece.kind == CONTROL || piece.kind == UNKNOWN)
        .map(|(piece, id)| Added::plain(id, piece.text, true))
        .collect();
    let own = proto.pieces.iter().map(|piece| piece.text).zip(0..);
    beside.add_to(&mut added, own);

    let mut names: Vec<(&str, Kind)> = proto.pieces.iter().map(Piece::name).collect();
    for token in &added {
        let at = token.id as usize;
        if at >= names.len() + MOST_ADDED {
            return Err(error(format!(
                "an added token has the id {at}, but there are only {} pieces",
                proto.pieces.len()
            )));
        }
        let kind = if token.special {
            Kind::Control
        } else {
            Kind::UserDefined
        };
        if at >= names.len() {
            names.resize(at + 1, ("", Kind::Unused));
        }
        names[at] = (&token.content, kind);
    }
    let user_defined = |(piece, id): (&Piece<'_>, u32)| {
        (piece.kind == USER_DEFINED).then(|| Added::plain(id, piece.text, false))
    };
    let user_defined: Vec<Added> = proto
        .pieces
        .iter()
        .zip(0..)
        .filter_map(user_defined)
        .collect();
    let byte_fallback = proto.trainer.byte_fallback;
    let vocab = hf_pieces::fill(names.iter().copied(), byte_fallback)?;

    let normal = proto.normal(beside, &user_defined)?;
    let rules = Rules {
        words: None,
        byte_fallback,
        unknown: unknown.map(|id| id as u32),
        fuse_unknown: true,
    };
    let mut scores: Vec<f32> = proto.pieces.iter().map(|piece| piece.score).collect();
    scores.resize(vocab.len(), 0.0);
    let algorithm = if proto.trainer.model_type == BPE {
        Algorithm::Scores(scores)
    } else {
        let ordinary = proto.pieces.iter().filter(|piece| piece.kind == 1);
        let lowest = ordinary.map(|piece| piece.score).fold(f32::MAX, f32::min);
        let scores = scores.into_iter().map(f64::from).collect();
        Algorithm::Unigram(Unigram::new(&vocab, scores, true, lowest.into()))
    };
    let pieces = Pieces::new(&vocab, algorithm, rules);

    // transformers puts the beginning before a text unless it is told not to.
    let one = |id: Option<u32>, wanted: bool| {
        let id = id.filter(|&id| wanted && (id as usize) < proto.pieces.len());
        id.into_iter().collect()
    };
    let around = Around {
        prefix: one(
            proto.trainer.bos,
            beside.flag("add_bos_token") != Some(false),
        ),
        suffix: one(
            proto.trainer.eos,
            beside.flag("add_eos_token") == Some(true),
        ),
    };
    let prefix = beside.flag("add_prefix_space");
    let prefix = prefix.unwrap_or(proto.normalizer.add_dummy_prefix);
    let lead = match (proto.normalizer.remove_extra_whitespaces, prefix) {
        (true, _) => Lead::Taken(usize::MAX),
        (false, true) => Lead::Taken(1),
        (false, false) => Lead::Kept,
    };
    // A token of the user's definition is one in the normal form, unless the files beside say else.
    let described: HashSet<u32> = added.iter().map(|token| token.id).collect();
    let in_normal_form = |token: &Added| !described.contains(&token.id);
    let (normalized, raw): (Vec<_>, Vec<_>) = added.into_iter().partition(|token| token.normalized);
    let normalized = normalized.into_iter().map(|token| {
        let mut token = token.into_token(&Normal::default());
        // The prefix is put before texts, not before tokens.
        token.text = normal.characters(&token.text).into_owned();
        token
    });
    let user_defined = user_defined.into_iter().filter(in_normal_form);
    let spaces = Normal {
        steps: vec![Step::Spaces],
    };
    let user_defined = user_defined.map(|token| token.into_token(&spaces));
    Ok(Parts {
        added_normalized: normalized.chain(user_defined).collect(),
        added: raw
            .into_iter()
            .map(|token| token.into_token(&Normal::default()))
            .collect(),
        vocab,
        normal,
        model: Model::Pieces(pieces),
        around,
        lead,
    })
}

/// Ids of added tokens beyond the pieces at most.
const MOST_ADDED: usize = 1 << 16;

impl<'a> Piece<'a> {
    fn parse(message: &'a [u8]) -> Option<Self> {
        let mut piece = Piece {
            text: "",
            score: 0.0,
            kind: 1,
        };
        for field in fields(message) {
            match field? {
                (1, text) => piece.text = text.text()?,
                (2, score) => piece.score = score.float().filter(|score| score.is_finite())?,
                (3, kind) => piece.kind = kind.varint().filter(|kind| (1..=BYTE).contains(kind))?,
                _ => {}
            }
        }
        Some(piece)
    }

    fn name(&self) -> (&'a str, Kind) {
        let kind = match self.kind {
            UNKNOWN | CONTROL => Kind::Control,
            USER_DEFINED => Kind::UserDefined,
            UNUSED => Kind::Unused,
            BYTE => Kind::Byte,
            _ => Kind::Normal,
        };
        (self.text, kind)
    }
}

impl<'a> Proto<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut proto = Proto::default();
        for field in fields(bytes) {
            match field? {
                (1, _) if proto.pieces.len() >= MAX_TOKENS => return None,
                (1, piece) => proto.pieces.push(Piece::parse(piece.bytes()?)?),
                (2, trainer) => proto.trainer.merge(trainer.bytes()?)?,
                (3, normalizer) => proto.normalizer.merge(normalizer.bytes()?)?,
                _ => {}
            }
        }
        Some(proto)
    }

    fn check(&self) -> Result<(), LoadError> {
        let model_type = self.trainer.model_type;
        if !matches!(model_type, UNIGRAM | BPE) {
            let name = ["", "", "", "WORD", "CHAR"]
                .get(model_type as usize)
                .copied();
            let name = name.unwrap_or("unknown");
            return Err(error(format!(
                "tokenizer.model has the model type {name} ({model_type}); supported: UNIGRAM, BPE. Take the \
                 model's tokenizer.json, if that has a `BPE` or `Unigram` model"
            )));
        }
        for (what, refused) in [
            (
                "treat_whitespace_as_suffix",
                self.trainer.whitespace_as_suffix,
            ),
            ("no escape_whitespaces", !self.normalizer.escape_whitespaces),
        ] {
            if refused {
                return Err(error(format!(
                    "tokenizer.model has {what}, which is not supported"
                )));
            }
        }
        // Merges of BPE may pass through one and are undone at the end.
        let unused =
            |piece: &&Piece<'_>| piece.kind == UNUSED && piece.text.chars().nth(1).is_some();
        if model_type == BPE
            && let Some(piece) = self.pieces.iter().find(unused)
        {
            return Err(error(format!(
                "the piece `{}` of tokenizer.model is unused, and merges may pass through it, which is not \
                 supported: take the tokenizer.json of the same model",
                shown(piece.text)
            )));
        }
        let bytes = || self.pieces.iter().filter(|piece| piece.kind == BYTE);
        if let Some(odd) = bytes().find(|piece| hf_pieces::byte_of(piece.text).is_none()) {
            let odd = shown(odd.text);
            return Err(error(format!(
                "the piece `{odd}` is typed as a byte and names none"
            )));
        }
        Ok(())
    }

    fn normal(&self, beside: &Beside, user_defined: &[Added]) -> Result<Normal, LoadError> {
        let Normalizer {
            charsmap,
            add_dummy_prefix,
            remove_extra_whitespaces,
            ..
        } = self.normalizer;
        let charsmap = match charsmap {
            [] => None,
            bytes => Some(Charsmap::parse(bytes).ok_or_else(|| {
                error("tokenizer.model's `precompiled_charsmap` is damaged: download it again")
            })?),
        };
        // transformers, by `legacy`: before the whole text, or before each that follows a token.
        let prefix = match (
            beside.flag("add_prefix_space").unwrap_or(add_dummy_prefix),
            beside.flag("legacy"),
        ) {
            (false, _) => Prefix::Never,
            (true, Some(true)) => Prefix::Always,
            (true, _) => Prefix::First,
        };
        let kept = if charsmap.is_some() {
            user_defined
        } else {
            &[]
        };
        let none = Normal::default();
        let kept: Vec<_> = kept
            .iter()
            .map(|token| token.clone().into_token(&none))
            .collect();
        let rules = SentencePiece {
            charsmap,
            remove_extra_whitespace: remove_extra_whitespaces,
            prefix,
            kept: kept.into(),
        };
        Ok(Normal {
            steps: vec![Step::SentencePiece(rules)],
        })
    }
}

impl Trainer {
    fn merge(&mut self, message: &[u8]) -> Option<()> {
        for field in fields(message) {
            match field? {
                (3, value) => self.model_type = value.varint()?,
                (24, value) => self.whitespace_as_suffix = value.flag()?,
                (35, value) => self.byte_fallback = value.flag()?,
                (41, value) => self.bos = value.id(),
                (42, value) => self.eos = value.id(),
                _ => {}
            }
        }
        Some(())
    }
}

impl<'a> Normalizer<'a> {
    fn merge(&mut self, message: &'a [u8]) -> Option<()> {
        for field in fields(message) {
            match field? {
                (2, value) => self.charsmap = value.bytes()?,
                (3, value) => self.add_dummy_prefix = value.flag()?,
                (4, value) => self.remove_extra_whitespaces = value.flag()?,
                (5, value) => self.escape_whitespaces = value.flag()?,
                _ => {}
            }
        }
        Some(())
    }
}
