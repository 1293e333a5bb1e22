//! From the contract's types to the engine's, and back: `wit/engine.wit` and `request` mirror each other.

use super::wit;
use crate::error::EngineError;
use crate::request::{self, Sampling};

/// A request, as the engine takes it.
pub(super) fn request(request: wit::Request) -> request::Request {
    request::Request {
        prompt: prompt(request.prompt),
        max_tokens: request.max_tokens,
        stop: request.stop,
        stop_tokens: request.stop_tokens,
        include_stop: request.include_stop,
        min_tokens: request.min_tokens,
        ignore_eos: request.ignore_eos,
        sampling: sampling(&request.sampling),
    }
}

/// An event, as callers get it.
pub(super) fn event(event: request::Event) -> wit::Event {
    wit::Event {
        text: event.text,
        tokens: event.tokens,
        finish: event.finish.map(finish),
    }
}

pub(super) fn info(info: request::ModelInfo) -> wit::ModelInfo {
    wit::ModelInfo {
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

pub(super) fn prompt(prompt: wit::Prompt) -> request::Prompt {
    match prompt {
        wit::Prompt::Messages(messages) => {
            request::Prompt::Messages(messages.into_iter().map(message).collect())
        }
        wit::Prompt::Text(text) => request::Prompt::Text(text),
        wit::Prompt::Tokens(tokens) => request::Prompt::Tokens(tokens),
    }
}

pub(super) fn message(message: wit::Message) -> request::Message {
    request::Message {
        role: message.role,
        content: message.content,
        name: message.name,
        reasoning_content: message.reasoning_content,
        tool_call_id: message.tool_call_id,
        tool_calls: message.tool_calls.into_iter().map(tool_call).collect(),
    }
}

fn tool_call(call: wit::ToolCall) -> request::ToolCall {
    request::ToolCall {
        id: call.id,
        name: call.name,
        arguments: call.arguments,
    }
}

fn sampling(sampling: &wit::Sampling) -> Sampling {
    Sampling {
        temperature: sampling.temperature,
        top_k: sampling.top_k,
        top_p: sampling.top_p,
        min_p: sampling.min_p,
        repetition_penalty: sampling.repetition_penalty,
        presence_penalty: sampling.presence_penalty,
        frequency_penalty: sampling.frequency_penalty,
        seed: sampling.seed,
    }
}

fn finish(finish: request::Finish) -> wit::Finish {
    wit::Finish {
        reason: match finish.reason {
            request::FinishReason::Stop => wit::FinishReason::Stop,
            request::FinishReason::Length => wit::FinishReason::Length,
        },
        usage: wit::Usage {
            prompt_tokens: finish.usage.prompt_tokens,
            completion_tokens: finish.usage.completion_tokens,
            cached_tokens: finish.usage.cached_tokens,
        },
    }
}

pub(super) fn error(error: EngineError) -> wit::Error {
    match error {
        EngineError::InvalidRequest { field, message } => {
            wit::Error::InvalidRequest(wit::InvalidRequest { field, message })
        }
        EngineError::ContextOverflow { limit, requested } => {
            wit::Error::ContextOverflow(wit::ContextOverflow { limit, requested })
        }
        EngineError::Overloaded { retry_after_ms } => wit::Error::Overloaded(retry_after_ms),
        EngineError::Unavailable(reason) => wit::Error::Unavailable(reason),
        EngineError::Internal(reason) => wit::Error::Internal(reason),
    }
}
