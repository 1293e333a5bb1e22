//! The fields of `/v1/messages`.

use super::{Group, Place, harmless, honour, refuse, table::*};

const SERVER_TOOLS: &str = "only the client runs tools; send 'tools' with an 'input_schema' each";

#[rustfmt::skip]
pub(super) const TABLE: &[Group] = &[
    Group { place: Place::Messages, fields: &[
        honour("model", "an id of GET /v1/models; the default model where absent or empty"),
        honour("messages", "the conversation"),
        honour("max_tokens", "tokens to generate at most; must be there"),
        honour("system", "a text or text blocks, before the conversation"),
        honour("temperature", "0 to 2; 0 always takes the most likely token"),
        honour("top_p", "0 to 1; 0 always takes the most likely token"),
        honour("top_k", "the k most likely tokens; 0 and -1 are all"),
        honour("stop_sequences", "up to 16 texts before which the answer ends"),
        honour("stream", "send events"),
        honour("cache_salt", "as in /v1/chat/completions"),
        honour("priority", "as in /v1/chat/completions"),
        honour("timeout", "as in /v1/chat/completions"),
        honour("resume", "as in /v1/chat/completions"),
        honour("thinking", "with the type enabled or disabled a variable of the chat template"),
        honour("tools", "up to 256 tools that the client runs"),
        honour("tool_choice", "auto, any, tool or none, as in /v1/chat/completions"),
        honour("output_config", "'format' with a JSON schema"),
        honour("output_format", "the same as output_config.format"),
        honour("chat_template_kwargs", "variables of the chat template, as an object"),
        refuse("container", EMPTY, SERVER_TOOLS),
        refuse("mcp_servers", EMPTY, SERVER_TOOLS),
        refuse("context_management", EMPTY, WHOLE_PROMPT),
        refuse("max_tokens_to_sample", NEVER, "send 'max_tokens'"),
        refuse("prompt", NEVER, "send 'messages'"),
        harmless("metadata", LABEL),
        harmless("service_tier", ROUTING),
        harmless("inference_geo", ROUTING),
        harmless("speed", SPEED),
        harmless("cache_control", CACHE),
        harmless("betas", CLIENT),
    ] },
    Group { place: Place::MessagesThinking, fields: &[
        honour("type", "enabled, disabled, or adaptive, which leaves it to the model"),
        harmless("budget_tokens", "a bound on what the model may think; it ends by itself, or with max_tokens"),
        harmless("display", "the reasoning is always in the answer"),
    ] },
    Group { place: Place::MessagesOutput, fields: &[
        honour("format", "a JSON schema"),
        refuse("effort", NEVER, "send 'thinking' with the type disabled, or leave it out"),
    ] },
    Group { place: Place::MessagesFormat, fields: &[
        honour("type", "json_schema"),
        honour("schema", "a JSON schema"),
    ] },
    Group { place: Place::MessagesChoice, fields: &[
        honour("type", "auto, any, tool or none"),
        honour("name", "of the type tool"),
        honour("disable_parallel_tool_use", "the answer ends after its first call"),
    ] },
    Group { place: Place::MessagesTool, fields: &[
        honour("name", "the tool"),
        honour("description", "for the model"),
        honour("input_schema", "for the model"),
        honour("strict", "as a function's of a chat"),
        harmless("type", "custom, or absent"),
        harmless("cache_control", CACHE),
        harmless("input_examples", "for models that were trained on them"),
        harmless("allowed_callers", "the client calls"),
        harmless("eager_input_streaming", SPEED),
        refuse("defer_loading", NO, "all tools are told to the model; leave it out"),
    ] },
    Group { place: Place::MessagesTurn, fields: &[
        honour("role", "user, assistant or system"),
        honour("content", "a text or a list of blocks"),
    ] },
    Group { place: Place::MessagesText, fields: &[
        honour("text", "the text"),
        harmless("type", "text"),
        harmless("cache_control", CACHE),
        harmless("citations", "an earlier answer's; not part of its text"),
    ] },
    Group { place: Place::MessagesThought, fields: &[
        honour("thinking", "for the chat template"),
        harmless("type", "thinking"),
        harmless("signature", "this server signs none"),
    ] },
    Group { place: Place::MessagesCall, fields: &[
        honour("id", "for the chat template"),
        honour("name", "the tool that was called"),
        honour("input", "an object"),
        harmless("type", "tool_use"),
        harmless("cache_control", CACHE),
        harmless("caller", LABEL),
    ] },
    Group { place: Place::MessagesResult, fields: &[
        honour("tool_use_id", "the call it answers"),
        honour("content", "a text or text blocks; may be absent"),
        honour("is_error", "the text begins with \"Error: \""),
        harmless("type", "tool_result"),
        harmless("cache_control", CACHE),
    ] },
];
