//! Drafts without a model: what followed when the same tokens stood here before (prompt lookup,
//! Saxena 2023).

use std::collections::HashMap;

/// The last positions at which each pair and each triple of a sequence's tokens ended.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    triples: HashMap<[u32; 3], usize>,
    pairs: HashMap<[u32; 2], usize>,
    /// Places up to this one are in the tables.
    indexed: usize,
}

impl Lookup {
    /// Up to `max` tokens that may follow `tokens`: those after the latest earlier place where the
    /// same three tokens stood, or else the same two. A match that reaches the end goes on with
    /// itself, as a loop does. `tokens` grows from call to call and is otherwise the same.
    pub(super) fn draft(&mut self, tokens: &[u32], max: usize) -> Vec<u32> {
        // A place is where an n-gram ends; the last one is what is asked for, so it is not in yet.
        for end in self.indexed.max(1)..tokens.len() {
            if let Some(pair) = tokens[..end].last_chunk() {
                self.pairs.insert(*pair, end);
            }
            if let Some(triple) = tokens[..end].last_chunk() {
                self.triples.insert(*triple, end);
            }
        }
        self.indexed = tokens.len();
        let triple = tokens.last_chunk().and_then(|last| self.triples.get(last));
        let pair = || tokens.last_chunk().and_then(|last| self.pairs.get(last));
        let Some(&from) = triple.or_else(pair) else {
            return Vec::new();
        };
        let period = tokens.len() - from;
        (0..max).map(|i| tokens[from + i % period]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(tokens: &[u32], max: usize) -> Vec<u32> {
        Lookup::default().draft(tokens, max)
    }

    #[test]
    fn drafts_what_followed_last_time() {
        assert_eq!(draft(&[1, 2, 3, 4, 5, 6, 1, 2, 3], 2), [4, 5]);
        // The latest place wins, and three tokens before two.
        assert_eq!(draft(&[2, 3, 8, 2, 3, 9, 2, 3], 1), [9]);
        assert_eq!(draft(&[1, 2, 3, 8, 7, 2, 3, 9, 1, 2, 3], 1), [8]);
        // Two alone will do.
        assert_eq!(draft(&[2, 3, 9, 5, 2, 3], 1), [9]);
    }

    #[test]
    fn nothing_follows_what_was_never_there() {
        assert!(draft(&[1, 2, 3, 4], 4).is_empty());
        assert!(draft(&[1], 4).is_empty());
        assert!(draft(&[], 4).is_empty());
        assert!(draft(&[1, 2, 1, 2], 0).is_empty());
    }

    #[test]
    fn a_loop_goes_on() {
        assert_eq!(draft(&[7, 1, 2, 3, 1, 2, 3], 7), [1, 2, 3, 1, 2, 3, 1]);
        assert_eq!(draft(&[5, 5, 5], 3), [5, 5, 5]);
    }

    #[test]
    fn growing_tokens_are_indexed_once_and_give_the_same() {
        let tokens: Vec<u32> = (0..200).map(|i| i * i % 7).collect();
        let mut lookup = Lookup::default();
        for end in 0..tokens.len() {
            assert_eq!(
                lookup.draft(&tokens[..end], 5),
                draft(&tokens[..end], 5),
                "{end}"
            );
        }
    }
}
