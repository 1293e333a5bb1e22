//! What a container says of itself, whether the engine reads its model or refuses it: from headers
//! alone.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

use super::safetensors::TensorFiles;
use super::{Gguf, Value, ggml_type, parts, read_file, read_json, read_optional_json};
use crate::config::GENERAL_ARCHITECTURE;
use crate::placement;

/// The statements of a model's files.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// The container: `GGUF 3`, `GGUF 3 in 2 files`, `Hugging Face directory`; empty where it is
    /// none of them.
    pub format: String,
    /// Bytes of the file, or of the directory's files of weights.
    pub n_bytes: u64,
    /// Bytes before a GGUF's tensors.
    pub header_bytes: u64,
    /// `general.architecture`, or `model_type`.
    pub architecture: Option<String>,
    /// `general.name`.
    pub name: Option<String>,
    /// Numbers and texts that describe the architecture, as the files name them.
    pub keys: Vec<(String, String)>,
    /// The types of its tensors, the one with the most bytes first.
    pub types: Vec<TypeCount>,
    /// The tokenizer.
    pub tokenizer: TokenizerSurvey,
    /// The chat template, and the name of the file or key it is in.
    pub template: Option<(String, String)>,
}

/// The tensors of one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeCount {
    /// The type, as the container names it.
    pub ty: String,
    /// Tensors.
    pub tensors: u64,
    /// Weights of all of them: numbers as they are stored, of which a byte may hold several.
    pub numbers: u64,
    /// Bytes of all of them.
    pub n_bytes: u64,
}

/// The tokenizer as its file describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenizerSurvey {
    /// `tokenizer.ggml.model`, or the type of `tokenizer.json`'s model.
    pub kind: Option<String>,
    /// `tokenizer.ggml.pre`, or the types of `tokenizer.json`'s pre-tokenizers.
    pub pre: Option<String>,
    /// Tokens.
    pub tokens: Option<u64>,
    /// Merges.
    pub merges: Option<u64>,
}

/// Look at a file or directory. What cannot be read is left out.
#[must_use]
pub fn survey(path: &Path) -> Survey {
    if path.is_dir() {
        return directory(path);
    }
    let gguf = || {
        let bytes = placement::open(path).ok()?;
        let version = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?);
        let n_bytes = bytes.len() as u64;
        if !Gguf::has_magic(&bytes) {
            return None;
        }
        // A header that cannot be read is still one of a GGUF.
        let Ok(first) = Gguf::parse(bytes) else {
            return Some(Survey {
                format: format!("GGUF {version}"),
                n_bytes,
                ..Survey::default()
            });
        };
        let gguf = parts::complete(first.clone(), path).unwrap_or(first);
        Some(of_gguf(&gguf, version))
    };
    gguf().unwrap_or_else(|| Survey {
        n_bytes: path.metadata().map_or(0, |file| file.len()),
        ..Survey::default()
    })
}

/// Between tensors a file leaves less than its alignment, or than a cache line.
const LINE: usize = 64;

fn of_gguf(gguf: &Gguf, version: u32) -> Survey {
    let text = |key: &str| gguf.get(key).and_then(Value::as_str).map(str::to_owned);
    let length = |key: &str| {
        let array = gguf.get(key).and_then(Value::as_array);
        array.map(|array| array.len() as u64)
    };
    let architecture = text(GENERAL_ARCHITECTURE);
    let prefix = format!("{}.", architecture.as_deref().unwrap_or_default());
    let own = gguf.metadata().filter(|(key, _)| key.starts_with(&prefix));
    let keys = own.map(|(key, value)| (key.to_owned(), shown(value)));
    let mut types = Types::default();
    for (tensor, room) in gguf.tensors().iter().zip(gguf.rooms()) {
        // Of a type of unknown size, or of two (Q2_0), what lies before the next tensor.
        let n_bytes = ggml_type::n_bytes(tensor.ty, &tensor.ne);
        let n_bytes = n_bytes.filter(|n| room.saturating_sub(*n) < gguf.alignment().max(LINE));
        let n_bytes = n_bytes.unwrap_or(room);
        types.add(
            ggml_type::name(tensor.ty),
            tensor.elements(),
            n_bytes as u64,
        );
    }
    let n_files = gguf.n_parts();
    Survey {
        format: if n_files > 1 {
            format!("GGUF {version} in {n_files} files")
        } else {
            format!("GGUF {version}")
        },
        n_bytes: gguf.file_bytes(),
        header_bytes: gguf
            .tensors()
            .iter()
            .map(|tensor| tensor.start)
            .min()
            .unwrap_or(0) as u64,
        keys: keys.collect(),
        architecture,
        name: text("general.name"),
        types: types.sorted(),
        tokenizer: TokenizerSurvey {
            kind: text("tokenizer.ggml.model"),
            pre: text("tokenizer.ggml.pre"),
            tokens: length("tokenizer.ggml.tokens"),
            merges: length("tokenizer.ggml.merges"),
        },
        template: text(super::gguf_tokenizer::CHAT_TEMPLATE)
            .map(|text| (super::gguf_tokenizer::CHAT_TEMPLATE.to_owned(), text)),
    }
}

/// A value on a line; of an array its length.
fn shown(value: &Value) -> String {
    if let Some(array) = value.as_array() {
        return format!("{} values", array.len());
    }
    if let Value::F32(x) = value {
        // Its own shortest digits, not those of the f64 beside it.
        return x.to_string();
    }
    let number = || value.as_i64().map(|n| n.to_string());
    let float = || value.as_f64().map(|x| x.to_string());
    let flag = || value.as_bool().map(|flag| flag.to_string());
    let text = || value.as_str().map(str::to_owned);
    number()
        .or_else(float)
        .or_else(flag)
        .or_else(text)
        .unwrap_or_default()
}

fn directory(dir: &Path) -> Survey {
    let config = read_json(&dir.join("config.json")).unwrap_or(Json::Null);
    let Some(entries) = config.as_object() else {
        return Survey::default();
    };
    let scalar = |value: &Json| match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(_) | Json::Bool(_) => Some(value.to_string()),
        Json::Object(_) => Some(value.to_string()),
        Json::Null | Json::Array(_) => None,
    };
    let keys = entries.iter();
    let keys = keys.filter_map(|(key, value)| Some((key.clone(), scalar(value)?)));
    let mut keys: Vec<_> = keys.collect();
    keys.sort_unstable();
    let mut types = Types::default();
    if let Ok(files) = TensorFiles::open(dir) {
        for name in files.names() {
            let Some(tensor) = files.get(name) else {
                continue;
            };
            let sizes = tensor.shape.iter().map(|&n| n as u64);
            let numbers = sizes.fold(1, u64::saturating_mul);
            let ty = format!("{:?}", tensor.dtype);
            types.add(&ty, numbers, tensor.bytes.len() as u64);
        }
    }
    let types = types.sorted();
    Survey {
        format: "Hugging Face directory".into(),
        n_bytes: types.iter().map(|ty| ty.n_bytes).sum(),
        header_bytes: 0,
        architecture: config["model_type"].as_str().map(str::to_owned),
        name: None,
        keys,
        types,
        tokenizer: of_tokenizer_json(dir),
        template: template(dir),
    }
}

fn template(dir: &Path) -> Option<(String, String)> {
    const FILE: &str = "chat_template.jinja";
    let file = dir.join(FILE);
    if file.is_file() {
        let text = String::from_utf8_lossy(&read_file(&file).ok()?).into_owned();
        return Some((FILE.into(), text));
    }
    const CONFIG: &str = "tokenizer_config.json";
    let config = read_optional_json(&dir.join(CONFIG)).ok()??;
    Some((CONFIG.into(), super::open::chat_template(&config)?))
}

fn of_tokenizer_json(dir: &Path) -> TokenizerSurvey {
    let file = dir.join("tokenizer.json");
    let text = || read_file(&file).ok().filter(|_| file.is_file());
    let head = text().and_then(|text| serde_json::from_slice::<TokenizerJson>(&text).ok());
    let Some(TokenizerJson {
        model,
        pre_tokenizer,
        added_tokens,
    }) = head
    else {
        let model = dir.join("tokenizer.model");
        let kind = model.is_file().then(|| "SentencePiece".to_owned());
        return TokenizerSurvey {
            kind,
            ..TokenizerSurvey::default()
        };
    };
    let mut pre = Vec::new();
    types_of(&pre_tokenizer, &mut pre);
    // Most added tokens are in the vocabulary too, or follow it.
    let last = added_tokens
        .iter()
        .map(|token| token.id.saturating_add(1))
        .max();
    TokenizerSurvey {
        kind: model.ty,
        pre: (!pre.is_empty()).then(|| pre.join(", ")),
        tokens: Some(model.vocab.0.max(last.unwrap_or(0))),
        merges: (model.merges.0 > 0).then_some(model.merges.0),
    }
}

/// The types of a pre-tokenizer and of those it is made of.
fn types_of(pre: &Json, types: &mut Vec<String>) {
    match pre["pretokenizers"].as_array() {
        Some(several) => several.iter().for_each(|pre| types_of(pre, types)),
        None => types.extend(pre["type"].as_str().map(str::to_owned)),
    }
}

/// The parts of a `tokenizer.json` that describe it; of long lists, their lengths.
#[derive(Deserialize)]
struct TokenizerJson {
    model: TokenizerModel,
    #[serde(default)]
    pre_tokenizer: Json,
    #[serde(default)]
    added_tokens: Vec<AddedId>,
}

#[derive(Deserialize)]
struct TokenizerModel {
    #[serde(rename = "type")]
    ty: Option<String>,
    #[serde(default)]
    vocab: Count,
    #[serde(default)]
    merges: Count,
}

#[derive(Deserialize)]
struct AddedId {
    #[serde(default)]
    id: u64,
}

/// The number of a list's or an object's entries.
#[derive(Default)]
struct Count(u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Count;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list or an object")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Count, A::Error> {
                let mut n = 0;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    n += 1;
                }
                Ok(Count(n))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
                let mut n = 0;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    n += 1;
                }
                Ok(Count(n))
            }
        }
        deserializer.deserialize_any(Entries)
    }
}

#[derive(Default)]
struct Types(BTreeMap<String, [u64; 3]>);

impl Types {
    fn add(&mut self, ty: &str, numbers: u64, n_bytes: u64) {
        let [tensors, all, bytes] = self.0.entry(ty.to_owned()).or_default();
        *tensors += 1;
        *all = all.saturating_add(numbers);
        *bytes = bytes.saturating_add(n_bytes);
    }

    fn sorted(self) -> Vec<TypeCount> {
        let types = self.0.into_iter();
        let types = types.map(|(ty, [tensors, numbers, n_bytes])| TypeCount {
            ty,
            tensors,
            numbers,
            n_bytes,
        });
        let mut types: Vec<TypeCount> = types.collect();
        types.sort_by_key(|ty| std::cmp::Reverse(ty.n_bytes));
        types
    }
}
