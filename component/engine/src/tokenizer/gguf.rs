//! The tokenizer inside a GGUF file: `tokenizer.ggml.*` (ggml-org/ggml, `docs/gguf.md`).

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::added::{AddedToken, AddedTokens};
use super::bpe::Merges;
use super::pipeline::Around;
use super::split::Split;
use super::vocab::Kind;
use super::{Parts, Tokenizer, byte_chars, hf};
use crate::error::LoadError;

/// GGUF's keys, each named in its field's comment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GgufTokenizer {
    /// `tokenizer.ggml.model`: `gpt2` is byte-level BPE.
    pub model: String,
    /// `tokenizer.ggml.pre`: the pre-tokenizer; absent from BitNet's own files, which use Llama
    /// 3's.
    pub pre: Option<String>,
    /// `tokenizer.ggml.tokens`, in GPT-2's byte characters; position is id.
    pub tokens: Vec<String>,
    /// `tokenizer.ggml.token_type`: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused.
    /// Empty: all normal.
    pub token_types: Vec<i32>,
    /// `tokenizer.ggml.merges`: `left right`, by rank.
    pub merges: Vec<String>,
    /// `tokenizer.ggml.bos_token_id`
    pub bos_id: Option<u32>,
    /// `tokenizer.ggml.eos_token_id`
    pub eos_id: Option<u32>,
    /// `tokenizer.ggml.add_bos_token`; absent: what `pre` is used to, which is yes for Llama 3's.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`; absent: no.
    pub add_eos: Option<bool>,
    /// `sterna.tokenizer.ignore_merges`, a key of ours: GGUF implies it by `pre`. Absent: yes for
    /// Llama 3's.
    pub ignore_merges: Option<bool>,
    /// `sterna.tokenizer.nfc`, a key of ours: text is brought to Unicode's NFC first. Absent: what
    /// `pre` is used to, which is yes for Qwen's.
    pub nfc: Option<bool>,
    /// `sterna.tokenizer.more`, a key of ours: what GGUF has no keys for, as JSON. Absent where
    /// there is nothing.
    pub more: Option<String>,
}

/// The contents of [`GgufTokenizer::more`].
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct More {
    /// The tokens before a text, where that is not the one beginning-of-sequence token.
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<Vec<u32>>,
    /// The tokens after a text, where that is not the one end-of-sequence token.
    #[serde(skip_serializing_if = "Option::is_none")]
    suffix: Option<Vec<u32>>,
    /// The cut's regular expression, where none of `pre`'s names means it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern: Option<String>,
    /// With it: each digit is cut off first.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    digits_alone: bool,
    /// The token for a byte that is no token.
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<u32>,
    /// Options of added tokens that have any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    added: Vec<Options>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    id: u32,
    lstrip: bool,
    rstrip: bool,
    single_word: bool,
    normalized: bool,
}

/// A cut, and the names `tokenizer.ggml.pre` has for it (llama.cpp, `llama-vocab.cpp`; FORMATS.md
/// 4.4).
struct Pre {
    split: Split,
    /// The first is written.
    names: &'static [&'static str],
    /// True if such files add the beginning of a sequence and ignore merges where no key says so.
    llama3: bool,
    /// True if such files want NFC where no key says so. GGUF has no key for it; transformers'
    /// `Qwen2Tokenizer` always has it, whatever a file says. llama.cpp leaves it out, so that its
    /// tokens differ from those of training in text that is not composed.
    nfc: bool,
}

const PRES: [Pre; 6] = [
    Pre {
        split: Split::LLAMA3,
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-e",
            "falcon_e",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        llama3: true,
        nfc: false,
    },
    Pre {
        split: Split::LLAMA3,
        names: &["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"],
        llama3: false,
        nfc: false,
    },
    Pre {
        split: Split::GPT2,
        names: &[
            "gpt-2",
            "gpt2",
            "phi-2",
            "olmo",
            "mpt",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
            "jina-es",
            "jina-de",
            "jina-v2-es",
            "jina-v2-de",
            "jina-v1-en",
            "jina-v2-code",
            "roberta-bpe",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "modern-bert",
        ],
        llama3: false,
        nfc: false,
    },
    Pre {
        split: Split::QWEN2,
        names: &["qwen2"],
        llama3: false,
        nfc: true,
    },
    Pre {
        split: Split::QWEN2,
        names: &[
            "deepseek-r1-qwen",
            "stablelm2",
            "hunyuan",
            "megrez",
            "kormo",
            "f2llmv2",
            "solar-open",
            "grok-2",
        ],
        llama3: false,
        nfc: false,
    },
    Pre {
        split: Split::SMOLLM,
        names: &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
        ],
        llama3: false,
        nfc: false,
    },
];

fn pre_of(name: Option<&str>) -> Result<&'static Pre, LoadError> {
    let Some(name) = name else {
        return Ok(&PRES[0]);
    };
    PRES.iter()
        .find(|pre| pre.names.contains(&name))
        .ok_or_else(|| {
            let known: Vec<&str> = PRES.iter().flat_map(|pre| pre.names).copied().collect();
            LoadError::Tokenizer(format!(
                "`tokenizer.ggml.pre` is `{}`; supported: {}",
                hf::shown(name),
                known.join(", ")
            ))
        })
}

pub(super) fn read(meta: &GgufTokenizer) -> Result<Parts, LoadError> {
    if meta.model != "gpt2" {
        return Err(LoadError::Tokenizer(format!(
            "`tokenizer.ggml.model` is `{}`; only `gpt2` (byte-level BPE) is supported, sentencepiece (`llama`) and others are not",
            hf::shown(&meta.model)
        )));
    }
    let pre = pre_of(meta.pre.as_deref())?;
    let more = more(meta)?;
    let split = match &more.pattern {
        None => pre.split,
        Some(pattern) => Split::from_pattern(pattern, false)
            .map(|split| split.after_digits(more.digits_alone))
            .ok_or_else(|| bad_more("names an unknown `pattern`"))?,
    };
    if !meta.token_types.is_empty() && meta.token_types.len() != meta.tokens.len() {
        return Err(LoadError::Tokenizer(format!(
            "`tokenizer.ggml.token_type` has {} entries for {} tokens",
            meta.token_types.len(),
            meta.tokens.len()
        )));
    }
    let kinds = (0..meta.tokens.len()).map(|id| match meta.token_types.get(id) {
        // An unknown token (`<unk>`) never comes of text.
        Some(2 | 3) => Kind::Control,
        Some(4) => Kind::UserDefined,
        Some(5) => Kind::Unused,
        _ => Kind::Normal,
    });
    let options: HashMap<usize, &Options> = more
        .added
        .iter()
        .map(|options| (options.id as usize, options))
        .collect();
    let added = |(id, kind): (usize, Kind)| {
        let special = kind == Kind::Control;
        let text = meta.tokens[id].clone();
        let plain = AddedToken::plain(id as u32, text, special);
        matches!(kind, Kind::Control | Kind::UserDefined).then(|| match options.get(&id) {
            Some(options) => AddedToken {
                lstrip: options.lstrip,
                rstrip: options.rstrip,
                single_word: options.single_word,
                ..plain
            },
            None => plain,
        })
    };
    let (added_normalized, added) =
        kinds
            .clone()
            .enumerate()
            .filter_map(added)
            .partition(|token| {
                options
                    .get(&(token.id as usize))
                    .is_some_and(|options| options.normalized)
            });
    let vocab = hf::fill(meta.tokens.iter().map(String::as_str).zip(kinds))?;
    let mut merges = Merges::with_capacity(meta.merges.len());
    let mut scratch = Vec::new();
    for rule in &meta.merges {
        let (left, right) = rule
            .split_once(' ')
            .ok_or_else(|| hf::error(format!("the merge `{}` has no space", hf::shown(rule))))?;
        hf::push_merge(left, right, &vocab, &mut merges, &mut scratch)?;
    }
    let one = |id: Option<u32>, wanted: bool| id.filter(|_| wanted).into_iter().collect();
    let around = Around {
        prefix: more
            .prefix
            .unwrap_or_else(|| one(meta.bos_id, meta.add_bos.unwrap_or(pre.llama3))),
        suffix: more
            .suffix
            .unwrap_or_else(|| one(meta.eos_id, meta.add_eos.unwrap_or(false))),
    };
    for (key, ids) in [("bos", &around.prefix), ("eos", &around.suffix)] {
        if let Some(id) = ids.iter().find(|&&id| id as usize >= vocab.len()) {
            return Err(LoadError::Tokenizer(format!(
                "`tokenizer.ggml.{key}_token_id` is {id}, the vocabulary has {} tokens",
                vocab.len()
            )));
        }
    }
    if let Some(id) = more.unknown.filter(|&id| id as usize >= vocab.len()) {
        return Err(bad_more(&format!(
            "has `unknown` {id}, which is not in the vocabulary"
        )));
    }
    Ok(Parts {
        vocab,
        merges,
        added,
        added_normalized,
        split,
        ignore_merges: meta.ignore_merges.unwrap_or(pre.llama3),
        nfc: meta.nfc.unwrap_or(pre.nfc),
        unknown: more.unknown,
        around,
    })
}

fn more(meta: &GgufTokenizer) -> Result<More, LoadError> {
    let Some(json) = &meta.more else {
        return Ok(More::default());
    };
    serde_json::from_str(json).map_err(|error| bad_more(&format!("cannot be read: {error}")))
}

fn bad_more(reason: &str) -> LoadError {
    LoadError::Tokenizer(format!(
        "`sterna.tokenizer.more` {reason}: convert the model again"
    ))
}

/// The keys of a tokenizer, in a file whose beginning and end of a sequence are these.
pub(super) fn write(
    tokenizer: &Tokenizer,
    bos_id: Option<u32>,
    eos_id: Option<u32>,
) -> GgufTokenizer {
    let vocab = &tokenizer.vocab;
    // A token outside the index is not written in byte characters.
    let name = |id: u32| {
        let bytes = vocab.get(id).unwrap_or_default();
        match vocab.kind(id) {
            Some(Kind::Unused) | None => format!("[PAD{id}]"),
            Some(Kind::Normal) if vocab.id_of(bytes) == Some(id) => byte_chars::to_text(bytes),
            Some(_) => String::from_utf8_lossy(bytes).into_owned(),
        }
    };
    let Around { prefix, suffix } = &tokenizer.around;
    // Nothing, or the one token that a flag asks for.
    let unusual = |ids: &[u32], one: Option<u32>| match ids {
        [] => false,
        [only] => Some(*only) != one,
        _ => true,
    };
    let split = tokenizer.split;
    let same = || PRES.iter().filter(|pre| pre.split == split);
    let pre = same()
        .find(|pre| pre.nfc == tokenizer.nfc)
        .or_else(|| same().next());
    let options = |tokens: &AddedTokens, normalized: bool| -> Vec<Options> {
        let options = tokens.iter().map(|token| Options {
            id: token.id,
            lstrip: token.lstrip,
            rstrip: token.rstrip,
            single_word: token.single_word,
            normalized,
        });
        options
            .filter(|options| {
                *options
                    != Options {
                        id: options.id,
                        ..Options::default()
                    }
            })
            .collect()
    };
    let mut added = options(&tokenizer.added, false);
    added.extend(options(&tokenizer.added_normalized, true));
    added.sort_by_key(|options| options.id);
    let more = More {
        prefix: unusual(prefix, bos_id).then(|| prefix.clone()),
        suffix: unusual(suffix, eos_id).then(|| suffix.clone()),
        pattern: pre.is_none().then(|| split.expression()),
        digits_alone: pre.is_none() && split.digits_alone(),
        unknown: tokenizer.unknown,
        added,
    };
    let ids = 0..vocab.len() as u32;
    GgufTokenizer {
        model: "gpt2".into(),
        pre: Some(pre.unwrap_or(&PRES[0]).names[0].into()),
        tokens: ids.clone().map(name).collect(),
        token_types: ids
            .map(|id| vocab.kind(id).unwrap_or(Kind::Unused) as i32)
            .collect(),
        merges: tokenizer
            .merges
            .pairs()
            .map(|(left, right)| format!("{} {}", name(left), name(right)))
            .collect(),
        bos_id,
        eos_id,
        add_bos: Some(!prefix.is_empty()),
        add_eos: (!suffix.is_empty()).then_some(true),
        ignore_merges: Some(tokenizer.ignore_merges),
        nfc: (tokenizer.nfc != pre.is_some_and(|pre| pre.nfc)).then_some(tokenizer.nfc),
        more: (more != More::default()).then(|| serde_json::to_string(&more).unwrap_or_default()),
    }
}
