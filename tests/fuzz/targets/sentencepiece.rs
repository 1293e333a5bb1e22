//! A tokenizer.model, and texts for it.
#![no_main]
#![allow(missing_docs, reason = "the macro's own")]

use libfuzzer_sys::fuzz_target;
use sterna_engine::tokenizer::{TextStream, Tokenizer};

fuzz_target!(|input: &[u8]| {
    // Scores may hold the separator, texts cannot.
    let end = input
        .iter()
        .rposition(|&byte| byte == sterna_fuzz::SEPARATOR);
    let (model, text) = input.split_at(end.unwrap_or(input.len()));
    let Ok(tokenizer) = Tokenizer::from_sentencepiece(model) else {
        return;
    };
    let text = String::from_utf8_lossy(text.get(1..).unwrap_or_default());
    for special in [false, true] {
        let Ok(ids) = tokenizer.encode(&text, special) else {
            continue;
        };
        assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
        let mut stream = TextStream::at_beginning(&tokenizer);
        let pieces: String = ids.iter().map(|&id| stream.push(&tokenizer, id)).collect();
        assert_eq!(pieces + &stream.finish(), tokenizer.decode(&ids));
        // A limit changes no token, and is never said to be passed where it is not.
        for most in [ids.len(), ids.len() / 2, 0] {
            if let Ok(within) = tokenizer.encode_at_most(&text, special, most) {
                assert_eq!(within.is_ok(), ids.len() <= most);
            }
        }
        let again = Tokenizer::from_gguf(tokenizer.to_gguf());
        if let Ok(again) = again {
            assert_eq!(again.encode(&text, special).ok(), Some(ids));
        }
    }
});
