//! The steps of a `tokenizer.json` around its model: normalizer, pre-tokenizer and post-processor.
//!
//! A step that is not known is refused by name, since ignoring it would give other tokens in
//! silence.

use serde_json::Value;

use super::hf::{error, shown};
use super::normal::{Normal, Step};
use super::split::{Digits, Split, Steps};
use crate::error::LoadError;

/// Tokens around a text at most, on either side; real files have one or two.
const MAX_AROUND: usize = 64;

pub(super) fn kind_of(step: &Value) -> &str {
    step["type"].as_str().unwrap_or("of no type")
}

/// The steps of a part of the pipeline, in order; `list` is the key a `Sequence` keeps them under,
/// and sequences may hold sequences.
pub(super) fn steps<'a>(part: &'a Value, list: &str) -> Vec<&'a Value> {
    match part[list].as_array() {
        _ if part.is_null() => Vec::new(),
        Some(members) if kind_of(part) == "Sequence" => members
            .iter()
            .flat_map(|member| steps(member, list))
            .collect(),
        _ => vec![part],
    }
}

/// The normal form of texts for byte-level models: one of Unicode's, or none.
pub(super) fn normalizer(part: &Value) -> Result<Normal, LoadError> {
    let step = |step: &&Value| {
        unicode_form(kind_of(step)).ok_or_else(|| {
            let kind = shown(kind_of(step));
            error(format!(
                "tokenizer.json has the normalizer `{kind}`; supported: none, `NFC`, `NFD`, `NFKC`, `NFKD`"
            ))
        })
    };
    let steps = steps(part, "normalizers")
        .iter()
        .map(step)
        .collect::<Result<_, _>>()?;
    Ok(Normal { steps })
}

/// The normalizers that are Unicode's normal forms.
pub(super) fn unicode_form(kind: &str) -> Option<Step> {
    match kind {
        "NFC" => Some(Step::Nfc),
        "NFD" => Some(Step::Nfd),
        "NFKC" => Some(Step::Nfkc),
        "NFKD" => Some(Step::Nfkd),
        _ => None,
    }
}

/// The rule by which text is split.
pub(super) fn pre_tokenizer(part: &Value) -> Result<Split, LoadError> {
    let steps = steps(part, "pretokenizers");
    cut(&steps).ok_or_else(|| {
        let described: Vec<String> = steps.iter().take(4).map(|step| described(step)).collect();
        let described = described.join(", ");
        error(format!(
            "tokenizer.json has the pre-tokenizer [{}]; supported: `ByteLevel` without `add_prefix_space` (GPT-2), or `Split` by Llama 3's, Qwen 2's or GPT-2's expression, then `ByteLevel`; before either `Digits` one by one or contiguous `Punctuation`, after it `Digits` and `Split` by `[0-9][0-9][0-9]` (Falcon)",
            described
        ))
    })
}

/// A step as an error shows it: enough of it for a regular expression.
fn described(step: &Value) -> String {
    let mut text = step.to_string();
    text.truncate(text.floor_char_boundary(500));
    text
}

fn cut(steps: &[&Value]) -> Option<Split> {
    // What comes first cuts a text, and what follows sees the parts one by one.
    let mut own = Steps::default();
    let mut rest = steps;
    match rest {
        [first, after @ ..] if is_digits(first) => (own.digits_alone, rest) = (true, after),
        [first, after @ ..]
            if kind_of(first) == "Punctuation" && first["behavior"] == "Contiguous" =>
        {
            (own.punctuation, rest) = (true, after);
        }
        _ => {}
    }
    let (split, rest) = match rest {
        [only, after @ ..] if is_byte_level(only, true) => (Split::GPT2, after),
        [split, bytes, after @ ..] if is_byte_level(bytes, false) => {
            let dropped = match (split["behavior"].as_str(), split["invert"].as_bool()) {
                _ if kind_of(split) != "Split" => return None,
                (Some("Isolated"), _) => false,
                // Of a pattern that covers every text, to isolate the matches or to remove what
                // lies between them is the same.
                (Some("Removed"), Some(true)) => true,
                _ => return None,
            };
            let pattern = split["pattern"]["Regex"].as_str()?;
            (Split::from_pattern(pattern, dropped)?, after)
        }
        _ => return None,
    };
    match rest {
        [] => {}
        [digits] if kind_of(digits) == "Digits" => own.digits = Some(last_digits(digits)),
        [triples] if is_triples(triples) => own.triples = true,
        [digits, triples] if kind_of(digits) == "Digits" && is_triples(triples) => {
            (own.digits, own.triples) = (Some(last_digits(digits)), true);
        }
        _ => return None,
    }
    Some(split.with(own))
}

fn last_digits(step: &Value) -> Digits {
    match step["individual_digits"].as_bool() {
        Some(true) => Digits::Each,
        _ => Digits::Runs,
    }
}

fn is_triples(step: &Value) -> bool {
    let pattern = step["pattern"]["Regex"].as_str();
    kind_of(step) == "Split"
        && step["behavior"] == "Isolated"
        && matches!(pattern, Some("[0-9][0-9][0-9]" | "[0-9]{3}"))
}

fn is_byte_level(step: &Value, regex: bool) -> bool {
    kind_of(step) == "ByteLevel"
        && step["use_regex"].as_bool().unwrap_or(true) == regex
        && !step["add_prefix_space"].as_bool().unwrap_or(true)
}

/// True if a step cuts off each digit (`\p{N}`) by itself.
fn is_digits(step: &Value) -> bool {
    let isolated = step["behavior"].as_str() == Some("Isolated");
    match kind_of(step) {
        "Digits" => step["individual_digits"].as_bool() == Some(true),
        "Split" => {
            isolated
                && matches!(
                    step["pattern"]["Regex"].as_str(),
                    Some(r"\p{N}" | r"[\p{N}]")
                )
        }
        _ => false,
    }
}

/// Tokens that are put around a text where special tokens are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Around {
    pub(super) prefix: Vec<u32>,
    pub(super) suffix: Vec<u32>,
}

/// The tokens that the post-processor puts around a single text.
pub(super) fn post_processor(part: &Value, vocab_size: usize) -> Result<Around, LoadError> {
    let mut found: Option<Around> = None;
    for step in steps(part, "processors") {
        let around = match kind_of(step) {
            // It moves offsets, which are not asked for.
            "ByteLevel" => continue,
            "TemplateProcessing" => template(step, vocab_size)?,
            "BertProcessing" | "RobertaProcessing" => Around {
                prefix: vec![pair_id(step, "cls", vocab_size)?],
                suffix: vec![pair_id(step, "sep", vocab_size)?],
            },
            other => {
                let other = shown(other);
                return Err(error(format!(
                    "tokenizer.json has the post-processor `{other}`; supported: `ByteLevel`, `TemplateProcessing`, `BertProcessing`, `RobertaProcessing`"
                )));
            }
        };
        if found.replace(around).is_some() {
            return Err(error(
                "tokenizer.json has several post-processors that add tokens, which is not supported",
            ));
        }
    }
    Ok(found.unwrap_or_default())
}

/// The id of `[text, id]` under `key`.
fn pair_id(step: &Value, key: &str, vocab_size: usize) -> Result<u32, LoadError> {
    let kind = kind_of(step);
    checked(&step[key][1], vocab_size).ok_or_else(|| {
        error(format!(
            "tokenizer.json's `{kind}` has no token of the vocabulary as `{key}`"
        ))
    })
}

fn checked(id: &Value, vocab_size: usize) -> Option<u32> {
    let id = id.as_u64().filter(|&id| id < vocab_size as u64)?;
    u32::try_from(id).ok()
}

fn template(step: &Value, vocab_size: usize) -> Result<Around, LoadError> {
    let mut around = Around::default();
    let mut texts = 0;
    for piece in step["single"].as_array().into_iter().flatten() {
        if let Some(name) = piece["SpecialToken"]["id"].as_str() {
            let ids = step["special_tokens"][name]["ids"].as_array();
            let ids = ids.and_then(|ids| {
                ids.iter()
                    .map(|id| checked(id, vocab_size))
                    .collect::<Option<Vec<_>>>()
            });
            let ids = ids.ok_or_else(|| {
                let name = shown(name);
                error(format!(
                    "tokenizer.json's template adds `{name}`, whose id is not in the vocabulary"
                ))
            })?;
            let side = if texts == 0 {
                &mut around.prefix
            } else {
                &mut around.suffix
            };
            side.extend(ids);
        } else {
            texts += usize::from(piece["Sequence"]["id"].as_str() == Some("A"));
        }
    }
    if around.prefix.len().max(around.suffix.len()) > MAX_AROUND {
        return Err(error(format!(
            "tokenizer.json's template adds more than {MAX_AROUND} tokens before or after a text"
        )));
    }
    if texts != 1 {
        return Err(error(
            "tokenizer.json's template for a single text must hold the text (`Sequence` A) once",
        ));
    }
    Ok(around)
}
