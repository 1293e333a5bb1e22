//! A tokenizer.json, and texts for it.
#![no_main]
#![allow(missing_docs, reason = "the macro's own")]

use libfuzzer_sys::fuzz_target;
use sterna_engine::tokenizer::Tokenizer;

fuzz_target!(|input: &[u8]| {
    let [json, text] = sterna_fuzz::parts(input);
    let Ok(tokenizer) = Tokenizer::from_json(json) else {
        return;
    };
    let text = String::from_utf8_lossy(text);
    for special in [false, true] {
        if let Ok(ids) = tokenizer.encode(&text, special) {
            tokenizer.decode(&ids);
            assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
        }
    }
    tokenizer.decode(&[0, 1, u32::MAX]);
    // What is stored in a converted file reads back the same.
    let again = Tokenizer::from_gguf(tokenizer.to_gguf());
    if let (Ok(again), Ok(ids)) = (again, tokenizer.encode(&text, true)) {
        assert_eq!(again.encode(&text, true).ok(), Some(ids));
    }
});
