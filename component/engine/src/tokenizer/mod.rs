//! Text to token ids and back: byte-level BPE as GPT-2, Llama 3, Qwen and the BitNet family use it,
//! and SentencePiece's BPE and unigram, as Llama 2 and Gemma do.
//!
//! Written here rather than taken from a crate, after measuring: docs/dependencies.md has the
//! figures. Baked components snapshot these tables, so they are flat arrays with a fixed hash.
//! Hugging Face's `tokenizers` is the tests' oracle.
//!
//! The path of a text: added tokens are cut out (`added`), the rest is brought to the model's
//! normal form (`normal`), and becomes tokens of the vocabulary (`vocab`): cut into pieces
//! (`split`) whose bytes merge (`byte_bpe`, `bpe`), or by pieces of text (`pieces`).

mod added;
mod beside;
mod bound;
mod bpe;
mod byte_bpe;
mod byte_chars;
mod gguf;
mod gguf_pieces;
mod gguf_pre;
mod hf;
mod hf_pieces;
mod lead;
mod markers;
mod normal;
mod output;
mod pieces;
mod pipeline;
mod sentencepiece;
mod split;
mod stop;
mod stream;
mod vocab;

use std::ops::ControlFlow;

use crate::error::{EngineError, LoadError};
use added::{AddedToken, AddedTokens, GUARD, Part};
use bound::Bound;
use bpe::Scratch;
use byte_bpe::ByteBpe;
use lead::Lead;
use normal::Normal;
use output::Output;
use pieces::Pieces;
use pipeline::Around;
use vocab::{Kind, Vocab};

pub(crate) use beside::Beside;
pub use bound::TokenBytes;
pub use gguf::GgufTokenizer;
pub(crate) use markers::TURN_ENDS;
pub use stop::{StopMatcher, StopStep};
pub use stream::TextStream;

/// The character that [`Tokenizer::guard`] puts into a text: no part of the text's content.
pub(crate) const TEXT_GUARD: char = GUARD;

/// A vocabulary with added tokens. Immutable once built; share it between threads.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    vocab: Vocab,
    /// Matched in the text as it comes.
    added: AddedTokens,
    /// Matched in the text's normal form.
    added_normalized: AddedTokens,
    /// The special ones of both.
    special: AddedTokens,
    /// Those of both that users must not write in a conversation.
    reserved: AddedTokens,
    normal: Normal,
    model: Model,
    /// The tokens that the file puts around a text where special tokens are asked for.
    around: Around,
    /// What becomes of spaces at the beginning of a text that is decoded.
    lead: Lead,
    bound: Bound,
}

/// How a text in its normal form becomes tokens.
#[derive(Clone, Debug)]
enum Model {
    Bytes(ByteBpe),
    Pieces(Pieces),
}

/// A text has more tokens than were allowed: at least so many. They were not counted to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany(pub usize);

/// The parts of a tokenizer, from a file of any format.
struct Parts {
    vocab: Vocab,
    added: Vec<AddedToken>,
    added_normalized: Vec<AddedToken>,
    normal: Normal,
    model: Model,
    around: Around,
    lead: Lead,
}

impl Tokenizer {
    /// Read a Hugging Face `tokenizer.json`.
    ///
    /// # Errors
    /// `LoadError::Tokenizer` where the file is damaged or describes another kind of tokenizer than
    /// byte-level BPE with a known pre-tokenizer; the message names what was found and what is
    /// supported.
    pub fn from_json(bytes: &[u8]) -> Result<Self, LoadError> {
        Self::from_json_beside(bytes, &Beside::default())
    }

    /// As [`Self::from_json`], with what lies beside the file.
    ///
    /// # Errors
    /// As [`Self::from_json`].
    pub(crate) fn from_json_beside(bytes: &[u8], beside: &Beside) -> Result<Self, LoadError> {
        hf::read(bytes, beside).map(Self::build)
    }

    /// Take a GGUF file's `tokenizer.ggml.*` keys.
    ///
    /// # Errors
    /// As [`Self::from_json`].
    pub fn from_gguf(meta: GgufTokenizer) -> Result<Self, LoadError> {
        gguf::read(&meta).map(Self::build)
    }

    /// The tokenizer as GGUF's keys hold it.
    pub fn to_gguf(&self) -> GgufTokenizer {
        let Around { prefix, suffix } = &self.around;
        gguf::write(self, prefix.first().copied(), suffix.first().copied())
    }

    /// The same for a file with these tokens as beginning and end of a sequence.
    pub(crate) fn to_gguf_with(&self, bos: Option<u32>, eos: Option<u32>) -> GgufTokenizer {
        gguf::write(self, bos, eos)
    }

    /// Read a `tokenizer.model` of SentencePiece, with what lies beside it.
    ///
    /// # Errors
    /// `LoadError::Tokenizer` where the file is damaged or has an option that is not supported.
    pub(crate) fn from_sentencepiece_beside(
        bytes: &[u8],
        beside: &Beside,
    ) -> Result<Self, LoadError> {
        sentencepiece::read(bytes, beside).map(Self::build)
    }

    /// Read a `tokenizer.model` of SentencePiece.
    ///
    /// # Errors
    /// `LoadError::Tokenizer` where the file is damaged or has an option that is not supported.
    pub fn from_sentencepiece(bytes: &[u8]) -> Result<Self, LoadError> {
        Self::from_sentencepiece_beside(bytes, &Beside::default())
    }

    /// True if a file begins as a `tokenizer.model` does.
    pub(crate) fn is_sentencepiece(bytes: &[u8]) -> bool {
        sentencepiece::begins(bytes)
    }

    fn build(parts: Parts) -> Self {
        let Parts {
            vocab,
            added,
            added_normalized,
            normal,
            model,
            around,
            lead,
        } = parts;
        let (added, added_normalized) =
            (AddedTokens::new(added), AddedTokens::new(added_normalized));
        let covers_bytes = match &model {
            Model::Bytes(bpe) => bpe.covers_bytes(),
            Model::Pieces(pieces) => pieces.covers_bytes(),
        };
        let words = match &model {
            Model::Bytes(_) => None,
            Model::Pieces(pieces) => pieces.rules.words,
        };
        let shrinks = normal.shrinks(words);
        let mut tokenizer = Tokenizer {
            bound: Bound::new(&vocab, [&added, &added_normalized], shrinks, covers_bytes),
            vocab,
            added,
            added_normalized,
            special: AddedTokens::default(),
            reserved: AddedTokens::default(),
            normal,
            model,
            around,
            lead,
        };
        tokenizer.reserve("");
        tokenizer
    }

    /// The token ids of a text; nothing is put before or after it.
    ///
    /// With `parse_special`, texts of special tokens (`<|eot_id|>`) become those tokens: for text
    /// the operator wrote. Otherwise they are ordinary text, and no special token results.
    ///
    /// # Errors
    /// `InvalidRequest` for a text of 4 GiB or more.
    pub fn encode(&self, text: &str, parse_special: bool) -> Result<Vec<u32>, EngineError> {
        Ok(self
            .encode_at_most(text, parse_special, usize::MAX)?
            .unwrap_or_default())
    }

    /// As [`Self::encode`], for a text that may have `most` tokens. The work follows from `most`
    /// and not from the text: what is certain to have more is not looked at, and else it ends with
    /// the first token too many.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_at_most(
        &self,
        text: &str,
        parse_special: bool,
        most: usize,
    ) -> Result<Result<Vec<u32>, TooMany>, EngineError> {
        self.encode_parts(text, parse_special, false, most, Scratch::default())
            .0
    }

    /// As [`Self::encode_at_most`] with special tokens, save that [`Self::guard`]ed text holds
    /// none.
    pub(crate) fn encode_guarded(
        &self,
        text: &str,
        most: usize,
    ) -> Result<Result<Vec<u32>, TooMany>, EngineError> {
        self.encode_parts(text, true, true, most, Scratch::default())
            .0
    }

    /// Mark `text`, which a user wrote, so that [`Self::encode_guarded`] finds no marker in it,
    /// special or not (`<tool_call>`), even once it is part of a larger text.
    pub(crate) fn guard(&self, text: &str) -> String {
        let mut guarded = String::with_capacity(text.len());
        // Of the text as it will be looked at: a Kelvin sign may become the K of a marker.
        self.reserved
            .guard(&self.normal.characters(text), &mut guarded);
        guarded
    }

    /// As [`Self::guard`] for what the model wrote: its own tags stay the tokens they were, save
    /// the special ones, which are never shown and so cannot be its text.
    pub(crate) fn guard_answer(&self, text: &str) -> String {
        let mut guarded = String::with_capacity(text.len());
        self.special
            .guard(&self.normal.characters(text), &mut guarded);
        guarded
    }

    /// Bytes of a text that a token may stand for.
    #[must_use]
    pub fn token_bytes_at_most(&self) -> TokenBytes {
        self.bound.token_bytes()
    }

    /// Returns the buffers too, for tests that count the work.
    fn encode_parts(
        &self,
        text: &str,
        special: bool,
        guarded: bool,
        most: usize,
        scratch: Scratch,
    ) -> (Result<Result<Vec<u32>, TooMany>, EngineError>, Scratch) {
        if u32::try_from(text.len()).is_err() {
            let error = EngineError::InvalidRequest {
                field: "prompt".into(),
                message: "the text exceeds 4 GiB".into(),
            };
            return (Err(error), scratch);
        }
        // Guards are no part of the text: three bytes before each character at most.
        let swell = if guarded { 1 + GUARD.len_utf8() } else { 1 };
        let room = most.saturating_mul(swell);
        if let Some(least) = self.bound.token_bytes().excess([text].into_iter(), room) {
            return (Ok(Err(TooMany(least.div_ceil(swell)))), scratch);
        }
        let mut to = Output {
            vocab: &self.vocab,
            bound: &self.bound,
            most,
            ids: Vec::with_capacity((text.len() / 3).min(most)),
            sum: 0.0,
            scratch,
        };
        // Nothing has come before.
        let mut first = true;
        let cut = self.added.cut(text, special, guarded, |part| {
            let begins = std::mem::take(&mut first);
            let text = match part {
                Part::Token(id) => return to.push(id),
                Part::Text(text) => self.normal.apply(text, begins),
            };
            let mut first = begins;
            self.added_normalized.cut(&text, special, guarded, |part| {
                let begins = std::mem::take(&mut first);
                match part {
                    Part::Token(id) => to.push(id),
                    Part::Text(text) if guarded && text.contains(GUARD) => {
                        self.model(&added::unguard(text), begins, &mut to)
                    }
                    Part::Text(text) => self.model(text, begins, &mut to),
                }
            })
        });
        let tokens = match cut {
            ControlFlow::Continue(()) => Ok(to.ids),
            ControlFlow::Break(()) => Err(TooMany(to.ids.len().max(most.saturating_add(1)))),
        };
        (Ok(tokens), to.scratch)
    }

    /// Append the tokens of a text without added tokens; breaks off where there are too many.
    fn model(&self, text: &str, first: bool, to: &mut Output<'_>) -> ControlFlow<()> {
        match &self.model {
            Model::Bytes(bpe) => bpe.encode(text, to),
            Model::Pieces(pieces) => pieces.encode(text, first, to),
        }
    }

    /// The text of token ids, special tokens left out. Bytes that are no UTF-8 become U+FFFD; ids
    /// beyond the vocabulary have no text. The space that the tokenizer puts before a text is taken
    /// from its beginning again.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut stream = TextStream::at_beginning(self);
        let mut text: String = ids.iter().map(|&id| stream.push(self, id)).collect();
        text.push_str(&stream.finish());
        text
    }

    /// The bytes a token stands for, which need not be whole characters; special tokens have their
    /// names. `None` beyond the vocabulary and for ids without a token.
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.vocab
            .get(id)
            .filter(|_| self.vocab.kind(id) != Some(Kind::Unused))
    }

    /// True if `id` is a special token (`<|eot_id|>`), which is never shown.
    pub fn is_special(&self, id: u32) -> bool {
        self.vocab.kind(id) == Some(Kind::Control)
    }

    /// Token ids are below this. The model's embedding may have more rows.
    pub fn vocab_size(&self) -> usize {
        self.vocab.len()
    }

    /// The token with exactly this text: an added token, else an ordinary one.
    pub fn token_to_id(&self, text: &str) -> Option<u32> {
        self.added_id(text)
            .or_else(|| self.vocab.id_of(text.as_bytes()))
    }

    /// The tokens that the file puts before a text where special tokens are asked for: usually the
    /// beginning-of-sequence token, or nothing.
    pub fn prefix(&self) -> &[u32] {
        &self.around.prefix
    }

    /// The tokens it puts after a text there: usually none.
    pub fn suffix(&self) -> &[u32] {
        &self.around.suffix
    }

    /// The ids of a whole text, with what goes before and after it. A text that begins with the
    /// tokens that would go before it, because its writer spelled them out, does not get them
    /// twice, which no model was trained on.
    pub(crate) fn surround(&self, mut ids: Vec<u32>) -> Vec<u32> {
        let Around { prefix, suffix } = &self.around;
        if !ids.starts_with(prefix) {
            ids.splice(..0, prefix.iter().copied());
        }
        ids.extend(suffix);
        ids
    }

    /// Put other tokens before and after a text.
    pub(crate) fn set_around(&mut self, prefix: Vec<u32>, suffix: Vec<u32>) {
        self.around = Around { prefix, suffix };
    }
}

#[cfg(test)]
mod tests;
