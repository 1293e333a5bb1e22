//! The fields of Ollama's API.

use super::{Field, Group, Place, harmless, honour, refuse, table::*};

const MODEL: Field = honour("model", "an id of GET /api/tags, with or without ':latest'");
const LOADED: Field = harmless("keep_alive", "the model stays loaded");
const STREAM: Field = honour("stream", "lines of JSON; true unless it is false");
const FORMAT: Field = honour(
    "format",
    "\"json\" or a JSON schema, as a chat's response_format",
);
const THINK: Field = honour("think", "as a chat's");
const RESUME: Field = honour("resume", "`resume.token` of a cut stream's last line");
const OPTIONS: Field = honour("options", "see below");
const NO_PROBS: Field = refuse("logprobs", NO, PROBS);
const NO_TOP_PROBS: Field = refuse("top_logprobs", ZERO, PROBS);
const CUT: Field = refuse("truncate", NO, WHOLE_PROMPT);
const SHIFT: Field = refuse("shift", NO, WHOLE_PROMPT);
const PICTURES: Field = refuse("images", EMPTY, TEXT_ONLY);

#[rustfmt::skip]
pub(super) const TABLE: &[Group] = &[
    Group { place: Place::OllamaChat, fields: &[
        MODEL,
        honour("messages", "the conversation; without one the answer is that the model is loaded"),
        honour("tools", "functions, as a chat's"),
        STREAM, RESUME, FORMAT, THINK, OPTIONS, NO_PROBS, NO_TOP_PROBS, CUT, SHIFT, LOADED,
    ] },
    Group { place: Place::OllamaGenerate, fields: &[
        MODEL,
        honour("prompt", "a text; without one the answer is that the model is loaded"),
        honour("system", "a system message before it"),
        honour("raw", "the prompt is used as it is, without the chat template"),
        STREAM, RESUME, FORMAT, THINK, OPTIONS, NO_PROBS, NO_TOP_PROBS, CUT, SHIFT, LOADED, PICTURES,
        refuse("suffix", EMPTY, "an answer cannot be made to fit a text behind it"),
        refuse("template", EMPTY, "the model's own chat template is used; send 'raw' and the text"),
        refuse("context", EMPTY, "send the conversation to /api/chat"),
        refuse("width", ZERO, TEXT_ONLY),
        refuse("height", ZERO, TEXT_ONLY),
        refuse("steps", ZERO, TEXT_ONLY),
    ] },
    Group { place: Place::OllamaOptions, fields: &[
        honour("num_predict", "tokens to generate at most; -1 and -2 are no limit"),
        honour("temperature", "0 to 2; 0 always takes the most likely token"),
        honour("top_k", "the k most likely tokens; 0 and -1 are all"),
        honour("top_p", "0 to 1; 0 always takes the most likely token"),
        honour("min_p", "0 to 1: the least share of the most likely token's probability"),
        honour("repeat_penalty", "above 0, 1 is off; over the prompt and the answer"),
        honour("presence_penalty", "-2 to 2; over the answer"),
        honour("frequency_penalty", "-2 to 2; over the answer"),
        honour("seed", "the same seed gives the same answer; -1 draws one"),
        honour("stop", "a text or up to 16 before which the answer ends"),
        honour("num_ctx", "at most the positions that there are"),
        refuse("typical_p", ONE, SAMPLER),
        refuse("tfs_z", ONE, SAMPLER),
        refuse("mirostat", ZERO, SAMPLER),
        refuse("repeat_last_n", &["-1", "64"], "repeat_penalty is over everything; leave it out"),
        refuse("penalize_newline", &["true"], "line breaks are penalised too; leave it out"),
        harmless("mirostat_tau", OF_ONE_REFUSED),
        harmless("mirostat_eta", OF_ONE_REFUSED),
        harmless("num_keep", "nothing is cut off"),
        harmless("num_batch", SPEED),
        harmless("num_gpu", SPEED),
        harmless("main_gpu", SPEED),
        harmless("num_thread", SPEED),
        harmless("low_vram", SPEED),
        harmless("f16_kv", SPEED),
        harmless("use_mmap", SPEED),
        harmless("use_mlock", SPEED),
        harmless("vocab_only", SPEED),
        harmless("numa", SPEED),
        harmless("draft_num_predict", SPEED),
        refuse("logits_all", NO, PROBS),
        refuse("embedding_only", NO, "send /api/embed"),
    ] },
    Group { place: Place::OllamaMessage, fields: &[
        honour("role", "system, user, assistant or tool"),
        honour("content", "a text; may be absent beside calls"),
        honour("thinking", "for the chat template"),
        honour("tool_calls", "for the chat template"),
        honour("tool_name", "for the chat template"),
        honour("tool_call_id", "for the chat template"),
        PICTURES,
    ] },
    Group { place: Place::OllamaCall, fields: &[
        honour("function", "what was called"),
        honour("id", "for the chat template"),
        harmless("type", "function"),
    ] },
    Group { place: Place::OllamaFunction, fields: &[
        honour("name", "for the chat template"),
        honour("arguments", "an object"),
        harmless("index", LABEL),
        harmless("description", "says what the function is for"),
    ] },
    Group { place: Place::OllamaShow, fields: &[
        MODEL,
        honour("name", "the same"),
        harmless("verbose", "all that is known is in the answer"),
        harmless("options", "nothing is generated"),
        harmless("system", "nothing is generated"),
        harmless("template", "nothing is generated"),
    ] },
    Group { place: Place::OllamaEmbed, fields: &[
        MODEL,
        honour("input", "a text, or a list of up to 2048"),
        honour("dimensions", "keep so many numbers, and scale to length 1 again"),
        refuse("truncate", NO, "inputs are never cut; send a shorter one, and 'truncate': false"),
        harmless("options", "nothing is generated"),
        LOADED,
    ] },
    Group { place: Place::OllamaEmbedOne, fields: &[
        MODEL,
        honour("prompt", "a text"),
        harmless("options", "nothing is generated"),
        LOADED,
    ] },
];
