//! The engine's types to and from what a baked engine's exports take and give: the other way round than in
//! `engine_import`.

use sterna_engine::error::EngineError;
use sterna_engine::request::{
    EngineStats, Event, Finish, FinishReason, Message, ModelInfo, Prompt, Request, ToolCall, Usage,
};
use sterna_engine::scheduler::PromptSize;
use sterna_engine::tokenizer::TokenBytes;

use crate::bindings::baked::exports::sterna::inference::engine as wit;
use crate::bindings::baked::exports::sterna::inference::scheduler;

pub(super) fn request(request: Request, model: &str) -> wit::Request {
    let sampling = request.sampling;
    wit::Request {
        model: model.to_owned(),
        prompt: prompt(request.prompt),
        max_tokens: request.max_tokens,
        stop: request.stop,
        stop_tokens: request.stop_tokens,
        include_stop: request.include_stop,
        min_tokens: request.min_tokens,
        ignore_eos: request.ignore_eos,
        sampling: wit::Sampling {
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            repetition_penalty: sampling.repetition_penalty,
            presence_penalty: sampling.presence_penalty,
            frequency_penalty: sampling.frequency_penalty,
            seed: sampling.seed,
        },
    }
}

pub(super) fn prompt(prompt: Prompt) -> wit::Prompt {
    match prompt {
        Prompt::Messages(messages) => {
            wit::Prompt::Messages(messages.into_iter().map(message).collect())
        }
        Prompt::Text(text) => wit::Prompt::Text(text),
        Prompt::Tokens(tokens) => wit::Prompt::Tokens(tokens),
    }
}

pub(super) fn message(message: Message) -> wit::Message {
    wit::Message {
        role: message.role,
        content: message.content,
        name: message.name,
        reasoning_content: message.reasoning_content,
        tool_call_id: message.tool_call_id,
        tool_calls: message.tool_calls.into_iter().map(tool_call).collect(),
    }
}

fn tool_call(call: ToolCall) -> wit::ToolCall {
    wit::ToolCall {
        id: call.id,
        name: call.name,
        arguments: call.arguments,
    }
}

pub(super) fn event(event: wit::Event) -> Event {
    Event {
        text: event.text,
        tokens: event.tokens,
        finish: event.finish.map(finish),
    }
}

fn finish(finish: wit::Finish) -> Finish {
    Finish {
        reason: match finish.reason {
            wit::FinishReason::Stop => FinishReason::Stop,
            wit::FinishReason::Length => FinishReason::Length,
        },
        usage: Usage {
            prompt_tokens: finish.usage.prompt_tokens,
            completion_tokens: finish.usage.completion_tokens,
            cached_tokens: finish.usage.cached_tokens,
        },
    }
}

pub(super) fn info(info: wit::ModelInfo) -> ModelInfo {
    ModelInfo {
        id: info.id,
        created: info.created,
        architecture: info.architecture,
        context_length: info.context_length,
        vocab_size: info.vocab_size,
        parameters: info.parameters,
        head_type: info.head_type,
        isa: info.isa,
        max_sequences: info.max_sequences,
    }
}

pub(super) fn stats(stats: scheduler::EngineStats) -> EngineStats {
    EngineStats {
        queued: stats.queued as usize,
        running: stats.running as usize,
        kv_bytes: stats.kv_bytes,
        kv_allocated_bytes: stats.kv_allocated_bytes,
        kv_reserved_bytes: stats.kv_reserved_bytes,
        kv_limit_bytes: stats.kv_limit_bytes,
        prompt_tokens: stats.prompt_tokens,
        tokens_generated: stats.tokens_generated,
        finished: stats.finished,
        cancelled: stats.cancelled,
        failed: stats.failed,
        steps: stats.steps,
        retry_after_ms: stats.retry_after_ms,
        drafted: stats.drafted,
        accepted: stats.accepted,
    }
}

pub(super) fn prompt_size(size: scheduler::PromptSize) -> PromptSize {
    PromptSize {
        context: size.context as usize,
        token_bytes: TokenBytes {
            most: size.token_bytes as usize,
            whitespace: size.whitespace,
        },
    }
}

pub(super) fn error(error: wit::Error) -> EngineError {
    match error {
        wit::Error::InvalidRequest(invalid) => EngineError::InvalidRequest {
            field: invalid.field,
            message: invalid.message,
        },
        wit::Error::ContextOverflow(overflow) => EngineError::ContextOverflow {
            limit: overflow.limit,
            requested: overflow.requested,
        },
        wit::Error::UnknownModel(name) => {
            EngineError::Internal(format!("the engine does not know its own model {name}"))
        }
        wit::Error::Overloaded(retry_after_ms) => EngineError::Overloaded { retry_after_ms },
        wit::Error::Unavailable(reason) => EngineError::Unavailable(reason),
        wit::Error::Internal(reason) => EngineError::Internal(reason),
    }
}
