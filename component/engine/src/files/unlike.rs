//! The nature of a file that was given as a model and is none: downloads go wrong in a few
//! well-known ways.
//!
//! Told by the first bytes, since names say what a file was meant to be. Magic numbers are those of
//! file(1) and of the projects named beside them.

use std::path::Path;

/// Bytes from the beginning that tell every kind apart; a tar's magic is at 257.
pub(super) const HEAD_BYTES: usize = 512;

const GIVE_GGUF: &str =
    "give a GGUF file, or the directory of a Hugging Face model with safetensors";

/// The nature of a file by its first bytes, and the remedy, as half a sentence: "it is ...". `None`
/// if nothing is known of it.
pub(super) fn what_is(bytes: &[u8], path: &Path) -> Option<String> {
    let head = &bytes[..bytes.len().min(HEAD_BYTES)];
    if head.is_empty() {
        return Some("it is empty: the download failed. Download it anew".into());
    }
    binary(head)
        .or_else(|| text(head, path))
        .or_else(|| by_shape(head, path))
}

fn told(what: &str, remedy: &str) -> Option<String> {
    Some(format!("it is {what}: {remedy}"))
}

fn binary(head: &[u8]) -> Option<String> {
    let unpack = "unpack it and give what is inside";
    let legacy = format!("formats before GGUF are not supported; {GIVE_GGUF}");
    // A PyTorch file is a zip since 1.6; its first member says so.
    let torch = head.windows(9).any(|part| part == b"/data.pkl");
    let pickle = "such files can run code when they are read, and are not; convert the model to \
                  safetensors (transformers: `model.save_pretrained(DIR, safe_serialization=True)`)";
    match head {
        [b'P', b'K', 3, 4, ..] if torch => told("a PyTorch file (.bin, .pt)", pickle),
        [b'P', b'K', 3 | 5 | 7, 4 | 6 | 8, ..] => told("a zip archive", unpack),
        [0x80, 2..=5, b'c' | b'}' | b']' | 0x8A | 0x95, ..] => {
            told("a Python pickle (.bin, .pt, .pkl)", pickle)
        }
        [0x1F, 0x8B, ..] => told("compressed with gzip", unpack),
        [0x28, 0xB5, 0x2F, 0xFD, ..] => told("compressed with zstd", unpack),
        [0xFD, b'7', b'z', b'X', b'Z', 0, ..] => told("compressed with xz", unpack),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => told("compressed with bzip2", unpack),
        [b'7', b'z', 0xBC, 0xAF, 0x27, 0x1C, ..] => told("a 7z archive", unpack),
        [b'R', b'a', b'r', b'!', ..] => told("a rar archive", unpack),
        _ if head.get(257..262) == Some(b"ustar") => told("a tar archive", unpack),
        // llama.cpp before August 2023, in the byte order of the machine that wrote it.
        [b'l', b'm', b'g', b'g', ..] => told("a ggml file", &legacy),
        [b'f', b'm', b'g', b'g', ..] => told("a ggmf file", &legacy),
        [b't', b'j', b'g', b'g', ..] => told("a ggjt file", &legacy),
        [b'a', b'l', b'g', b'g', ..] => told("a ggla file (LoRA)", &legacy),
        [b'F', b'U', b'G', b'G', ..] => told(
            "a big-endian GGUF",
            "convert it to little-endian, or download the usual one",
        ),
        [b'G', b'G', b'U', b'F', ..] => told("a GGUF file", "give that file as the model"),
        [0x89, b'H', b'D', b'F', ..] => told("an HDF5 file (Keras)", GIVE_GGUF),
        [_, _, _, _, b'T', b'F', b'L', b'3', ..] => told("a TensorFlow Lite file", GIVE_GGUF),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => told("a NumPy array", GIVE_GGUF),
        [0x7F, b'E', b'L', b'F', ..] => told("a program, or machine code", GIVE_GGUF),
        [b'M', b'Z', ..] => told("a Windows program", GIVE_GGUF),
        [0, b'a', b's', b'm', ..] => told(
            "a WebAssembly file",
            "`sterna serve` takes what `sterna bake` wrote, no other command does",
        ),
        [b'%', b'P', b'D', b'F', ..] => told("a PDF document", GIVE_GGUF),
        [0x89, b'P', b'N', b'G', ..] | [0xFF, 0xD8, 0xFF, ..] => told("a picture", GIVE_GGUF),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => told("a text in UTF-16", GIVE_GGUF),
        _ => None,
    }
}

fn text(head: &[u8], path: &Path) -> Option<String> {
    // The last character may be cut.
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.valid_up_to() + 4 > head.len() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let text = text.trim_start_matches(['\u{FEFF}', ' ', '\n', '\r', '\t']);
    let lower = text.to_lowercase();
    if text.starts_with("version https://git-lfs.github.com/spec/") {
        return told(
            "a Git LFS pointer, a text that stands for the file",
            "fetch the file itself (`git lfs pull`, or `huggingface-cli download`)",
        );
    }
    if lower.starts_with("<!doctype") || lower.starts_with("<html") || lower.starts_with("<?xml") {
        return told(
            "a web page",
            "the download got the site's answer instead of the file. Download it anew from the \
             file's own address (on Hugging Face `resolve`, not `blob`), logged in if the model is gated",
        );
    }
    let ollama = "the weights are the largest file in Ollama's `blobs` directory: give that one";
    if text.starts_with('{') {
        if lower.contains("application/vnd.ollama") || lower.contains("vnd.docker.distribution") {
            return told("a manifest of Ollama or a registry", ollama);
        }
        if lower.contains("\"error\"")
            || lower.contains("\"detail\"")
            || lower.contains("\"message\"")
        {
            return told(
                "an error message in JSON",
                "the download failed, and this is why; download the file anew",
            );
        }
    }
    // A name that promises JSON gets a JSON error.
    let json = path.extension().is_some_and(|end| end == "json");
    if text.starts_with(['{', '[']) && !json {
        return told(
            "a JSON text",
            "give the directory it is in, if that is a Hugging Face model",
        );
    }
    let is_text = !json && !text.contains(|c: char| c.is_control() && !c.is_whitespace());
    if is_text && (lower.starts_with("from ") || lower.starts_with("# modelfile")) {
        return told(
            "a Modelfile of Ollama",
            "give the GGUF file that its line FROM names",
        );
    }
    is_text.then(|| format!("it is a text: {GIVE_GGUF}"))
}

/// Files without a magic number: guessed by the shape of the first bytes.
fn by_shape(head: &[u8], path: &Path) -> Option<String> {
    let named = |wanted: &str| path.file_name().is_some_and(|name| name == wanted);
    // Protocol buffers: a piece of a vocabulary, with a text first.
    let pieces = matches!(head, [0x0A, _, 0x0A, ..]);
    if named("tokenizer.model") || named("spiece.model") || pieces {
        return told(
            "the vocabulary of a tokenizer (SentencePiece)",
            "it has no weights. Give the model's GGUF file, or the directory of a Hugging Face model",
        );
    }
    // onnx.proto: field 1, the version as a small number, then field 2, the producer.
    if matches!(head, [0x08, 1..=20, 0x12, ..]) {
        return told("an ONNX file", GIVE_GGUF);
    }
    // Eight bytes of length, then the JSON header.
    let (length, rest) = head.split_first_chunk::<8>()?;
    let length = u64::from_le_bytes(*length);
    let json = rest.starts_with(b"{\"") || rest.starts_with(b"{ ") || rest == b"{";
    if json && length < 1 << 27 {
        return told(
            "a safetensors file",
            "give the directory that also holds its config.json and tokenizer.json",
        );
    }
    head.iter()
        .all(|&byte| byte == 0)
        .then(|| "it begins with zeros: the download was not finished. Download it anew".into())
}
