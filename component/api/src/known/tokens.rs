//! The fields of `/tokenize`, `/detokenize` and `/apply-template`.

use super::{Field, Group, Place, harmless, honour, refuse, table::*};

const MODEL: Field = honour(
    "model",
    "an id of GET /v1/models; the default model where absent or empty",
);
const IS_SPECIAL: &str = "special tokens in the text are always read as such; leave it out";

#[rustfmt::skip]
pub(super) const TABLE: &[Group] = &[
    Group { place: Place::Tokenize, fields: &[
        MODEL,
        honour("content", "a text; the answer is llama.cpp's"),
        honour("prompt", "a text; the answer is vLLM's"),
        honour("messages", "a conversation, which the chat template renders; the answer is vLLM's"),
        honour("add_special", "the tokens a prompt begins with, too; false unless there is 'prompt'"),
        honour("add_special_tokens", "the same"),
        honour("with_pieces", "the text of each token, too; for 4096 tokens at most"),
        honour("return_token_strs", "the same"),
        honour("tools", "of a conversation, as in /v1/chat/completions"),
        honour("tool_choice", "of a conversation, as in /v1/chat/completions"),
        honour("chat_template_kwargs", "variables of the chat template, as an object"),
        honour("enable_thinking", "true or false: that variable of the chat template"),
        refuse("parse_special", &["true"], IS_SPECIAL),
        honour("add_generation_prompt", "as in /v1/chat/completions"),
        honour("continue_final_message", "as in /v1/chat/completions"),
        refuse("chat_template", EMPTY, TEMPLATE),
        refuse("truncate_prompt_tokens", NEVER, WHOLE_PROMPT),
        harmless("mm_processor_kwargs", TEXT_ONLY),
        harmless("user", LABEL),
        harmless("request_id", LABEL),
    ] },
    Group { place: Place::Detokenize, fields: &[
        MODEL,
        honour("tokens", "a list of token ids"),
        harmless("user", LABEL),
        harmless("request_id", LABEL),
    ] },
    Group { place: Place::Template, fields: &[
        MODEL,
        honour("messages", "a conversation, as in /v1/chat/completions"),
        honour("tools", "as in /v1/chat/completions"),
        honour("tool_choice", "as in /v1/chat/completions"),
        honour("chat_template_kwargs", "variables of the chat template, as an object"),
        honour("enable_thinking", "true or false: that variable of the chat template"),
        honour("reasoning_effort", "none is the same as enable_thinking false; others are refused"),
        honour("add_generation_prompt", "as in /v1/chat/completions"),
        honour("continue_final_message", "as in /v1/chat/completions"),
        refuse("chat_template", EMPTY, TEMPLATE),
        refuse("parallel_tool_calls", &["true", "false"], "nothing is answered"),
        harmless("stream", "nothing is answered"),
        harmless("max_tokens", "nothing is answered"),
        harmless("temperature", "nothing is answered"),
        harmless("user", LABEL),
        harmless("request_id", LABEL),
    ] },
];
