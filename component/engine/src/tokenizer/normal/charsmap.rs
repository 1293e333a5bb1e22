//! SentencePiece's table of replacements (`precompiled_charsmap`): a trie of what is replaced, and
//! the texts that replace it.
//!
//! The trie is a double array as `darts-clone` writes it: units of 32 bits, in which bit 8 says
//! that a key ends here, bits 0 to 7 (and 31) hold the byte that leads here, and the others the
//! distance to the units of the next bytes. A key's value is a place in the texts, which end with a
//! zero byte (google/sentencepiece, `normalizer.cc`).

use serde::{Deserialize, Serialize};

/// Of the keys that a text begins with, SentencePiece replaces the longest. Empty: nothing is
/// replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub(in crate::tokenizer) struct Charsmap {
    units: Vec<u32>,
    texts: String,
}

impl TryFrom<Vec<u8>> for Charsmap {
    type Error = String;

    fn try_from(bytes: Vec<u8>) -> Result<Self, String> {
        Charsmap::parse(&bytes).ok_or_else(|| "the table of replacements is damaged".into())
    }
}

impl From<Charsmap> for Vec<u8> {
    fn from(map: Charsmap) -> Vec<u8> {
        map.to_bytes()
    }
}

/// Bytes of a key and of a replacement at most, so that a text takes time and memory by its length,
/// also where the trie leads back into itself; the longest of NFKC's has 33.
const LONGEST: usize = 256;

impl Charsmap {
    /// From the bytes in a file: the trie's length in bytes, the trie, the texts.
    pub(in crate::tokenizer) fn parse(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk()?;
        let (trie, texts) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let (units, []) = trie.as_chunks() else {
            return None;
        };
        let units = units.iter().map(|&unit| u32::from_le_bytes(unit)).collect();
        let texts = std::str::from_utf8(texts).ok()?.to_owned();
        if texts.split('\0').any(|text| text.len() > LONGEST) {
            return None;
        }
        Some(Charsmap { units, texts })
    }

    /// The bytes that [`Self::parse`] reads.
    pub(in crate::tokenizer) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = ((self.units.len() * 4) as u32).to_le_bytes().to_vec();
        bytes.extend(self.units.iter().flat_map(|unit| unit.to_le_bytes()));
        bytes.extend_from_slice(self.texts.as_bytes());
        bytes
    }

    pub(in crate::tokenizer) fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// What replaces the beginning of `text`, and its length there in bytes.
    pub(super) fn replaced(&self, text: &str) -> Option<(&str, usize)> {
        let (place, length) = self.keys(text).last()?;
        let replacement = self.replacement(place)?;
        // Keys are whole characters; in a damaged table they may not be.
        text.is_char_boundary(length)
            .then_some((replacement, length))
    }

    /// What replaces the shortest key that `text` begins with.
    pub(super) fn first(&self, text: &str) -> Option<&str> {
        let (place, _) = self.keys(text).next()?;
        self.replacement(place)
    }

    fn replacement(&self, place: u32) -> Option<&str> {
        let texts = self.texts.get(place as usize..)?;
        texts.split('\0').next()
    }

    /// The keys that `text` begins with, the shortest first: the place of each one's replacement,
    /// and its length.
    fn keys(&self, text: &str) -> impl Iterator<Item = (u32, usize)> {
        let offset = |unit: u32| (unit >> 10) << ((unit & (1 << 9)) >> 6);
        let unit = |at: u32| self.units.get(at as usize).copied();
        let mut at = unit(0).map(offset);
        let bytes = text.bytes().take(LONGEST).zip(1..);
        let found = bytes.map_while(move |(byte, length)| {
            let here = at? ^ u32::from(byte);
            let label = |here: &u32| here & (1 << 31 | 0xFF) == u32::from(byte);
            let node = unit(here).filter(label)?;
            let next = here ^ offset(node);
            at = Some(next);
            let value = unit(next).filter(|_| node & (1 << 8) != 0);
            Some(value.map(|value| (value & !(1 << 31), length)))
        });
        found.flatten()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A trie of the keys `a` (to `bc`) and `ab` (to nothing).
    pub(in crate::tokenizer) fn small() -> Charsmap {
        let unit = |label: u8, leaf: bool, offset: u32| {
            u32::from(label) | u32::from(leaf) << 8 | offset << 10
        };
        let mut units = vec![0; 1024];
        units[0] = unit(0, false, 256);
        // 'a' from 256: a leaf whose value is at its offset, and 'b' beside it.
        units[256 ^ usize::from(b'a')] = unit(b'a', true, 353 ^ 512);
        units[512] = 1 << 31;
        units[512 ^ usize::from(b'b')] = unit(b'b', true, (512 ^ u32::from(b'b')) ^ 768);
        units[768] = 1 << 31 | 2;
        Charsmap {
            units,
            texts: "bc\0\0".into(),
        }
    }

    #[test]
    fn the_longest_key_is_replaced() {
        let map = small();
        assert_eq!(map.replaced("ac"), Some(("bc", 1)));
        assert_eq!(map.replaced("abab"), Some(("", 2)));
        assert_eq!(map.replaced("b"), None);
        assert_eq!(map.replaced(""), None);
        assert_eq!(map.first("abab"), Some("bc"));
        assert_eq!(map.first("b"), None);
        assert_eq!(Charsmap::default().replaced("a"), None);
        assert_eq!(Charsmap::parse(&map.to_bytes()), Some(map));
    }

    #[test]
    fn damage_is_no_table_or_replaces_nothing() {
        let whole = small().to_bytes();
        for cut in [0, 3, 4, 100, 4100] {
            assert_eq!(Charsmap::parse(&whole[..cut.min(4099)]), None, "{cut}");
        }
        let mut odd = whole.clone();
        odd[0] = 1;
        assert_eq!(Charsmap::parse(&odd), None);
        for at in 4..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xFF;
            if let Some(map) = Charsmap::parse(&damaged) {
                for text in ["a", "ab", "aé", "é"] {
                    map.replaced(text);
                }
            }
        }
    }
}
