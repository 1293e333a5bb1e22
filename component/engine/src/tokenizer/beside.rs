//! The files beside a `tokenizer.json`: `tokenizer_config.json`, `special_tokens_map.json` and
//! `added_tokens.json`.
//!
//! transformers adds their tokens to the tokenizer's own, with the options they give
//! (`PreTrainedTokenizerFast.__init__`), and has from them which texts begin and end a sequence.

use std::collections::{HashMap, HashSet};

use serde_json::Value as Json;

use super::hf::Added;

/// Keys of one special token each.
const NAMED: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// Keys of lists of special tokens.
const LISTS: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];

/// The parsed files, each `null` where absent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beside {
    pub(crate) tokenizer_config: Json,
    pub(crate) special_tokens_map: Json,
    pub(crate) added_tokens: Json,
}

impl Beside {
    /// The texts of a special token: of `tokenizer_config.json`, then of `special_tokens_map.json`,
    /// which older files keep beside it.
    pub(crate) fn texts<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        let files = [&self.tokenizer_config, &self.special_tokens_map];
        files
            .into_iter()
            .filter_map(move |file| text_of(file.get(key)?))
    }

    /// A flag of `tokenizer_config.json`.
    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        self.tokenizer_config.get(key)?.as_bool()
    }

    /// The texts of all special tokens that are named.
    fn special(&self) -> Vec<&str> {
        let files = [&self.tokenizer_config, &self.special_tokens_map];
        let lists = LISTS.iter().flat_map(|key| {
            files
                .iter()
                .filter_map(|file| file.get(*key)?.as_array())
                .flatten()
                .filter_map(text_of)
        });
        NAMED
            .iter()
            .flat_map(|key| self.texts(key))
            .chain(lists)
            .collect()
    }

    /// The added tokens with their ids, as the files give them.
    fn described(&self, special: &[&str]) -> Vec<Added> {
        let text_and_options = |(id, token): (&String, &Json)| {
            let flag = |key: &str| token.get(key).and_then(Json::as_bool).unwrap_or(false);
            Some(Added {
                id: id.parse().ok()?,
                content: text_of(token)?.to_owned(),
                special: flag("special"),
                normalized: flag("normalized"),
                lstrip: flag("lstrip"),
                rstrip: flag("rstrip"),
                single_word: flag("single_word"),
            })
        };
        if let Some(decoder) = self
            .tokenizer_config
            .get("added_tokens_decoder")
            .and_then(Json::as_object)
        {
            return decoder.iter().filter_map(text_and_options).collect();
        }
        let text_to_id = |(text, id): (&String, &Json)| {
            let is_special = special.contains(&text.as_str());
            let id = u32::try_from(id.as_u64()?).ok()?;
            Some(Added {
                normalized: !is_special,
                ..Added::plain(id, text, is_special)
            })
        };
        self.added_tokens
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(text_to_id)
            .collect()
    }

    /// Add these tokens to those of a `tokenizer.json` whose vocabulary is `entries`. A text that
    /// the vocabulary has keeps its id; one that has none, and is given none, stays ordinary text.
    pub(super) fn add_to<'a>(
        &self,
        added: &mut Vec<Added>,
        entries: impl Iterator<Item = (&'a str, u32)>,
    ) {
        let special = self.special();
        let described = self.described(&special);
        let wanted = described.iter().map(|token| token.content.as_str());
        let mut ids: HashMap<&str, Option<u32>> = wanted
            .chain(special.iter().copied())
            .map(|text| (text, None))
            .collect();
        if ids.is_empty() {
            return;
        }
        let mut taken = HashSet::new();
        for (text, id) in entries {
            taken.insert(id);
            if let Some(found) = ids.get_mut(text) {
                *found = Some(id);
            }
        }
        taken.extend(added.iter().map(|token| token.id));
        let mut own: HashMap<String, usize> = added
            .iter()
            .enumerate()
            .map(|(at, token)| (token.content.clone(), at))
            .collect();
        for token in &described {
            let known = ids.get(token.content.as_str()).copied().flatten();
            if let Some(&at) = own.get(&token.content) {
                let id = added[at].id;
                added[at] = Added {
                    id,
                    ..token.clone()
                };
            } else if known.is_some() || !taken.contains(&token.id) {
                let id = known.unwrap_or(token.id);
                taken.insert(id);
                own.insert(token.content.clone(), added.len());
                added.push(Added {
                    id,
                    ..token.clone()
                });
            }
        }
        for text in special {
            let known = ids.get(text).copied().flatten();
            if let Some(id) = known.filter(|_| !own.contains_key(text)) {
                own.insert(text.to_owned(), added.len());
                added.push(Added::plain(id, text, true));
            }
        }
    }
}

/// A token: a text, or an object with the text as `content`.
fn text_of(token: &Json) -> Option<&str> {
    token.as_str().or_else(|| token.get("content")?.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tokenizer::Tokenizer;

    fn tiny() -> Vec<u8> {
        let path = "/../../tests/fixtures/packed-autobitlinear/tokenizer.json";
        std::fs::read(format!("{}{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    #[test]
    fn values_of_any_kind_are_read_or_passed_over() {
        let kinds = [
            Json::Null,
            json!(true),
            json!(-1),
            json!(1e300),
            json!("<s>"),
            json!(""),
            json!([]),
            json!(["<s>", 5, {"content": "<pad>"}, [[]], null]),
            json!({}),
            json!({"content": 5}),
            json!({"content": {"content": "<s>"}}),
            json!({"<s>": {"content": "<s>"}, "700": {"content": "<t>", "lstrip": "x"}, "-1": "a", "5": []}),
            json!({"<s>": 1, "": 2, "a": -3, "b": 4.5, "<t>": 512}),
        ];
        let bytes = tiny();
        let keys = NAMED
            .iter()
            .chain(&LISTS)
            .chain(&["added_tokens_decoder", "add_bos_token"]);
        for (key, kind) in keys.flat_map(|key| kinds.iter().map(move |kind| (key, kind))) {
            let beside = Beside {
                tokenizer_config: json!({*key: kind}),
                special_tokens_map: kind.clone(),
                added_tokens: kind.clone(),
            };
            let tokenizer = Tokenizer::from_json_beside(&bytes, &beside).unwrap();
            assert_eq!(
                tokenizer.encode("a<s>", true).unwrap().last(),
                Some(&1),
                "{key}: {kind}"
            );
        }
    }

    #[test]
    fn an_id_far_from_all_others_is_refused() {
        let beside = Beside {
            tokenizer_config: json!({"added_tokens_decoder": {"4000000000": {"content": "<t>"}}}),
            ..Beside::default()
        };
        let error = Tokenizer::from_json_beside(&tiny(), &beside)
            .unwrap_err()
            .to_string();
        assert!(error.contains("4000000000"), "{error}");
    }
}
