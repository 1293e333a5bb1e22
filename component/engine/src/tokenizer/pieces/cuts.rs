//! Places at which a text may be cut because no piece reaches over them.
//!
//! SentencePiece merges a whole text at once. Where every piece that holds a space begins with it,
//! save for spaces alone, a text falls apart before each run of spaces: words then merge one by
//! one, and a text that is too long is known to be so early. A few pieces (`> </` in Gemma's) have
//! a space inside; the characters before those keep what they stand between together.

use crate::tokenizer::vocab::{Kind, Vocab};

/// Which bytes, at the end of a character, a text is not cut after.
#[derive(Clone, Debug)]
pub(super) struct Cuts {
    /// `[256]`; empty where a text is never cut.
    joined: Vec<bool>,
}

impl Cuts {
    /// `whole` where a text must not be cut.
    pub(super) fn new(vocab: &Vocab, whole: bool) -> Self {
        // A space that is no piece is unknown, and may be one token with what is before it.
        let is_piece = vocab.id_of(b" ").is_some();
        if whole || !is_piece {
            return Cuts { joined: Vec::new() };
        }
        let mut joined = vec![false; 256];
        for id in 0..vocab.len() as u32 {
            if matches!(vocab.kind(id), Some(Kind::Normal | Kind::UserDefined)) {
                let text = vocab.get(id).unwrap_or_default();
                for pair in text.windows(2) {
                    if pair[0] != b' ' && pair[1] == b' ' {
                        joined[usize::from(pair[0])] = true;
                    }
                }
            }
        }
        Cuts { joined }
    }

    /// `text` in parts, none empty.
    pub(super) fn parts<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a str> {
        let mut rest = text;
        std::iter::from_fn(move || {
            let end = self.end(rest.as_bytes());
            // Before a space, which is a whole character.
            let (part, after) = rest.split_at(end);
            rest = after;
            (!part.is_empty()).then_some(part)
        })
    }

    fn end(&self, text: &[u8]) -> usize {
        let cut = |pair: &[u8]| {
            let joined = self.joined.get(usize::from(pair[0])).copied();
            pair[1] == b' ' && pair[0] != b' ' && joined == Some(false)
        };
        text.windows(2)
            .position(cut)
            .map_or(text.len(), |before| before + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(pieces: &[&str], text: &str) -> Vec<String> {
        let mut vocab = Vocab::default();
        for piece in pieces {
            vocab.push(piece.as_bytes(), Kind::Normal).unwrap();
        }
        vocab.index(|_| true);
        let cuts = Cuts::new(&vocab, false);
        cuts.parts(text).map(str::to_owned).collect()
    }

    #[test]
    fn words_fall_apart_where_no_piece_joins_them() {
        assert_eq!(parts(&[" ", " a", "  "], " a  b c"), [" a", "  b", " c"]);
        assert_eq!(parts(&[" ", "> </"], "é> </a b"), ["é> </a", " b"]);
        assert_eq!(parts(&["a"], "a b"), ["a b"]);
        assert!(parts(&[" "], "").is_empty());
    }
}
