//! The model's vocabulary as llguidance wants it: a trie of all tokens' bytes.

use llguidance::toktrie::{INVALID_TOKEN, TokRxInfo, TokTrie, TokenId, TokenizerEnv};

use crate::tokenizer::Tokenizer;

/// Bytes of a token at most: longer ones are never chosen where a grammar holds. The trie has room
/// for 1024.
const MAX_TOKEN_BYTES: usize = 1000;
/// Bytes of all tokens together at most: the trie numbers its nodes with 22 bits.
const MAX_BYTES: usize = (1 << 22) - 1;

/// A vocabulary, and how text becomes tokens of it.
pub(super) struct Vocabulary {
    trie: TokTrie,
    tokenizer: Tokenizer,
}

impl Vocabulary {
    /// The tokens of `tokenizer`.
    ///
    /// # Errors
    /// Why they are too much for a trie.
    pub(super) fn new(tokenizer: &Tokenizer) -> Result<Self, String> {
        let size = tokenizer.vocab_size();
        let tokens: Vec<Vec<u8>> = (0..size)
            .map(|id| u32::try_from(id).map_or_else(|_| Vec::new(), |id| bytes(tokenizer, id)))
            .collect();
        if tokens.iter().map(Vec::len).sum::<usize>() > MAX_BYTES {
            return Err(format!(
                "the model's vocabulary has more than {MAX_BYTES} bytes, too many for grammars"
            ));
        }
        // Ends are the sequence's to allow: which there are depends on the request.
        let info = TokRxInfo::new(u32::try_from(size).unwrap_or(u32::MAX), INVALID_TOKEN);
        Ok(Vocabulary {
            trie: TokTrie::from(&info, &tokens),
            tokenizer: tokenizer.clone(),
        })
    }
}

/// The bytes by which a grammar knows a token; none where it is never to be chosen.
fn bytes(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    let marker = TokTrie::SPECIAL_TOKEN_MARKER;
    match tokenizer.token_bytes(id) {
        Some(name) if tokenizer.is_special(id) => [&[marker], name].concat(),
        // No text has the marker's byte.
        Some(text) if text.len() <= MAX_TOKEN_BYTES && !text.contains(&marker) => text.to_vec(),
        _ => Vec::new(),
    }
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, text: &[u8]) -> Vec<TokenId> {
        let tokens = self.trie.tokenize_with_greedy_fallback(text, |text| {
            self.tokenizer.encode(text, false).unwrap_or_default()
        });
        // A normal form makes other bytes of a text, which the grammar would not know again.
        if self.trie.decode(&tokens) == text {
            tokens
        } else {
            self.trie.greedy_tokenize(text)
        }
    }

    /// The model chooses among all tokens that continue a text, also where the text is forced: what
    /// it would write by itself need not be what its tokenizer makes of it.
    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}
