//! A GGUF file: header, metadata, tokenizer, template, tensors; and what the engine makes of it.
#![no_main]
#![allow(missing_docs, reason = "the macro's own")]

use libfuzzer_sys::fuzz_target;
use sterna_engine::model::Model;
use sterna_engine::placement::Bytes;

fuzz_target!(|input: &[u8]| {
    if let Ok(model) = Model::from_gguf_bytes("fuzz", Bytes::from(input.to_vec())) {
        sterna_fuzz::spans::assert_apart(&sterna_fuzz::spans::of_gguf(input));
        sterna_fuzz::exercise(model);
    }
});
