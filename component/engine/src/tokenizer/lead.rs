//! Spaces at the beginning of a decoded text: those that the tokenizer put there.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::hf::{error, shown};
use super::normal::SPACE_SIGN;
use crate::error::LoadError;

/// The spaces that are taken from the beginning of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Lead {
    /// None.
    #[default]
    Kept,
    /// So many at most.
    Taken(usize),
    /// All of the first token.
    FirstToken,
}

impl Lead {
    /// The rest of the next token's bytes.
    pub(super) fn take<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if bytes.is_empty() {
            return bytes;
        }
        let spaces = bytes.iter().take_while(|&&byte| byte == b' ').count();
        let taken = match *self {
            Lead::Kept => 0,
            Lead::FirstToken => spaces,
            Lead::Taken(most) => spaces.min(most),
        };
        *self = match *self {
            Lead::Taken(most) if taken == bytes.len() && taken < most => Lead::Taken(most - taken),
            _ => Lead::Kept,
        };
        &bytes[taken..]
    }

    /// What a `tokenizer.json`'s decoder says of a vocabulary of pieces.
    pub(super) fn from_decoder(part: &Value) -> Result<Self, LoadError> {
        let mut lead = Lead::Kept;
        for step in super::pipeline::steps(part, "decoders") {
            match super::pipeline::kind_of(step) {
                "ByteFallback" | "Fuse" => {}
                "Replace"
                    if step["pattern"]["String"] == SPACE_SIGN.to_string()
                        && step["content"] == " " => {}
                "Strip" if step["content"] == " " && step["stop"].as_u64().unwrap_or(0) == 0 => {
                    let most = step["start"].as_u64().unwrap_or(0);
                    lead = Lead::Taken(usize::try_from(most).unwrap_or(usize::MAX));
                }
                "Metaspace" => {
                    let never = step["prepend_scheme"] == "never"
                        || (step["prepend_scheme"].is_null() && step["add_prefix_space"] == false);
                    lead = if never { Lead::Kept } else { Lead::FirstToken };
                }
                other => {
                    return Err(error(format!(
                        "tokenizer.json has the decoder `{}`; supported beside pieces: `Replace` of \
                         `▁` by a space, `ByteFallback`, `Fuse`, `Strip` of spaces at the start, `Metaspace`",
                        shown(other)
                    )));
                }
            }
        }
        Ok(lead)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(mut lead: Lead, tokens: &[&str]) -> String {
        let bytes = tokens.iter().flat_map(|token| lead.take(token.as_bytes()));
        String::from_utf8(bytes.copied().collect()).unwrap()
    }

    #[test]
    fn spaces_are_taken_from_the_beginning_only() {
        let tokens = ["", "  ", " a", " b"];
        assert_eq!(text(Lead::Kept, &tokens), "   a b");
        assert_eq!(text(Lead::Taken(1), &tokens), "  a b");
        assert_eq!(text(Lead::Taken(9), &tokens), "a b");
        assert_eq!(text(Lead::Taken(1), &["a", " b"]), "a b");
        assert_eq!(text(Lead::FirstToken, &tokens), " a b");
    }

    #[test]
    fn decoders() {
        let strip = json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
        assert_eq!(Lead::from_decoder(&strip).unwrap(), Lead::Taken(1));
        let metaspace = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first"});
        assert_eq!(Lead::from_decoder(&metaspace).unwrap(), Lead::FirstToken);
        assert_eq!(Lead::from_decoder(&Value::Null).unwrap(), Lead::Kept);
        let error = Lead::from_decoder(&json!({"type": "CTC"})).unwrap_err();
        assert!(error.to_string().contains("`CTC`"));
    }
}
