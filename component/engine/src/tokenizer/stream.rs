//! Detokenisation token by token, for streams: never half a character.

use super::Tokenizer;
use super::lead::Lead;

/// Text of tokens as they come. A character's bytes may lie in several tokens: they are held back
/// until it is complete, or cannot become so. All pieces together are what [`Tokenizer::decode`]
/// makes of all tokens, if the stream is [`Self::at_beginning`].
#[derive(Clone, Debug, Default)]
pub struct TextStream {
    /// The beginning of a character; at most 3 bytes between calls.
    held: Vec<u8>,
    /// Spaces that are still to be taken away.
    lead: Lead,
}

impl TextStream {
    /// A stream that continues a text, as an answer does its prompt: a space at its beginning
    /// belongs to it.
    pub fn new() -> Self {
        TextStream::default()
    }

    /// A stream at the beginning of a text: the space that the tokenizer puts there is none of its.
    pub fn at_beginning(tokenizer: &Tokenizer) -> Self {
        TextStream {
            lead: tokenizer.lead,
            ..TextStream::default()
        }
    }

    /// The text that `id` completes, maybe none. Special tokens and ids without a token have none.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> String {
        match tokenizer.token_bytes(id) {
            Some(bytes) if !tokenizer.is_special(id) => {
                let bytes = self.lead.take(bytes);
                self.push_bytes(bytes)
            }
            _ => String::new(),
        }
    }

    /// The text that `bytes` complete, maybe none; what is no UTF-8 becomes U+FFFD.
    pub fn push_bytes(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.held.len());
        let mut incomplete = 0;
        let mut chunks = self.held.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            let invalid = chunk.invalid();
            // No `error_len`: a character's beginning, which what comes next may complete.
            let begins = |bytes| std::str::from_utf8(bytes).is_err_and(|e| e.error_len().is_none());
            if chunks.peek().is_none() && begins(invalid) {
                incomplete = invalid.len();
            } else if !invalid.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.held.drain(..self.held.len() - incomplete);
        text
    }

    /// End the text: U+FFFD for a character that stayed incomplete.
    pub fn finish(&mut self) -> String {
        let held = std::mem::take(&mut self.held);
        String::from_utf8_lossy(&held).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream<'a>(tokens: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let mut stream = TextStream::new();
        let mut pieces: Vec<String> = tokens
            .into_iter()
            .map(|bytes| stream.push_bytes(bytes))
            .collect();
        pieces.push(stream.finish());
        pieces
    }

    /// Bytes that often form characters, and often nearly.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let fragment = prop_oneof![
            any::<char>().prop_map(|c| c.to_string().into_bytes()),
            any::<char>().prop_map(|c| c.to_string().into_bytes()[..1].to_vec()),
            prop::collection::vec(0x80u8..=0xFF, 1..4),
            prop::sample::select(vec![
                vec![0xE0, 0x80],
                vec![0xED, 0xA0, 0x80],
                vec![0xF0, 0x9F, 0x98],
                vec![0xF4, 0x90],
                vec![0xC0]
            ]),
        ];
        prop::collection::vec(fragment, 0..12).prop_map(|fragments| fragments.concat())
    }

    proptest! {
        #[test]
        fn pieces_together_are_the_lossy_whole(bytes in bytes(), cuts in prop::collection::vec(1usize..4, 0..64)) {
            let mut rest = &bytes[..];
            let mut tokens = Vec::new();
            for cut in cuts {
                let (token, after) = rest.split_at(cut.min(rest.len()));
                tokens.push(token);
                rest = after;
            }
            tokens.push(rest);
            prop_assert_eq!(stream(tokens).concat(), String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn a_character_comes_with_its_last_byte(text in any::<String>()) {
            let mut stream = TextStream::new();
            let mut ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
            let mut next = ends.next();
            for (at, byte) in text.bytes().enumerate() {
                let piece = stream.push_bytes(&[byte]);
                prop_assert_eq!(piece.is_empty(), next != Some(at + 1));
                if !piece.is_empty() {
                    next = ends.next();
                }
            }
        }
    }

    #[test]
    fn an_emoji_in_four_tokens() {
        let pieces = stream(
            ["😀".as_bytes()]
                .into_iter()
                .flat_map(|bytes| bytes.chunks(1)),
        );
        assert_eq!(pieces, ["", "", "", "😀", ""]);
    }

    #[test]
    fn a_broken_character_is_flushed_by_what_follows() {
        assert_eq!(
            stream([&b"\xF0\x9F"[..], b"a", b"\xE2"]),
            ["", "\u{FFFD}a", "", "\u{FFFD}"]
        );
    }
}
