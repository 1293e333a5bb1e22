//! A vocabulary of SentencePiece's kind in GGUF's keys (llama.cpp, `llama-vocab.cpp`: `SPM`,
//! `UGM`).

use serde::{Deserialize, Serialize};

use super::added::{AddedToken, AddedTokens};
use super::gguf::{More, added, around, bad_more, halves};
use super::hf::error;
use super::hf_pieces;
use super::lead::Lead;
use super::normal::{Charsmap, Normal, Prefix, SPACE_SIGN, SentencePiece, Step};
use super::pieces::{Algorithm, Pieces, Rules, Unigram};
use super::vocab::Kind;
use super::{GgufTokenizer, Model, Parts, Tokenizer};
use crate::error::LoadError;

/// What GGUF has no keys for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MorePieces {
    rules: Rules,
    by: By,
    normal: Normal,
    lead: Lead,
    /// Scores that are no f32. `[vocab]`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scores: Option<Vec<f64>>,
}

/// How a text becomes pieces.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum By {
    /// By the merges; `whole` where a word that is a piece is taken as it is.
    Merges {
        whole: bool,
    },
    Scores,
    Unigram {
        /// Sums are rounded to f32.
        single: bool,
        /// The worst piece's score; `None`: to be sought.
        lowest: Option<f64>,
    },
}

const UNIGRAM: &str = "t5";

pub(super) fn read(meta: &GgufTokenizer, mut more: More) -> Result<Parts, LoadError> {
    let own = more.pieces.take();
    let foreign = own.is_none();
    let MorePieces {
        rules,
        by,
        normal,
        lead,
        scores: exact,
    } = match own {
        Some(own) => own.with_charsmap(&meta.charsmap)?,
        None => implied(meta)?,
    };
    let kinds = (0..meta.tokens.len()).map(|id| meta.kind(id));
    let names = meta.tokens.iter().map(String::as_str).zip(kinds);
    let vocab = hf_pieces::fill(names, rules.byte_fallback)?;
    if rules.unknown.is_some_and(|id| id as usize >= vocab.len()) {
        return Err(error(
            "`tokenizer.ggml.unknown_token_id` is not in the vocabulary",
        ));
    }
    let scores = || {
        if meta.scores.len() != vocab.len() {
            return Err(error(format!(
                "`tokenizer.ggml.scores` has {} entries for {} tokens",
                meta.scores.len(),
                vocab.len()
            )));
        }
        match meta.scores.iter().position(|score| !score.is_finite()) {
            Some(id) => Err(error(format!(
                "the score of token {id} is {}",
                meta.scores[id]
            ))),
            None => Ok(meta.scores.clone()),
        }
    };
    let algorithm = match by {
        By::Merges { whole } => {
            let rules = meta.merges.iter().map(|rule| halves(rule));
            let rules = rules.collect::<Result<Vec<_>, _>>()?;
            let merges = hf_pieces::merges(rules.into_iter(), &vocab)?;
            Algorithm::Rules { merges, whole }
        }
        By::Scores => Algorithm::Scores(scores()?),
        By::Unigram { single, lowest } => {
            let scores = match exact {
                Some(exact) if exact.len() == vocab.len() => exact,
                Some(_) => return Err(bad_more("has another number of scores than of tokens")),
                None => scores()?.into_iter().map(f64::from).collect(),
            };
            let counts = |id: u32| vocab.kind(id) == Some(Kind::Normal);
            let counted = scores.iter().zip(0..).filter(|&(_, id)| counts(id));
            let lowest = lowest.or_else(|| counted.map(|(&score, _)| score).reduce(f64::min));
            let lowest = lowest.unwrap_or(0.0);
            Algorithm::Unigram(Unigram::new(&vocab, scores, single, lowest))
        }
    };
    let pieces = Pieces::new(&vocab, algorithm, rules);
    let (added_normalized, added) = added(meta, &more, |token, normalized| {
        match_as(token, normalized, foreign, &normal)
    });
    Ok(Parts {
        around: around(meta, more, meta.model != UNIGRAM, vocab.len())?,
        vocab,
        added,
        added_normalized,
        normal,
        model: Model::Pieces(pieces),
        lead,
    })
}

/// An added token with the text that it is matched by, and whether in the normal form.
fn match_as(
    mut token: AddedToken,
    normalized: bool,
    foreign: bool,
    normal: &Normal,
) -> (AddedToken, bool) {
    let spaces = Normal {
        steps: vec![Step::Spaces],
    };
    let sentencepiece = |step: &Step| matches!(step, Step::SentencePiece(_));
    // In other programs' files spaces are a vocabulary's own tokens, with `▁` or without.
    let own_spaces = foreign && !token.special && token.text.contains([' ', SPACE_SIGN]);
    let form = if own_spaces || (normalized && normal.steps.iter().any(sentencepiece)) {
        &spaces
    } else if normalized {
        normal
    } else {
        return (token, false);
    };
    token.text = form.apply(&token.text, true).into_owned();
    (token, true)
}

/// What another program's file implies.
fn implied(meta: &GgufTokenizer) -> Result<MorePieces, LoadError> {
    let types = &meta.token_types;
    let typed = |ty: i32| types.iter().position(|&it| it == ty).map(|id| id as u32);
    let names = || {
        meta.tokens
            .iter()
            .filter_map(|name| hf_pieces::byte_of(name))
    };
    let prefix = match meta.add_space_prefix {
        Some(true) => Prefix::Always,
        Some(false) => Prefix::Never,
        None if meta.model == "gemma" => Prefix::Never,
        None => Prefix::Always,
    };
    let remove_extra_whitespace = meta.remove_extra_whitespaces.unwrap_or(false);
    let rules = SentencePiece {
        charsmap: None,
        remove_extra_whitespace,
        prefix,
        kept: kept(meta),
    };
    let by = if meta.model == UNIGRAM {
        By::Unigram {
            single: true,
            lowest: None,
        }
    } else if !meta.scores.is_empty() {
        By::Scores
    } else if !meta.merges.is_empty() {
        By::Merges { whole: false }
    } else {
        return Err(error(
            "`tokenizer.ggml.scores` is absent, and so are `tokenizer.ggml.merges`: nothing says how pieces merge. \
             Convert the model again, or take its Hugging Face directory",
        ));
    };
    let more = MorePieces {
        rules: Rules {
            words: None,
            byte_fallback: typed(6).is_some() || (types.is_empty() && names().count() == 256),
            unknown: meta.unknown_id.or_else(|| typed(2)),
            fuse_unknown: true,
        },
        by,
        lead: match prefix {
            _ if remove_extra_whitespace => Lead::Taken(usize::MAX),
            Prefix::Never => Lead::Kept,
            Prefix::First | Prefix::Always => Lead::Taken(1),
        },
        normal: Normal {
            steps: vec![Step::SentencePiece(rules)],
        },
        scores: None,
    };
    more.with_charsmap(&meta.charsmap)
}

/// Tokens of the user's definition, which no replacement touches.
fn kept(meta: &GgufTokenizer) -> AddedTokens {
    let tokens = meta.tokens.iter().zip(0..);
    let kept = tokens.filter(|&(_, id)| meta.kind(id) == Kind::UserDefined);
    let kept: Vec<_> = kept
        .filter(|_| !meta.charsmap.is_empty())
        .map(|(text, id)| AddedToken::plain(id as u32, text.clone(), false))
        .collect();
    kept.into()
}

impl MorePieces {
    fn with_charsmap(mut self, bytes: &[u8]) -> Result<Self, LoadError> {
        let place = self.normal.steps.iter_mut().find_map(|step| match step {
            Step::SentencePiece(rules) => Some(Place::Rules(rules)),
            Step::Precompiled(table) => Some(Place::Table(table)),
            _ => None,
        });
        if bytes.is_empty() {
            return match place {
                Some(Place::Table(table)) if table.is_empty() => Err(bad_more(
                    "needs `precompiled_charsmap`, which the file has not",
                )),
                _ => Ok(self),
            };
        }
        let charsmap = Charsmap::parse(bytes)
            .ok_or_else(|| error("`tokenizer.ggml.precompiled_charsmap` is damaged"))?;
        match place {
            Some(Place::Rules(rules)) => rules.charsmap = Some(charsmap),
            Some(Place::Table(table)) => *table = charsmap,
            None => return Err(bad_more("has no place for `precompiled_charsmap`")),
        }
        Ok(self)
    }
}

/// The step that a table of replacements belongs to.
enum Place<'a> {
    Rules(&'a mut SentencePiece),
    Table(&'a mut Charsmap),
}

/// Write the keys; returns what there is beyond them.
pub(super) fn write(
    meta: &mut GgufTokenizer,
    tokenizer: &Tokenizer,
    pieces: &Pieces,
) -> MorePieces {
    let Tokenizer {
        vocab,
        added,
        added_normalized,
        normal,
        lead,
        ..
    } = tokenizer;
    let ids = 0..vocab.len() as u32;
    meta.pre = Some("default".into());
    let sign = SPACE_SIGN.to_string();
    let name = |id: u32| {
        let bytes = vocab.get(id).unwrap_or_default();
        let text = String::from_utf8_lossy(bytes);
        match (vocab.kind(id), bytes) {
            (Some(Kind::Unused) | None, _) => format!("[PAD{id}]"),
            (Some(Kind::Byte), &[byte]) => format!("<0x{byte:02X}>"),
            (Some(Kind::Control | Kind::Byte), _) => text.into_owned(),
            (Some(Kind::Normal | Kind::UserDefined), _) => text.replace(' ', &sign),
        }
    };
    meta.tokens = ids.clone().map(name).collect();
    // An added token is its own text, which may have spaces and signs.
    let stable = |token: &&AddedToken| normal.apply(&token.text, true) == token.text;
    for token in added.iter().chain(added_normalized.iter().filter(stable)) {
        if let Some(name) = meta.tokens.get_mut(token.id as usize) {
            name.clone_from(&token.text);
        }
    }
    let unknown = pieces.rules.unknown;
    if let Some(unknown) = unknown
        && let Some(ty) = meta.token_types.get_mut(unknown as usize)
        && *ty == Kind::Control as i32
    {
        *ty = 2;
    }
    meta.unknown_id = unknown;
    let mut exact = None;
    let by = match &pieces.algorithm {
        Algorithm::Rules { merges, whole } => {
            let rules = merges.pairs();
            meta.merges = rules
                .map(|(a, b)| format!("{} {}", name(a), name(b)))
                .collect();
            // For programs that read scores: the earlier a piece is made, the higher.
            meta.scores = vec![0.0; vocab.len()];
            for (rank, id) in merges.merged().enumerate() {
                let score = &mut meta.scores[id as usize];
                if *score == 0.0 {
                    *score = -(rank as f32 + 1.0);
                }
            }
            By::Merges { whole: *whole }
        }
        Algorithm::Scores(scores) => {
            meta.scores.clone_from(scores);
            By::Scores
        }
        Algorithm::Unigram(unigram) => {
            meta.scores = unigram.scores.iter().map(|&score| score as f32).collect();
            meta.scores.resize(vocab.len(), 0.0);
            let same = (unigram.scores.iter().zip(&meta.scores))
                .all(|(&exact, &single)| exact == f64::from(single));
            if !same {
                let mut scores = unigram.scores.clone();
                scores.resize(vocab.len(), 0.0);
                exact = Some(scores);
            }
            By::Unigram {
                single: unigram.single,
                lowest: Some(unigram.lowest),
            }
        }
    };
    meta.model = if matches!(by, By::Unigram { .. }) {
        UNIGRAM
    } else {
        "llama"
    }
    .into();
    let mut normal = normal.clone();
    let mut prefix = pieces
        .rules
        .words
        .is_some_and(|words| words.prefix != Prefix::Never);
    for step in &mut normal.steps {
        match step {
            Step::SentencePiece(rules) => {
                prefix = rules.prefix != Prefix::Never;
                meta.remove_extra_whitespaces = Some(rules.remove_extra_whitespace);
                if let Some(charsmap) = rules.charsmap.take() {
                    meta.charsmap = charsmap.to_bytes();
                }
            }
            Step::Precompiled(table) => meta.charsmap = std::mem::take(table).to_bytes(),
            Step::Prepend(_) => prefix = true,
            _ => {}
        }
    }
    meta.add_space_prefix = Some(prefix);
    MorePieces {
        rules: pieces.rules.clone(),
        by,
        normal,
        lead: *lead,
        scores: exact,
    }
}
