//! What tells models apart: a digest of every tensor's name, type, shape and first values, of the
//! tokenizer, the chat template and the defaults. Two files that differ in one weight deep within a
//! tensor have the same; two trainings, quantisations or vocabularies do not.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::OpenModel;

/// Bytes of each tensor that are looked at: a page would be read for any of them anyway.
pub(super) const SAMPLE_BYTES: usize = 1024;

/// The fingerprint of an open model: 64 hexadecimal digits.
pub(crate) fn fingerprint(open: &OpenModel) -> String {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    open.source.sample(&mut add);
    add(format!("{:?}{:?}", open.config, open.defaults).as_bytes());
    for id in 0..u32::try_from(open.config.vocab_size).unwrap_or(u32::MAX) {
        add(open.tokenizer.token_bytes(id).unwrap_or_default());
    }
    add(open.template.source().unwrap_or_default().as_bytes());
    let mut text = String::with_capacity(64);
    for byte in hash.finalize() {
        // Writing to a string never fails.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
