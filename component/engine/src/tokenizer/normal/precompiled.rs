//! SentencePiece's replacements as Hugging Face's tokenizers makes them (`Precompiled`), which is
//! not as SentencePiece does.
//!
//! A text is taken in graphemes. One of less than six bytes that begins with a key becomes what
//! replaces the shortest such key, all of it; of any other each character does, by itself
//! (huggingface/spm_precompiled, `normalize_string`).

use unicode_segmentation::UnicodeSegmentation;

use super::Charsmap;

/// Bytes of a grapheme that is replaced as a whole, at most.
const SHORT: usize = 5;

/// The text after it; `None` where nothing changes.
pub(super) fn replace(table: &Charsmap, text: &str) -> Option<String> {
    let mut changed = false;
    let mut out = String::with_capacity(text.len());
    for grapheme in text.graphemes(true) {
        let whole = Some(grapheme).filter(|grapheme| grapheme.len() <= SHORT);
        if let Some(replacement) = whole.and_then(|grapheme| table.first(grapheme)) {
            changed = true;
            out.push_str(replacement);
            continue;
        }
        for c in grapheme.chars() {
            match table.first(c.encode_utf8(&mut [0; 4])) {
                Some(replacement) => {
                    changed = true;
                    out.push_str(replacement);
                }
                None => out.push(c),
            }
        }
    }
    changed.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::super::charsmap::tests::small;
    use super::*;

    #[test]
    fn graphemes_lose_what_follows_their_shortest_key() {
        let table = small();
        assert_eq!(replace(&table, "xyz"), None);
        // `ab` is two graphemes, whose first is a key.
        assert_eq!(replace(&table, "xab").as_deref(), Some("xbcb"));
        // A short grapheme becomes its key's replacement, a long one keeps its other characters.
        assert_eq!(replace(&table, "a\u{301}").as_deref(), Some("bc"));
        let long = "a\u{301}\u{301}\u{301}";
        assert_eq!(
            replace(&table, long).as_deref(),
            Some("bc\u{301}\u{301}\u{301}")
        );
    }
}
