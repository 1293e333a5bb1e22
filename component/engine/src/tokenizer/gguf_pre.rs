//! The names of pre-tokenizers in `tokenizer.ggml.pre`, and the cuts they mean (llama.cpp,
//! `llama-vocab.cpp`; FORMATS.md 4.4).

use super::hf::shown;
use super::split::Split;
use crate::error::LoadError;

/// A cut, and its names.
pub(super) struct Pre {
    pub(super) split: Split,
    /// The first is written.
    pub(super) names: &'static [&'static str],
    /// True if such files add the beginning of a sequence and ignore merges where no key says so.
    pub(super) llama3: bool,
    /// True if such files want NFC where no key says so. GGUF has no key for it; transformers'
    /// `Qwen2Tokenizer` always has it, whatever a file says. llama.cpp leaves it out, so that its
    /// tokens differ from those of training in text that is not composed.
    pub(super) nfc: bool,
}

pub(super) const PRES: [Pre; 8] = [
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
    // GPT-NeoX's, whose tokenizer.json has NFC (OLMo, TriLM).
    Pre {
        split: Split::GPT2,
        names: &["olmo"],
        llama3: false,
        nfc: true,
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
            "bailingmoe",
            "bailingmoe2",
            "llada-moe",
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
            "mellum2",
        ],
        llama3: false,
        nfc: false,
    },
    Pre {
        split: Split::FALCON,
        names: &["falcon", UNDECIDED, ""],
        llama3: false,
        nfc: false,
    },
];

/// The name that converters write who know none: llama.cpp then cuts nearly as for Falcon.
const UNDECIDED: &str = "default";

/// What is not certain of a file with this name, a sentence for a warning.
pub(super) fn doubt(name: Option<&str>) -> Option<String> {
    let Some(name) = name else {
        return Some(
            "it has no `tokenizer.ggml.pre`, which says how text is cut before it is tokenised: Llama 3's cut is \
             taken; if answers are odd, take the model's Hugging Face directory, whose tokenizer.json says it"
                .into(),
        );
    };
    if name != UNDECIDED && !name.is_empty() {
        return None;
    }
    Some(format!(
        "its `tokenizer.ggml.pre` is `{name}`: its converter did not know how text is cut before it is tokenised. \
         Falcon's cut is taken, as llama.cpp does; if answers are odd, take the model's Hugging Face directory, \
         whose tokenizer.json says it"
    ))
}

pub(super) fn of(name: Option<&str>) -> Result<&'static Pre, LoadError> {
    let Some(name) = name else {
        return Ok(&PRES[0]);
    };
    PRES.iter()
        .find(|pre| pre.names.contains(&name))
        .ok_or_else(|| {
            let known = PRES.iter().flat_map(|pre| pre.names).copied();
            let known: Vec<&str> = known.filter(|name| !name.is_empty()).collect();
            LoadError::Tokenizer(format!(
                "`tokenizer.ggml.pre` is `{}`, which is not known; supported: {}. If this one means the cut of \
                 one of those, write that name into the file (gguf-py: `gguf_set_metadata.py FILE \
                 tokenizer.ggml.pre NAME`); else take the model's Hugging Face directory, whose \
                 tokenizer.json says how text is cut",
                shown(name),
                known.join(", ")
            ))
        })
}
