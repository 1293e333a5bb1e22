//! Merging by scores (google/sentencepiece, `bpe_model.cc`): whatever two neighbours make together
//! is looked up as text, so that no list of rules is kept, nor made at start.

use std::ops::Range;

use crate::tokenizer::bpe::Pairs;
use crate::tokenizer::vocab::{Kind, Vocab};

/// The pairs of a text's symbols.
pub(super) struct Scores<'a> {
    pub(super) vocab: &'a Vocab,
    /// `[vocab]`
    pub(super) scores: &'a [f32],
    pub(super) text: &'a str,
}

impl Scores<'_> {
    /// The piece that these bytes of the text are.
    pub(super) fn piece(&self, span: Range<usize>) -> Option<u32> {
        if span.len() > self.vocab.longest() {
            return None;
        }
        let id = self.vocab.id_of(self.text.as_bytes().get(span)?)?;
        // A marker never comes of text.
        (self.vocab.kind(id) == Some(Kind::Normal)).then_some(id)
    }
}

impl Pairs for Scores<'_> {
    fn find(&self, _: u32, _: u32, span: Range<u32>) -> Option<(u32, u32)> {
        let id = self.piece(span.start as usize..span.end as usize)?;
        Some((order(*self.scores.get(id as usize)?), id))
    }
}

/// Lower for a higher score, and below `u32::MAX`. Scores are finite.
fn order(score: f32) -> u32 {
    // Zero has two signs and one place.
    let bits = (score + 0.0).to_bits();
    // Floats of one sign are in the order of their bits.
    if score > 0.0 || bits == 0 {
        !(bits | 1 << 31)
    } else {
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_score_comes_first() {
        let scores = [
            f32::MAX,
            3.5,
            1e-40,
            0.0,
            -1e-40,
            -1.0,
            -2.0,
            -31_000.0,
            f32::MIN,
        ];
        assert!(
            scores
                .windows(2)
                .all(|pair| order(pair[0]) < order(pair[1]))
        );
        assert_eq!(order(0.0), order(-0.0));
        assert!(scores.iter().all(|&score| order(score) < u32::MAX));
    }
}
