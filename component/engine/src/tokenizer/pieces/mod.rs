//! The vocabularies of SentencePiece: pieces of text, a space among their characters, of which a
//! text is merged (BPE, as Llama 2 and Gemma have it) or the likeliest sequence is sought
//! (unigram). A character that is no piece is its bytes, where the vocabulary has them.

mod cuts;
mod scores;
mod unigram;

use std::borrow::Cow;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::bpe::Merges;
use super::normal::{Prefix, spaces};
use super::output::Output;
use super::vocab::{Kind, Vocab};
use cuts::Cuts;
use scores::Scores;

pub(super) use unigram::Unigram;

/// The way from a text to pieces.
#[derive(Clone, Debug)]
pub(super) enum Algorithm {
    /// Rules of merging in their order; `whole` where a word that is a piece is taken as it is.
    Rules { merges: Merges, whole: bool },
    /// Two neighbours that make a piece merge, those of the highest score first. `[vocab]`
    Scores(Vec<f32>),
    /// The sequence of the highest sum of scores.
    Unigram(Unigram),
}

/// How a text is cut into words before anything merges, in `tokenizer.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Words {
    /// Where a space is put before what has none.
    pub(super) prefix: Prefix,
    /// Each space begins a word.
    pub(super) each_space: bool,
    /// Whitespace first cuts words and vanishes.
    pub(super) whitespace_vanishes: bool,
}

/// What there is besides the pieces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Rules {
    /// `None`: the text as it comes.
    pub(super) words: Option<Words>,
    /// A character that is no piece is its bytes.
    pub(super) byte_fallback: bool,
    /// For characters that are neither; `None`: they vanish.
    pub(super) unknown: Option<u32>,
    /// Neighbouring unknown characters are one token.
    pub(super) fuse_unknown: bool,
}

/// A vocabulary of pieces and how to use it.
#[derive(Clone, Debug)]
pub(super) struct Pieces {
    pub(super) algorithm: Algorithm,
    pub(super) rules: Rules,
    /// The token of each byte; none without `byte_fallback`. `[256]`
    byte_tokens: Vec<Option<u32>>,
    cuts: Cuts,
}

impl Pieces {
    pub(super) fn new(vocab: &Vocab, algorithm: Algorithm, rules: Rules) -> Self {
        let mut byte_tokens = vec![None; 256];
        for id in 0..vocab.len() as u32 {
            if let (Some(Kind::Byte), Some(&[byte])) = (vocab.kind(id), vocab.get(id))
                && rules.byte_fallback
            {
                byte_tokens[usize::from(byte)].get_or_insert(id);
            }
        }
        let whole = matches!(algorithm, Algorithm::Rules { whole: true, .. });
        Pieces {
            cuts: Cuts::new(vocab, whole),
            algorithm,
            rules,
            byte_tokens,
        }
    }

    /// True if every character is some tokens, each of no more bytes than it has.
    pub(super) fn covers_bytes(&self) -> bool {
        self.byte_tokens.iter().all(Option::is_some)
    }

    /// Append the tokens of a text without added tokens, which begins the whole text if `first`.
    pub(super) fn encode(&self, text: &str, first: bool, to: &mut Output<'_>) -> ControlFlow<()> {
        let Some(words) = self.rules.words else {
            return self.sequence(text, to);
        };
        if !words.whitespace_vanishes {
            return self.word(words, text, first, to);
        }
        for word in text.split_whitespace() {
            let first = first && word.as_ptr() == text.as_ptr();
            self.word(words, word, first, to)?;
        }
        ControlFlow::Continue(())
    }

    /// A text that a space may be put before, and that may be cut at each space.
    fn word(&self, words: Words, text: &str, first: bool, to: &mut Output<'_>) -> ControlFlow<()> {
        let mut text = spaces(Cow::Borrowed(text));
        if words.prefix.applies(first) && !text.starts_with(' ') {
            text = Cow::Owned(format!(" {text}"));
        }
        if !words.each_space {
            return self.sequence(&text, to);
        }
        let mut rest = &*text;
        while let Some(c) = rest.chars().next() {
            let begun = c.len_utf8();
            let end = rest[begun..].find(' ').map_or(rest.len(), |at| begun + at);
            self.sequence(&rest[..end], to)?;
            rest = &rest[end..];
        }
        ControlFlow::Continue(())
    }

    /// What merges as a whole.
    fn sequence(&self, text: &str, to: &mut Output<'_>) -> ControlFlow<()> {
        if let Algorithm::Rules { whole: true, .. } = self.algorithm
            && let Some(id) = to.vocab.id_of(text.as_bytes())
            && to.vocab.kind(id) != Some(Kind::Control)
        {
            return to.push(id);
        }
        if !matches!(&self.algorithm, Algorithm::Unigram(unigram) if unigram.single) {
            to.sum = 0.0;
        }
        for part in self.cuts.parts(text) {
            to.may_fit(part.as_bytes())?;
            match &self.algorithm {
                Algorithm::Rules { merges, .. } => {
                    self.symbols(to.vocab, part, &mut to.scratch.symbols);
                    merges.apply(&mut to.scratch, &mut to.ids);
                }
                Algorithm::Scores(scores) => self.by_scores(scores, part, to),
                Algorithm::Unigram(unigram) => {
                    #[cfg(test)]
                    {
                        to.scratch.merged += part.len();
                    }
                    let mut unknown = false;
                    to.sum = unigram.best(to.vocab, part, to.sum, |id, span| {
                        match id {
                            Some(id) => to.ids.push(id),
                            None => self.no_piece(&part[span], unknown, &mut to.ids),
                        }
                        unknown = id.is_none();
                    });
                }
            }
            to.fits()?;
        }
        ControlFlow::Continue(())
    }

    /// The tokens of a text's characters, before anything merges.
    fn symbols(&self, vocab: &Vocab, text: &str, symbols: &mut Vec<u32>) {
        symbols.clear();
        let mut unknown = false;
        let mut buffer = [0; 4];
        for c in text.chars() {
            let c = c.encode_utf8(&mut buffer);
            let ordinary = |id: &u32| vocab.kind(*id) != Some(Kind::Control);
            let id = vocab.id_of(c.as_bytes()).filter(ordinary);
            match id {
                Some(id) => symbols.push(id),
                None => self.no_piece(c, unknown, symbols),
            }
            unknown = id.is_none();
        }
    }

    fn by_scores(&self, scores: &[f32], text: &str, to: &mut Output<'_>) {
        let Output {
            vocab,
            scratch,
            ids,
            ..
        } = to;
        scratch.symbols.clear();
        scratch.starts.clear();
        let pairs = Scores {
            vocab,
            scores,
            text,
        };
        for (at, c) in text.char_indices() {
            let symbol = pairs.piece(at..at + c.len_utf8());
            scratch.symbols.push(symbol.unwrap_or(NO_PIECE));
            scratch.starts.push(at as u32);
        }
        #[cfg(test)]
        {
            scratch.merged += scratch.symbols.len();
        }
        scratch.merge(&pairs, text.len() as u32);
        let mut unknown = false;
        let mut merged = scratch.merged_symbols().peekable();
        while let Some((symbol, start)) = merged.next() {
            let end = merged.peek().map_or(text.len(), |&(_, next)| next as usize);
            if symbol == NO_PIECE {
                self.no_piece(&text[start as usize..end], unknown, ids);
            } else {
                ids.push(symbol);
            }
            unknown = symbol == NO_PIECE;
        }
    }

    /// Append the tokens of a character that is no piece; `after`: one that is none is before it.
    fn no_piece(&self, text: &str, after: bool, out: &mut Vec<u32>) {
        let byte = |byte: u8| self.byte_tokens.get(usize::from(byte)).copied().flatten();
        if text.bytes().all(|it| byte(it).is_some()) {
            out.extend(text.bytes().filter_map(byte));
        } else if let Some(unknown) = self.rules.unknown
            && !(after && self.rules.fuse_unknown && out.last() == Some(&unknown))
        {
            out.push(unknown);
        }
    }

    /// Which tokens a text without markers may become, for [`super::markers`].
    pub(super) fn made(&self, vocab: &Vocab) -> Vec<bool> {
        let mut made = vec![false; vocab.len()];
        match &self.algorithm {
            Algorithm::Rules { merges, .. } => {
                for id in merges.merged() {
                    made[id as usize] = true;
                }
            }
            Algorithm::Scores(_) => {
                for (id, made) in made.iter_mut().enumerate() {
                    // The length of the others has no limit, and no text is merged into them.
                    let id = id as u32;
                    let normal = vocab.kind(id) == Some(Kind::Normal);
                    let text = vocab.get(id).filter(|_| normal).unwrap_or_default();
                    let halves = (1..text.len()).map(|at| text.split_at(at));
                    *made = halves.into_iter().any(|(left, right)| {
                        vocab.id_of(left).is_some() && vocab.id_of(right).is_some()
                    });
                }
            }
            Algorithm::Unigram(_) => made.fill(true),
        }
        made
    }
}

/// A character that is no piece, until it is known what becomes of it.
const NO_PIECE: u32 = u32::MAX;
