//! GPT-2's map between bytes and printable characters, in which byte-level vocabularies are
//! written.
//!
//! Bytes that print stand for themselves as Latin-1 characters; the other 68 take the characters
//! from U+0100 on, in byte order (openai/gpt-2, `encoder.py`, `bytes_to_unicode`). A space becomes
//! `Ġ`.

/// True if `byte` stands for itself.
const fn prints(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}

/// `CHARS[byte]`: its character's code point.
const CHARS: [u16; 256] = {
    let mut table = [0u16; 256];
    let (mut byte, mut next) = (0usize, 0x100u16);
    while byte < 256 {
        if prints(byte as u8) {
            table[byte] = byte as u16;
        } else {
            table[byte] = next;
            next += 1;
        }
        byte += 1;
    }
    table
};

/// `BYTES[code point]`: its byte, or -1. Code points end below 0x100 + 68.
const BYTES: [i16; 0x144] = {
    let mut table = [-1i16; 0x144];
    let mut byte = 0usize;
    while byte < 256 {
        table[CHARS[byte] as usize] = byte as i16;
        byte += 1;
    }
    table
};

/// The character that stands for `byte`.
pub(super) fn char_of(byte: u8) -> char {
    // Every entry is below 0x144, which is a character.
    char::from_u32(u32::from(CHARS[usize::from(byte)])).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The byte `character` stands for, `None` if it stands for none.
pub(super) fn byte_of(character: char) -> Option<u8> {
    let byte = *BYTES.get(character as usize)?;
    u8::try_from(byte).ok()
}

/// Append the bytes `text` stands for. `false`, with `out` as it was, if a character stands for
/// none.
pub(super) fn push_bytes(text: &str, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    for character in text.chars() {
        match byte_of(character) {
            Some(byte) => out.push(byte),
            None => {
                out.truncate(start);
                return false;
            }
        }
    }
    true
}

/// The text that stands for `bytes`.
pub(super) fn to_text(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char_of(byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_character() {
        let chars: std::collections::HashSet<char> = (0..=255).map(char_of).collect();
        assert_eq!(chars.len(), 256);
        for byte in 0..=255 {
            assert_eq!(byte_of(char_of(byte)), Some(byte));
        }
    }

    #[test]
    fn known_characters() {
        assert_eq!(
            (char_of(b' '), char_of(b'\n'), char_of(b'a'), char_of(0xAD)),
            ('Ġ', 'Ċ', 'a', 'Ń')
        );
        assert_eq!(byte_of('\u{144}'), None);
        assert_eq!(byte_of('▁'), None);
    }

    #[test]
    fn text_that_stands_for_nothing_leaves_the_buffer_alone() {
        let mut out = b"x".to_vec();
        assert!(!push_bytes("ab▁", &mut out));
        assert_eq!(out, b"x");
        assert!(push_bytes("Ġab", &mut out));
        assert_eq!(out, b"x ab");
        assert_eq!(to_text(b" ab"), "Ġab");
    }
}
