//! Byte-level BPE: a text is cut into pieces, and each piece's bytes merge.

use std::ops::ControlFlow;

use super::bpe::Merges;
use super::output::Output;
use super::split::Split;
use super::vocab::{Kind, Vocab};

/// The model of GPT-2, Llama 3, Qwen, Falcon and BitNet.
#[derive(Clone, Debug)]
pub(super) struct ByteBpe {
    pub(super) merges: Merges,
    /// `byte_tokens[byte]`: where its piece starts from. `None`: the byte vanishes, as in Hugging
    /// Face's.
    byte_tokens: Vec<Option<u32>>,
    pub(super) split: Split,
    /// A piece that is a token is that token, whatever the merges say.
    pub(super) ignore_merges: bool,
    /// The token for a piece's byte that is no token.
    pub(super) unknown: Option<u32>,
    /// Every byte is a token.
    whole_alphabet: bool,
}

impl ByteBpe {
    pub(super) fn new(
        vocab: &Vocab,
        merges: Merges,
        split: Split,
        ignore_merges: bool,
        unknown: Option<u32>,
    ) -> Self {
        let ordinary = |id: &u32| vocab.kind(*id) != Some(Kind::Control);
        let byte_token = |byte: u8| vocab.id_of(&[byte]).filter(ordinary);
        ByteBpe {
            whole_alphabet: (0..=255).all(|byte| byte_token(byte).is_some()),
            byte_tokens: (0..=255).map(|byte| byte_token(byte).or(unknown)).collect(),
            merges,
            split,
            ignore_merges,
            unknown,
        }
    }

    /// True if every byte is a token, so that what is merged has the text's own bytes.
    pub(super) fn covers_bytes(&self) -> bool {
        self.whole_alphabet
    }

    /// Append the tokens of a text without added tokens.
    pub(super) fn encode(&self, text: &str, to: &mut Output<'_>) -> ControlFlow<()> {
        for piece in self.split.pieces(text) {
            for part in self.split.parts(piece.as_bytes()) {
                self.piece(part, to)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn piece(&self, piece: &[u8], to: &mut Output<'_>) -> ControlFlow<()> {
        if self.ignore_merges
            && let Some(id) = to.vocab.id_of(piece)
            && to.vocab.kind(id) != Some(Kind::Control)
        {
            return to.push(id);
        }
        to.may_fit(piece)?;
        to.scratch.symbols.clear();
        to.scratch.symbols.extend(
            piece
                .iter()
                .filter_map(|&byte| self.byte_tokens[usize::from(byte)]),
        );
        self.merges.apply(&mut to.scratch, &mut to.ids);
        to.fits()
    }
}
