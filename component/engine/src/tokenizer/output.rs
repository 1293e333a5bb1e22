//! The tokens of one text as they come, and how many it may have.

use std::ops::ControlFlow;

use super::bound::Bound;
use super::bpe::Scratch;
use super::vocab::Vocab;

/// Pieces from this length on are not merged before it is clear that their tokens may fit.
pub(super) const LONG_PIECE: usize = 4096;

/// What a model writes tokens to. Its methods break off where there are too many.
pub(super) struct Output<'a> {
    pub(super) vocab: &'a Vocab,
    pub(super) bound: &'a Bound,
    /// Tokens at most.
    pub(super) most: usize,
    pub(super) ids: Vec<u32>,
    /// The score of what was before, where SentencePiece adds up over a whole text: sums of f32 are
    /// rounded, and which of two ways is the better may depend on it.
    pub(super) sum: f64,
    pub(super) scratch: Scratch,
}

impl Output<'_> {
    /// Append a token.
    pub(super) fn push(&mut self, id: u32) -> ControlFlow<()> {
        self.ids.push(id);
        self.fits()
    }

    /// Breaks off if there are too many tokens.
    pub(super) fn fits(&self) -> ControlFlow<()> {
        if self.ids.len() > self.most {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Breaks off if a piece that is merged has too many tokens for certain; looks at long ones
    /// only.
    pub(super) fn may_fit(&self, piece: &[u8]) -> ControlFlow<()> {
        let room = self.most.saturating_sub(self.ids.len());
        if piece.len() >= LONG_PIECE && self.bound.exceeds(piece, room) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}
