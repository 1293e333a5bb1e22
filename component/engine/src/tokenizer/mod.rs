//! Text to token ids and back: byte-level BPE as GPT-2, Llama 3 and the BitNet family use it.
//!
//! Written here rather than taken from a crate, after measuring. In CPU time, to load a
//! tokenizer.json of 128k tokens took kitoken 0.11 about 0.5 s, `tokenizers` 0.22 0.8 s and its
//! candidate for 1.0 1.2 s (with the conversion it asks for), this module 0.15 s, and 0.1 s from a
//! GGUF's arrays. And baked components snapshot these tables, so they are flat arrays with a fixed
//! hash. Hugging Face's `tokenizers` remains the tests' oracle.
//!
//! The path of a text: added tokens are cut out (`added`), the rest is brought to the model's
//! normal form, cut into pieces (`split`), and each piece's bytes are merged (`bpe`) to tokens
//! (`vocab`).

mod added;
mod beside;
mod bound;
mod bpe;
mod byte_chars;
mod gguf;
mod hf;
mod markers;
mod pipeline;
mod split;
mod stop;
mod stream;
mod vocab;

use std::borrow::Cow;
use std::ops::ControlFlow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use crate::error::{EngineError, LoadError};
use added::{AddedToken, AddedTokens, GUARD, Part};
use bound::Bound;
use bpe::{Merges, Scratch};
use pipeline::Around;
use split::Split;
use vocab::{Kind, Vocab};

pub(crate) use beside::Beside;
pub use bound::TokenBytes;
pub use gguf::GgufTokenizer;
pub(crate) use markers::TURN_ENDS;
pub use stop::{StopMatcher, StopStep};
pub use stream::TextStream;

/// The character that [`Tokenizer::guard`] puts into a text: no part of the text's content.
pub(crate) const TEXT_GUARD: char = GUARD;

/// Byte-level BPE with added tokens. Immutable once built; share it between threads.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    vocab: Vocab,
    merges: Merges,
    /// `byte_tokens[byte]`: where its piece starts from. `None`: the byte vanishes, as in Hugging
    /// Face's.
    byte_tokens: Vec<Option<u32>>,
    /// Matched in the text as it comes.
    added: AddedTokens,
    /// Matched in the text's normal form.
    added_normalized: AddedTokens,
    /// The special ones of both.
    special: AddedTokens,
    /// Those of both that users must not write in a conversation.
    reserved: AddedTokens,
    split: Split,
    /// A piece that is a token is that token, whatever the merges say.
    ignore_merges: bool,
    /// The text's normal form is Unicode's NFC, else the text itself.
    nfc: bool,
    /// The token for a piece's byte that is no token.
    unknown: Option<u32>,
    /// The tokens that the file puts around a text where special tokens are asked for.
    around: Around,
    bound: Bound,
}

/// A text has more tokens than were allowed: at least so many. They were not counted to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany(pub usize);

/// Pieces from this length on are not merged before it is clear that their tokens may fit.
const LONG_PIECE: usize = 4096;

/// The parts of a tokenizer, from a file of any format.
struct Parts {
    vocab: Vocab,
    merges: Merges,
    added: Vec<AddedToken>,
    added_normalized: Vec<AddedToken>,
    split: Split,
    ignore_merges: bool,
    nfc: bool,
    unknown: Option<u32>,
    around: Around,
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

    fn build(parts: Parts) -> Self {
        let Parts {
            vocab,
            merges,
            added,
            added_normalized,
            split,
            ignore_merges,
            nfc,
            unknown,
            around,
        } = parts;
        let ordinary = |id: &u32| vocab.kind(*id) != Some(Kind::Control);
        let byte_token = |byte: u8| vocab.id_of(&[byte]).filter(ordinary);
        let whole_alphabet = (0..=255).all(|byte| byte_token(byte).is_some());
        let byte_tokens = (0..=255).map(|byte| byte_token(byte).or(unknown)).collect();
        let (added, added_normalized) =
            (AddedTokens::new(added), AddedTokens::new(added_normalized));
        let mut tokenizer = Tokenizer {
            bound: Bound::new(&vocab, [&added, &added_normalized], nfc, whole_alphabet),
            vocab,
            merges,
            byte_tokens,
            added,
            added_normalized,
            special: AddedTokens::default(),
            reserved: AddedTokens::default(),
            split,
            ignore_merges,
            nfc,
            unknown,
            around,
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
        self.encode_parts(text, parse_special, false, most, &mut Scratch::default())
    }

    /// As [`Self::encode_at_most`] with special tokens, save that [`Self::guard`]ed text holds
    /// none.
    pub(crate) fn encode_guarded(
        &self,
        text: &str,
        most: usize,
    ) -> Result<Result<Vec<u32>, TooMany>, EngineError> {
        self.encode_parts(text, true, true, most, &mut Scratch::default())
    }

    /// Mark `text`, which a user wrote, so that [`Self::encode_guarded`] finds no marker in it,
    /// special or not (`<tool_call>`), even once it is part of a larger text.
    pub(crate) fn guard(&self, text: &str) -> String {
        let mut guarded = String::with_capacity(text.len());
        // Of the text as it will be looked at: a Kelvin sign may become the K of a marker.
        self.reserved.guard(&self.normalize(text), &mut guarded);
        guarded
    }

    /// As [`Self::guard`] for what the model wrote: its own tags stay the tokens they were, save
    /// the special ones, which are never shown and so cannot be its text.
    pub(crate) fn guard_answer(&self, text: &str) -> String {
        let mut guarded = String::with_capacity(text.len());
        self.special.guard(&self.normalize(text), &mut guarded);
        guarded
    }

    /// Bytes of a text that a token may stand for.
    #[must_use]
    pub fn token_bytes_at_most(&self) -> TokenBytes {
        self.bound.token_bytes()
    }

    fn encode_parts(
        &self,
        text: &str,
        special: bool,
        guarded: bool,
        most: usize,
        scratch: &mut Scratch,
    ) -> Result<Result<Vec<u32>, TooMany>, EngineError> {
        if u32::try_from(text.len()).is_err() {
            return Err(EngineError::InvalidRequest {
                field: "prompt".into(),
                message: "the text exceeds 4 GiB".into(),
            });
        }
        // Guards are no part of the text: three bytes before each character at most.
        let swell = if guarded { 1 + GUARD.len_utf8() } else { 1 };
        let room = most.saturating_mul(swell);
        if let Some(least) = self.bound.token_bytes().excess([text].into_iter(), room) {
            return Ok(Err(TooMany(least.div_ceil(swell))));
        }
        let mut out = Vec::with_capacity((text.len() / 3).min(most));
        let cut = self.added.cut(text, special, guarded, |part| match part {
            Part::Token(id) => push(id, most, &mut out),
            Part::Text(text) => {
                let text = self.normalize(text);
                self.added_normalized
                    .cut(&text, special, guarded, |part| match part {
                        Part::Token(id) => push(id, most, &mut out),
                        Part::Text(text) if guarded && text.contains(GUARD) => {
                            self.merge(&added::unguard(text), most, scratch, &mut out)
                        }
                        Part::Text(text) => self.merge(text, most, scratch, &mut out),
                    })
            }
        });
        Ok(match cut {
            ControlFlow::Continue(()) => Ok(out),
            ControlFlow::Break(()) => Err(TooMany(out.len().max(most.saturating_add(1)))),
        })
    }

    fn normalize<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if !self.nfc || is_nfc_quick(text.chars()) == IsNormalized::Yes {
            Cow::Borrowed(text)
        } else {
            Cow::Owned(text.nfc().collect())
        }
    }

    /// Append the tokens of a text without added tokens; breaks off where there are more than
    /// `most` in all.
    fn merge(
        &self,
        text: &str,
        most: usize,
        scratch: &mut Scratch,
        out: &mut Vec<u32>,
    ) -> ControlFlow<()> {
        for piece in self.split.pieces(text) {
            if self.ignore_merges
                && let Some(id) = self.vocab.id_of(piece.as_bytes())
                && !self.is_special(id)
            {
                push(id, most, out)?;
                continue;
            }
            if piece.len() >= LONG_PIECE && self.bound.exceeds(piece.as_bytes(), most - out.len()) {
                return ControlFlow::Break(());
            }
            scratch.symbols.clear();
            scratch.symbols.extend(
                piece
                    .bytes()
                    .filter_map(|byte| self.byte_tokens[usize::from(byte)]),
            );
            self.merges.apply(scratch, out);
            if out.len() > most {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// The text of token ids, special tokens left out. Bytes that are no UTF-8 become U+FFFD; ids
    /// beyond the vocabulary have no text.
    pub fn decode(&self, ids: &[u32]) -> String {
        let shown = ids.iter().filter(|&&id| !self.is_special(id));
        let bytes: Vec<u8> = shown
            .filter_map(|&id| self.token_bytes(id))
            .flatten()
            .copied()
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
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

/// Append a token; breaks off where there are more than `most`.
fn push(id: u32, most: usize, out: &mut Vec<u32>) -> ControlFlow<()> {
    out.push(id);
    if out.len() > most {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests;
