//! A lower bound of a text's tokens. A text that is certain to have more of them than there is room
//! for is refused before it is merged: so the work that a text costs follows from the context, not
//! from the text.

use super::added::AddedTokens;
use super::normal::Shrinks;
use super::vocab::Vocab;

/// A token is looked up by its first bytes.
const START: usize = 4;

/// log2 of the table's length.
const TABLE_BITS: u32 = 15;

/// The lengths of a vocabulary's tokens.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    /// Bytes of the longest token.
    longest: usize,
    /// Bytes of the longest token among those whose first [`START`] bytes have this hash.
    by_start: Vec<u16>,
    /// Every byte is a token, so that what is merged has the text's own bytes.
    whole_alphabet: bool,
    /// How much shorter than a text its normal form may be.
    shrinks: Shrinks,
    /// An added token takes whitespace with it, however much.
    whitespace_vanishes: bool,
}

/// Bytes of a text that a number of tokens may stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBytes {
    /// Of one token at most; 0 where nothing can be said.
    pub most: usize,
    /// True if whitespace is among them. Else any number of tokens may stand for any amount of it.
    pub whitespace: bool,
}

impl Bound {
    pub(super) fn new(
        vocab: &Vocab,
        added: [&AddedTokens; 2],
        shrinks: Shrinks,
        whole_alphabet: bool,
    ) -> Self {
        let mut by_start = vec![0; 1 << TABLE_BITS];
        let mut longest = 0;
        for id in 0..vocab.len() as u32 {
            let token = vocab.get(id).unwrap_or_default();
            longest = longest.max(token.len());
            if let Some(start) = token.first_chunk() {
                let known: &mut u16 = &mut by_start[slot(*start)];
                *known = u16::try_from(token.len()).unwrap_or(u16::MAX).max(*known);
            }
        }
        Bound {
            longest: added
                .iter()
                .map(|added| added.longest())
                .fold(longest, usize::max),
            by_start,
            whole_alphabet,
            shrinks,
            whitespace_vanishes: added.iter().any(|added| added.swallows_whitespace()),
        }
    }

    /// Bytes of a text, before it is brought to its normal form, for each token.
    pub(super) fn token_bytes(&self) -> TokenBytes {
        TokenBytes {
            // A byte without a token vanishes, or is another token whatever its length.
            most: match self.shrinks {
                Shrinks::By(by) | Shrinks::Whitespace(by) if self.whole_alphabet => {
                    self.longest.saturating_mul(by)
                }
                _ => 0,
            },
            whitespace: !self.whitespace_vanishes
                && !matches!(self.shrinks, Shrinks::Whitespace(_)),
        }
    }

    /// True if a piece that is merged has more than `room` tokens for certain. Looks at about as
    /// many bytes as `room` tokens may have.
    ///
    /// A token is no longer than the longest one that begins as the text does there. So to cover
    /// the piece takes at least as many tokens as jumps, where a jump may end anywhere within that
    /// length: a breadth-first search that needs no queue.
    pub(super) fn exceeds(&self, piece: &[u8], room: usize) -> bool {
        if !self.whole_alphabet || self.longest > usize::from(u16::MAX) {
            return false;
        }
        let (mut jumps, mut end, mut farthest) = (0, 0, 0);
        for at in 0..piece.len() {
            farthest = farthest.max(at + self.reach(&piece[at..]));
            if at == end {
                jumps += 1;
                if jumps > room {
                    return true;
                }
                end = farthest;
            }
        }
        false
    }

    /// Bytes of the longest token that may begin here; at least one.
    fn reach(&self, text: &[u8]) -> usize {
        match text.first_chunk() {
            // A token shorter than that may begin anything.
            Some(start) => usize::from(self.by_start[slot(*start)]).max(START - 1),
            None => text.len(),
        }
    }
}

fn slot(start: [u8; START]) -> usize {
    let hash = u32::from_le_bytes(start).wrapping_mul(0x9E37_79B1);
    (hash >> (u32::BITS - TABLE_BITS)) as usize
}

impl TokenBytes {
    /// At least how many tokens a text of so many bytes (whitespace left out, where that does not
    /// count) must have.
    #[must_use]
    pub fn least_tokens(self, bytes: usize) -> usize {
        if self.most == 0 {
            return 0;
        }
        bytes.div_ceil(self.most)
    }

    /// At least how many tokens `texts` must have together, if that is more than `room`. Looks no
    /// further than is needed to know.
    #[must_use]
    pub fn excess<'a>(
        self,
        texts: impl Iterator<Item = &'a str> + Clone,
        room: usize,
    ) -> Option<usize> {
        let whole = self.least_tokens(texts.clone().map(str::len).sum());
        if self.whitespace || whole <= room {
            return Some(whole).filter(|&least| least > room);
        }
        let mut bytes = 0;
        let mut words = texts.flat_map(str::split_whitespace);
        words.find_map(|word| {
            bytes += word.len();
            Some(self.least_tokens(bytes)).filter(|&least| least > room)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use unicode_normalization::UnicodeNormalization;

    use super::super::normal::{Normal, Step};
    use super::super::vocab::Kind;
    use super::*;

    fn bound(tokens: &[&str]) -> Bound {
        let mut vocab = Vocab::default();
        for token in tokens {
            vocab.push(token.as_bytes(), Kind::Normal).unwrap();
        }
        let none = AddedTokens::default();
        Bound::new(&vocab, [&none, &none], Shrinks::By(1), true)
    }

    #[test]
    fn jumps_are_as_long_as_what_may_begin_there() {
        let bound = bound(&["a", "aaaaaaaa", "bbbbb", "abababababab"]);
        assert!(!bound.exceeds(&[b'a'; 800], 100));
        assert!(bound.exceeds(&[b'a'; 801], 100));
        assert!(bound.exceeds(&[b'b'; 501], 100));
        // Nothing is known that begins so: three bytes at most.
        assert!(bound.exceeds(&[b'c'; 304], 100) && !bound.exceeds(&[b'c'; 300], 100));
        assert!(!bound.exceeds(b"", 0) && bound.exceeds(b"a", 0));
    }

    #[test]
    fn the_normal_form_is_no_shorter_than_that() {
        // The longest way to write a character that stands for one other, as the Kelvin sign does,
        // or (by compatibility) the mathematical letters.
        fn check<D: Iterator<Item = char>>(step: Step, decomposed: impl Fn(char) -> D) {
            let mut longest = BTreeMap::new();
            for c in '\0'..=char::MAX {
                let mut parts = decomposed(c);
                if let (Some(only), None) = (parts.next(), parts.next()) {
                    let known = longest.entry(only).or_default();
                    *known = c.len_utf8().max(*known);
                }
            }
            let normal = Normal { steps: vec![step] };
            let Shrinks::By(by) = normal.shrinks(None) else {
                panic!("nothing vanishes")
            };
            for c in '\0'..=char::MAX {
                let text = String::from(c);
                let written: usize = decomposed(c).map(|part| longest[&part]).sum();
                assert!(written <= by * normal.apply(&text, false).len(), "{c:?}");
            }
        }
        check(Step::Nfc, |c| [c].into_iter().nfd());
        check(Step::Nfkc, |c| [c].into_iter().nfkd());
    }

    #[test]
    fn whitespace_counts_where_nothing_swallows_it() {
        let counted = TokenBytes {
            most: 4,
            whitespace: true,
        };
        let swallowed = TokenBytes {
            whitespace: false,
            ..counted
        };
        let text = "abcd    \u{3000}\u{3000}abcd";
        assert_eq!(counted.excess([text].into_iter(), 3), Some(5));
        assert_eq!(counted.excess([text].into_iter(), 5), None);
        assert_eq!(swallowed.excess([text].into_iter(), 1), Some(2));
        assert_eq!(swallowed.excess([text].into_iter(), 2), None);
        let unknown = TokenBytes {
            most: 0,
            whitespace: true,
        };
        assert_eq!(unknown.excess([text].into_iter(), 0), None);
    }
}
