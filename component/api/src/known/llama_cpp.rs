//! The fields of `/completion` as llama.cpp's server has it, beside those of both completion
//! routes, and of prompts that are objects.

use super::{Field, Group, Place, harmless, honour, refuse, table::*};

const BEHIND: &str = "a completion cannot be made to fit a text behind it";

#[rustfmt::skip]
pub(super) const COMPLETION: &[Field] = &[
    honour("prompt", "a text, an object, a list of token ids and texts, or up to 128 of these"),
    honour("return_tokens", "the ids of what was generated, in a whole answer; events have them"),
    honour("response_fields", "the fields that are told; with / those within others"),
    harmless("stream_options", "a stream's last event says what the answer cost"),
    harmless("return_tokens_as_token_ids", "ids stand beside texts"),
    refuse("return_token_ids", NO, "send 'return_tokens'"),
    refuse("prompt_logprobs", NO, "send /v1/completions"),
    refuse("logprobs", ZERO, "send 'n_probs'"),
    refuse("resume", NEVER, "send /v1/completions"),
    refuse("echo", NO, "the answer has the prompt as 'prompt'"),
    refuse("messages", NEVER, CHATS),
    refuse("tools", EMPTY, CHATS),
    refuse("tool_choice", &["\"none\"", "\"auto\""], CHATS),
    refuse("chat_template_kwargs", EMPTY, CHATS),
    refuse("suffix", EMPTY, BEHIND),
    refuse("input_prefix", EMPTY, BEHIND),
    refuse("input_suffix", EMPTY, BEHIND),
    refuse("input_extra", EMPTY, BEHIND),
];

#[rustfmt::skip]
pub(super) const TABLE: &[Group] = &[
    Group { place: Place::LlamaCompletion, fields: COMPLETION },
    Group { place: Place::PromptObject, fields: &[
        honour("prompt_string", "a text"),
        honour("content", "the parts of a text, instead"),
        refuse("multimodal_data", EMPTY, TEXT_ONLY),
    ] },
    Group { place: Place::PromptPart, fields: &[
        honour("type", "text"),
        honour("text", "is joined to the others' without a break"),
    ] },
];
