//! The likeliest sequence of pieces (google/sentencepiece, `unigram_model.cc`, `EncodeOptimized`;
//! huggingface/tokenizers, `unigram/model.rs`).

use std::ops::Range;

use crate::tokenizer::vocab::{Kind, Vocab};

/// What an unknown character costs beyond the worst piece.
const UNKNOWN_PENALTY: f64 = 10.0;

/// Scores of pieces, and the pieces by their texts.
#[derive(Clone, Debug)]
pub(in crate::tokenizer) struct Unigram {
    /// Logarithms of probabilities. `[vocab]`
    pub(in crate::tokenizer) scores: Vec<f64>,
    /// Sums are rounded to f32 at each piece, as SentencePiece does; else they are f64.
    pub(in crate::tokenizer) single: bool,
    /// The score of the worst piece.
    pub(in crate::tokenizer) lowest: f64,
    /// That of an unknown character.
    unknown: f64,
    /// The pieces, sorted by their texts.
    sorted: Vec<u32>,
    /// `first[byte]`: where the pieces begin in `sorted` that begin with this byte. `[257]`
    first: Vec<u32>,
}

/// The best sequence that ends at a place.
#[derive(Clone, Copy)]
struct Best {
    sum: f64,
    /// Bytes of its last piece; 0 where no sequence ends here.
    length: u32,
    /// That piece, [`UNKNOWN`] for none.
    id: u32,
}

const UNKNOWN: u32 = u32::MAX;
const NOTHING: Best = Best {
    sum: 0.0,
    length: 0,
    id: UNKNOWN,
};

impl Unigram {
    /// `scores` belong to the tokens of `vocab`; `lowest` is that of the worst piece.
    pub(in crate::tokenizer) fn new(
        vocab: &Vocab,
        scores: Vec<f64>,
        single: bool,
        lowest: f64,
    ) -> Self {
        let is_piece = |id: &u32| {
            vocab.kind(*id) == Some(Kind::Normal) && vocab.get(*id).is_some_and(|it| !it.is_empty())
        };
        let mut sorted: Vec<u32> = (0..vocab.len() as u32).filter(is_piece).collect();
        sorted.sort_by_key(|&id| vocab.get(id));
        // Of two with the same text the later one counts, as in Hugging Face's.
        sorted.reverse();
        sorted.dedup_by_key(|id| vocab.get(*id));
        sorted.reverse();
        let begins = |id: &u32| vocab.get(*id).and_then(|text| text.first()).copied();
        let first = (0..=256u16)
            .map(|byte| sorted.partition_point(|id| begins(id).map(u16::from) < Some(byte)) as u32)
            .collect();
        let unknown = if single {
            f64::from(lowest as f32 - UNKNOWN_PENALTY as f32)
        } else {
            lowest - UNKNOWN_PENALTY
        };
        Unigram {
            scores,
            single,
            lowest,
            unknown,
            sorted,
            first,
        }
    }

    /// Hand the pieces of the likeliest sequence to `each`, in order and with their places; `None`
    /// is a character that is no piece. `before` is the sum of what was before this text; returns
    /// the sum with it.
    pub(super) fn best(
        &self,
        vocab: &Vocab,
        text: &str,
        before: f64,
        mut each: impl FnMut(Option<u32>, Range<usize>),
    ) -> f64 {
        let mut best = vec![NOTHING; text.len() + 1];
        best[0].sum = before;
        for (start, c) in text.char_indices() {
            let width = c.len_utf8();
            let here = best[start].sum;
            let mut whole_character = false;
            self.pieces_at(vocab, &text.as_bytes()[start..], |id, length| {
                whole_character |= length == width;
                let score = self
                    .scores
                    .get(id as usize)
                    .copied()
                    .unwrap_or(self.unknown);
                best[start + length].improve(self.rounded(score + here), length, id);
            });
            if !whole_character {
                let sum = self.rounded(self.unknown + here);
                best[start + width].improve(sum, width, UNKNOWN);
            }
        }
        // Backwards from the end, every place on the way has a sequence.
        let mut end = text.len();
        let mut path = Vec::new();
        while end > 0 && best[end].length > 0 {
            path.push((best[end].id, end));
            end -= best[end].length as usize;
        }
        let mut start = 0;
        for &(id, end) in path.iter().rev() {
            each((id != UNKNOWN).then_some(id), start..end);
            start = end;
        }
        best[text.len()].sum
    }

    fn rounded(&self, sum: f64) -> f64 {
        if self.single {
            f64::from(sum as f32)
        } else {
            sum
        }
    }

    /// Hand the pieces that `text` begins with to `each`, the shortest first, with their lengths.
    fn pieces_at(&self, vocab: &Vocab, text: &[u8], mut each: impl FnMut(u32, usize)) {
        let Some(&byte) = text.first() else { return };
        let bounds = |at: usize| self.first.get(at).map_or(0, |&place| place as usize);
        let mut candidates = &self.sorted[bounds(usize::from(byte))..bounds(usize::from(byte) + 1)];
        for depth in 1..=text.len() {
            // Those that agree with `depth` bytes of the text; one that ends there is the first.
            let Some(&shortest) = candidates.first() else {
                return;
            };
            if vocab.get(shortest).is_some_and(|it| it.len() == depth) {
                each(shortest, depth);
                candidates = &candidates[1..];
            }
            let Some(&byte) = text.get(depth) else { return };
            let at = |id: &u32| vocab.get(*id).and_then(|it| it.get(depth)).copied();
            let from = candidates.partition_point(|id| at(id) < Some(byte));
            let to = candidates.partition_point(|id| at(id) <= Some(byte));
            candidates = &candidates[from..to];
        }
    }
}

impl Best {
    fn improve(&mut self, sum: f64, length: usize, id: u32) {
        if self.length == 0 || sum > self.sum {
            *self = Best {
                sum,
                length: length as u32,
                id,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unigram(pieces: &[(&str, f64)], single: bool) -> (Vocab, Unigram) {
        let mut vocab = Vocab::default();
        for (piece, _) in pieces {
            vocab.push(piece.as_bytes(), Kind::Normal).unwrap();
        }
        vocab.index(|_| true);
        let scores: Vec<f64> = pieces.iter().map(|&(_, score)| score).collect();
        let lowest = scores.iter().copied().fold(0.0, f64::min);
        let unigram = Unigram::new(&vocab, scores, single, lowest);
        (vocab, unigram)
    }

    /// The best of all ways to cut a text, by trying each.
    fn naive(pieces: &[(&str, f64)], text: &str) -> f64 {
        let Some(c) = text.chars().next() else {
            return 0.0;
        };
        let lowest = pieces.iter().map(|piece| piece.1).fold(0.0, f64::min);
        let matching = || pieces.iter().filter(|piece| text.starts_with(piece.0));
        let known = matching().map(|(piece, score)| score + naive(pieces, &text[piece.len()..]));
        let rest = || lowest - UNKNOWN_PENALTY + naive(pieces, &text[c.len_utf8()..]);
        let alone = matching().any(|(piece, _)| piece.len() == c.len_utf8());
        known.fold(if alone { f64::MIN } else { rest() }, f64::max)
    }

    #[test]
    fn the_sum_is_the_best_there_is() {
        let pieces = [
            ("a", -3.0),
            ("b", -3.5),
            ("ab", -4.0),
            ("abé", -5.25),
            ("ba", -4.75),
            ("é", -2.5),
            ("aaa", -6.5),
            ("bé", -9.0),
        ];
        for single in [true, false] {
            let (vocab, unigram) = unigram(&pieces, single);
            for text in ["", "a", "abé", "aaab", "baabéabab", "xaéx", "éxabaaaaba"] {
                let mut cut = String::new();
                let sum = unigram.best(&vocab, text, 0.0, |id, span| {
                    let piece = id.and_then(|id| vocab.get(id));
                    assert!(piece.is_none_or(|piece| piece == text[span.clone()].as_bytes()));
                    cut += &text[span];
                });
                assert_eq!((sum, cut.as_str()), (naive(&pieces, text), text));
            }
        }
    }
}
