//! The nature of a directory that was given as a model and is none.

use std::path::Path;

/// At most so many names of a directory are looked at.
const MOST_NAMES: usize = 10_000;

/// Why a directory without a `config.json` is no Hugging Face model, and what to give instead.
pub(super) fn without_config(dir: &Path) -> String {
    let names = names(dir);
    let has = |name: &str| names.iter().any(|other| other == name);
    let gguf: Vec<&str> = ending(&names, ".gguf");
    if has("adapter_config.json") {
        return ADAPTER.into();
    }
    if let [first, rest @ ..] = gguf.as_slice() {
        let others = match rest.len() {
            0 => String::new(),
            n => format!(" (or one of {n} others there)"),
        };
        return format!("it has no config.json; give the GGUF file in it, {first}{others}");
    }
    if has("blobs") && has("manifests") {
        return "it is Ollama's store; give the file of the weights, the largest one in `blobs`"
            .into();
    }
    if names.iter().any(|name| name.ends_with(".safetensors")) {
        return "it has safetensors, but no config.json: download the whole repository, not only the \
                weights"
            .into();
    }
    if let [onnx, ..] = ending(&names, ".onnx").as_slice() {
        return format!("it holds an ONNX model ({onnx}), which is not supported. {GIVE}");
    }
    if has("tokenizer.model") || has("tokenizer.json") {
        return format!("it has a tokenizer, but neither config.json nor weights. {GIVE}");
    }
    format!("it has no config.json. {GIVE}")
}

const GIVE: &str = "Give a GGUF file, or the directory of a Hugging Face model";
const ADAPTER: &str = "it holds an adapter (LoRA, adapter_config.json), which is not supported; merge it \
                       into its model first (peft: `merge_and_unload`), and give the merged model";

/// Why a directory with a `config.json` cannot be served, though its weights might be.
pub(super) fn refused(dir: &Path) -> Option<&'static str> {
    dir.join("adapter_config.json").is_file().then_some(ADAPTER)
}

/// Why a directory with a `config.json` has no weights.
pub(super) fn without_weights(dir: &Path, wanted: &str) -> String {
    let names = names(dir);
    let none = format!("it has a config.json, but neither {wanted}");
    if let [bin, ..] = ending(&names, ".bin").as_slice() {
        return format!(
            "{none}. Its weights are PyTorch files ({bin}), which can run code when they are read; \
             convert them to safetensors (transformers: `model.save_pretrained(DIR, \
             safe_serialization=True)`)"
        );
    }
    if let [gguf, ..] = ending(&names, ".gguf").as_slice() {
        return format!("{none}. Give the GGUF file in it, {gguf}");
    }
    if let [other, ..] = ending(&names, ".safetensors").as_slice() {
        return format!(
            "{none}, only {other}: a file of several needs the index, another name needs to be \
             model.safetensors"
        );
    }
    format!("{none}: download the weights too")
}

/// What a directory without a tokenizer needs.
pub(super) const WITHOUT_TOKENIZER: &str =
    "it has neither a tokenizer.json nor a tokenizer.model: download one of them too";

fn ending<'a>(names: &'a [String], end: &str) -> Vec<&'a str> {
    let names = names.iter().map(String::as_str);
    names.filter(|name| name.ends_with(end)).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<String> = entries
        .take(MOST_NAMES)
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names
}
