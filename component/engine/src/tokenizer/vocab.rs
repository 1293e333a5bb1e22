//! The vocabulary: token id to bytes, and bytes to token id.
//!
//! Flat arrays and an open-addressing table with a fixed hash, no pointers and no random seed: 128k
//! entries are built in milliseconds, and a snapshot of the memory that holds them stays valid.

use crate::error::LoadError;

/// The type of a token; the values are GGUF's `tokenizer.ggml.token_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Ordinary: text becomes it through merges.
    Normal = 1,
    /// Special: only matched where special tokens are asked for, and never shown.
    Control = 3,
    /// Matched in every text before pre-tokenisation, and shown.
    UserDefined = 4,
    /// An id without a token.
    Unused = 5,
    /// One byte of a character that is no piece; text does not become it by its name.
    Byte = 6,
}

/// The largest vocabulary accepted; real ones stay below 2^19.
pub(super) const MAX_TOKENS: usize = 1 << 22;

/// Tokens in id order, with an index of the ordinary ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Vocab {
    /// All tokens' bytes, one after the other.
    bytes: Vec<u8>,
    /// `ends[id]`: where token `id` ends in `bytes`; it starts where the one before ends.
    ends: Vec<u32>,
    kinds: Vec<Kind>,
    /// Open addressing, linear probing: `id + 1`, or 0 where free. Length: a power of two, at most
    /// half full.
    slots: Vec<u32>,
    /// Bytes of the longest token that is indexed.
    longest: usize,
}

impl Vocab {
    /// Append the token with the next id.
    pub(super) fn push(&mut self, bytes: &[u8], kind: Kind) -> Result<(), LoadError> {
        self.bytes.extend_from_slice(bytes);
        let end = u32::try_from(self.bytes.len())
            .map_err(|_| LoadError::Tokenizer("the vocabulary's text exceeds 4 GiB".into()))?;
        if self.ends.len() >= MAX_TOKENS {
            return Err(LoadError::Tokenizer(format!(
                "more than {MAX_TOKENS} tokens"
            )));
        }
        self.ends.push(end);
        self.kinds.push(kind);
        Ok(())
    }

    /// Index the tokens for which `indexed` holds, so that [`Self::id_of`] finds them. Of two with
    /// the same bytes the first is found.
    pub(super) fn index(&mut self, indexed: impl Fn(u32) -> bool) {
        let capacity = (self.len() * 2).next_power_of_two().max(2);
        self.slots = vec![0; capacity];
        let mut longest = 0;
        for id in 0..self.len() as u32 {
            let Some(bytes) = self.get(id) else { continue };
            if indexed(id) && self.id_of(bytes).is_none() {
                let mut slot = self.first_slot(bytes);
                while self.slots[slot] != 0 {
                    slot = (slot + 1) & (capacity - 1);
                }
                longest = longest.max(bytes.len());
                self.slots[slot] = id + 1;
            }
        }
        self.longest = longest;
    }

    /// Bytes of the longest token that is indexed.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// Number of ids, unused ones included.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of a token.
    pub(super) fn get(&self, id: u32) -> Option<&[u8]> {
        let id = id as usize;
        let end = *self.ends.get(id)?;
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        Some(&self.bytes[start as usize..end as usize])
    }

    /// The type of token `id`.
    pub(super) fn kind(&self, id: u32) -> Option<Kind> {
        self.kinds.get(id as usize).copied()
    }

    /// Change what kind of token `id` is.
    pub(super) fn set_kind(&mut self, id: u32, kind: Kind) {
        if let Some(own) = self.kinds.get_mut(id as usize) {
            *own = kind;
        }
    }

    /// The indexed token with exactly these bytes.
    pub(super) fn id_of(&self, bytes: &[u8]) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let mut slot = self.first_slot(bytes);
        loop {
            // At most half of the slots are taken, so a free one ends every search.
            let id = self.slots[slot].checked_sub(1)?;
            if self.get(id) == Some(bytes) {
                return Some(id);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    fn first_slot(&self, bytes: &[u8]) -> usize {
        (hash(bytes) >> 32) as usize & (self.slots.len() - 1)
    }
}

/// Multiply-rotate over eight bytes at a time. The keys come from the model's file, so nobody who
/// sends text can lengthen a probe sequence beyond what the file already holds.
fn hash(bytes: &[u8]) -> u64 {
    const K: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut state = bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0u8; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        state = (state.rotate_left(29) ^ u64::from_le_bytes(word)).wrapping_mul(K);
    }
    (state ^ (state >> 29)).wrapping_mul(K)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocab(tokens: &[&str]) -> Vocab {
        let mut vocab = Vocab::default();
        for token in tokens {
            vocab.push(token.as_bytes(), Kind::Normal).unwrap();
        }
        vocab
    }

    #[test]
    fn finds_every_indexed_token_and_nothing_else() {
        let names: Vec<String> = (0..5000).map(|i| format!("token{i}")).collect();
        let mut vocab = vocab(&names.iter().map(String::as_str).collect::<Vec<_>>());
        vocab.index(|id| id % 2 == 0);
        for (id, name) in names.iter().enumerate() {
            let expected = (id % 2 == 0).then_some(id as u32);
            assert_eq!(vocab.id_of(name.as_bytes()), expected, "{name}");
            assert_eq!(vocab.get(id as u32), Some(name.as_bytes()));
        }
        assert_eq!(vocab.id_of(b""), None);
        assert_eq!(vocab.get(5000), None);
    }

    #[test]
    fn the_first_of_equal_tokens_wins() {
        let mut vocab = vocab(&["a", "b", "a", ""]);
        assert_eq!(vocab.id_of(b"a"), None);
        vocab.index(|_| true);
        assert_eq!(vocab.id_of(b"a"), Some(0));
        assert_eq!(vocab.id_of(b""), Some(3));
    }
}
