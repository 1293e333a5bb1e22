//! Conversions between `request`'s types and those that are generated from `wit/`, written once.
//!
//! Whoever speaks the contract generates types of its own: the component (`component`), and the
//! host twice, for the component that asks it and for the baked engine that it asks. They have the
//! same names and fields, so a macro makes the conversions for each such module, in both
//! directions.

/// `From`, both ways, between two structs with these fields, whose types are the same.
#[doc(hidden)]
#[macro_export]
macro_rules! convert_fields {
    ($ours:ty, $wit:ty, { $($field:ident),+ $(,)? }) => {
        impl From<$wit> for $ours {
            fn from(from: $wit) -> Self {
                Self { $($field: from.$field),+ }
            }
        }
        impl From<$ours> for $wit {
            fn from(from: $ours) -> Self {
                Self { $($field: from.$field),+ }
            }
        }
    };
}

/// `From`, both ways, between the types of [`request`](crate::request) and those of the module that
/// was generated from the interface `engine`. A request of ours names no model: `(model, request)`
/// becomes the contract's.
#[macro_export]
macro_rules! convert_engine_types {
    ($($wit:ident)::+) => {
        const _: () = {
            use $($wit)::+ as wit;
            use $crate::convert_fields;
            use $crate::error::EngineError;
            use $crate::request::{
                CallForm, Candidate, Constraint, Conversation, ConversationEnd, Event, Finish, FinishReason,
                Grammar, Message, ModelInfo, Prompt, Request, Sampling, Tags, TokenDetail, ToolCall,
                Usage,
            };

            convert_fields!(Tags, wit::Tags, { begin, end });
            convert_fields!(ToolCall, wit::ToolCall, { id, name, arguments });
            convert_fields!(Sampling, wit::Sampling, {
                temperature, top_k, top_p, min_p, repetition_penalty, presence_penalty,
                frequency_penalty, seed,
            });
            convert_fields!(Candidate, wit::Candidate, { token, bytes, logprob });
            convert_fields!(Usage, wit::Usage, { prompt_tokens, completion_tokens, cached_tokens });

            impl From<wit::CallForm> for CallForm {
                fn from(form: wit::CallForm) -> Self {
                    match form {
                        wit::CallForm::Tagged(tags) => CallForm::Tagged(tags.into()),
                        wit::CallForm::Bare => CallForm::Bare,
                    }
                }
            }

            impl From<CallForm> for wit::CallForm {
                fn from(form: CallForm) -> Self {
                    match form {
                        CallForm::Tagged(tags) => wit::CallForm::Tagged(tags.into()),
                        CallForm::Bare => wit::CallForm::Bare,
                    }
                }
            }

            impl From<wit::ModelInfo> for ModelInfo {
                fn from(info: wit::ModelInfo) -> Self {
                    ModelInfo {
                        id: info.id,
                        created: info.created,
                        architecture: info.architecture,
                        context_length: info.context_length,
                        vocab_size: info.vocab_size,
                        parameters: info.parameters,
                        head_type: info.head_type,
                        kv_type: info.kv_type,
                        isa: info.isa,
                        max_sequences: info.max_sequences,
                        embedding_size: info.embedding_size,
                        generates: info.generates,
                        reasoning_tags: info.reasoning_tags.map(Into::into),
                        call_form: info.call_form.map(Into::into),
                        fingerprint: info.fingerprint,
                    }
                }
            }

            impl From<ModelInfo> for wit::ModelInfo {
                fn from(info: ModelInfo) -> Self {
                    wit::ModelInfo {
                        id: info.id,
                        created: info.created,
                        architecture: info.architecture,
                        context_length: info.context_length,
                        vocab_size: info.vocab_size,
                        parameters: info.parameters,
                        head_type: info.head_type,
                        kv_type: info.kv_type,
                        isa: info.isa,
                        max_sequences: info.max_sequences,
                        embedding_size: info.embedding_size,
                        generates: info.generates,
                        reasoning_tags: info.reasoning_tags.map(Into::into),
                        call_form: info.call_form.map(Into::into),
                        fingerprint: info.fingerprint,
                    }
                }
            }

            impl From<wit::Message> for Message {
                fn from(message: wit::Message) -> Self {
                    Message {
                        role: message.role,
                        content: message.content,
                        name: message.name,
                        reasoning_content: message.reasoning_content,
                        tool_call_id: message.tool_call_id,
                        tool_calls: message.tool_calls.into_iter().map(Into::into).collect(),
                    }
                }
            }

            impl From<Message> for wit::Message {
                fn from(message: Message) -> Self {
                    wit::Message {
                        role: message.role,
                        content: message.content,
                        name: message.name,
                        reasoning_content: message.reasoning_content,
                        tool_call_id: message.tool_call_id,
                        tool_calls: message.tool_calls.into_iter().map(Into::into).collect(),
                    }
                }
            }

            impl From<wit::ConversationEnd> for ConversationEnd {
                fn from(end: wit::ConversationEnd) -> Self {
                    match end {
                        wit::ConversationEnd::AnswerOpening => ConversationEnd::AnswerOpening,
                        wit::ConversationEnd::Closed => ConversationEnd::Closed,
                        wit::ConversationEnd::LastTurnOpen => ConversationEnd::LastTurnOpen,
                    }
                }
            }

            impl From<ConversationEnd> for wit::ConversationEnd {
                fn from(end: ConversationEnd) -> Self {
                    match end {
                        ConversationEnd::AnswerOpening => wit::ConversationEnd::AnswerOpening,
                        ConversationEnd::Closed => wit::ConversationEnd::Closed,
                        ConversationEnd::LastTurnOpen => wit::ConversationEnd::LastTurnOpen,
                    }
                }
            }

            impl From<wit::TokenDetail> for TokenDetail {
                fn from(detail: wit::TokenDetail) -> Self {
                    TokenDetail {
                        token: detail.token,
                        bytes: detail.bytes,
                        special: detail.special,
                        logprob: detail.logprob,
                        rank: detail.rank,
                        top: detail.top.into_iter().map(Into::into).collect(),
                    }
                }
            }

            impl From<TokenDetail> for wit::TokenDetail {
                fn from(detail: TokenDetail) -> Self {
                    wit::TokenDetail {
                        token: detail.token,
                        bytes: detail.bytes,
                        special: detail.special,
                        logprob: detail.logprob,
                        rank: detail.rank,
                        top: detail.top.into_iter().map(Into::into).collect(),
                    }
                }
            }

            impl From<wit::Conversation> for Conversation {
                fn from(conversation: wit::Conversation) -> Self {
                    Conversation {
                        messages: conversation.messages.into_iter().map(Into::into).collect(),
                        tools: conversation.tools,
                        template_kwargs: conversation.template_kwargs,
                        end: conversation.end.into(),
                    }
                }
            }

            impl From<Conversation> for wit::Conversation {
                fn from(conversation: Conversation) -> Self {
                    wit::Conversation {
                        messages: conversation.messages.into_iter().map(Into::into).collect(),
                        tools: conversation.tools,
                        template_kwargs: conversation.template_kwargs,
                        end: conversation.end.into(),
                    }
                }
            }

            impl From<wit::Prompt> for Prompt {
                fn from(prompt: wit::Prompt) -> Self {
                    match prompt {
                        wit::Prompt::Messages(conversation) => Prompt::Messages(conversation.into()),
                        wit::Prompt::Text(text) => Prompt::Text(text),
                        wit::Prompt::Tokens(tokens) => Prompt::Tokens(tokens),
                    }
                }
            }

            impl From<Prompt> for wit::Prompt {
                fn from(prompt: Prompt) -> Self {
                    match prompt {
                        Prompt::Messages(conversation) => wit::Prompt::Messages(conversation.into()),
                        Prompt::Text(text) => wit::Prompt::Text(text),
                        Prompt::Tokens(tokens) => wit::Prompt::Tokens(tokens),
                    }
                }
            }

            impl From<wit::Grammar> for Grammar {
                fn from(grammar: wit::Grammar) -> Self {
                    match grammar {
                        wit::Grammar::JsonSchema(wit::JsonSchema { schema, strict }) => {
                            Grammar::JsonSchema { schema, strict }
                        }
                        wit::Grammar::JsonObject => Grammar::JsonObject,
                        wit::Grammar::Regex(regex) => Grammar::Regex(regex),
                        wit::Grammar::Choice(texts) => Grammar::Choice(texts),
                        wit::Grammar::Lark(lark) => Grammar::Lark(lark),
                        wit::Grammar::Gbnf(gbnf) => Grammar::Gbnf(gbnf),
                    }
                }
            }

            impl From<Grammar> for wit::Grammar {
                fn from(grammar: Grammar) -> Self {
                    match grammar {
                        Grammar::JsonSchema { schema, strict } => {
                            wit::Grammar::JsonSchema(wit::JsonSchema { schema, strict })
                        }
                        Grammar::JsonObject => wit::Grammar::JsonObject,
                        Grammar::Regex(regex) => wit::Grammar::Regex(regex),
                        Grammar::Choice(texts) => wit::Grammar::Choice(texts),
                        Grammar::Lark(lark) => wit::Grammar::Lark(lark),
                        Grammar::Gbnf(gbnf) => wit::Grammar::Gbnf(gbnf),
                    }
                }
            }

            impl From<wit::Constraint> for Constraint {
                fn from(constraint: wit::Constraint) -> Self {
                    Constraint {
                        grammar: constraint.grammar.into(),
                        after_reasoning: constraint.after_reasoning,
                        trigger: constraint.trigger,
                    }
                }
            }

            impl From<Constraint> for wit::Constraint {
                fn from(constraint: Constraint) -> Self {
                    wit::Constraint {
                        grammar: constraint.grammar.into(),
                        after_reasoning: constraint.after_reasoning,
                        trigger: constraint.trigger,
                    }
                }
            }

            impl From<wit::Request> for Request {
                fn from(request: wit::Request) -> Self {
                    Request {
                        prompt: request.prompt.into(),
                        embed: request.embed,
                        max_tokens: request.max_tokens,
                        stop: request.stop,
                        stop_tokens: request.stop_tokens,
                        include_stop: request.include_stop,
                        min_tokens: request.min_tokens,
                        ignore_eos: request.ignore_eos,
                        logit_bias: request.logit_bias,
                        allowed_tokens: request.allowed_tokens,
                        bad_words: request.bad_words,
                        logprobs: request.logprobs,
                        echo: request.echo,
                        prompt_logprobs: request.prompt_logprobs,
                        show_special: request.show_special,
                        truncate_prompt: request.truncate_prompt,
                        resumed: request.resumed,
                        constraint: request.constraint.map(Into::into),
                        sampling: request.sampling.into(),
                        cache_salt: request.cache_salt,
                        priority: request.priority,
                        client: request.client,
                        timeout_ms: request.timeout_ms,
                    }
                }
            }

            impl From<(String, Request)> for wit::Request {
                fn from((model, request): (String, Request)) -> Self {
                    wit::Request {
                        model,
                        prompt: request.prompt.into(),
                        embed: request.embed,
                        max_tokens: request.max_tokens,
                        stop: request.stop,
                        stop_tokens: request.stop_tokens,
                        include_stop: request.include_stop,
                        min_tokens: request.min_tokens,
                        ignore_eos: request.ignore_eos,
                        logit_bias: request.logit_bias,
                        allowed_tokens: request.allowed_tokens,
                        bad_words: request.bad_words,
                        logprobs: request.logprobs,
                        echo: request.echo,
                        prompt_logprobs: request.prompt_logprobs,
                        show_special: request.show_special,
                        truncate_prompt: request.truncate_prompt,
                        resumed: request.resumed,
                        constraint: request.constraint.map(Into::into),
                        sampling: request.sampling.into(),
                        cache_salt: request.cache_salt,
                        priority: request.priority,
                        client: request.client,
                        timeout_ms: request.timeout_ms,
                    }
                }
            }

            impl From<wit::Event> for Event {
                fn from(event: wit::Event) -> Self {
                    Event {
                        text: event.text,
                        tokens: event.tokens,
                        finish: event.finish.map(Into::into),
                        details: event.details.into_iter().map(Into::into).collect(),
                        prompt: event.prompt.into_iter().map(Into::into).collect(),
                        embedding: event.embedding,
                    }
                }
            }

            impl From<Event> for wit::Event {
                fn from(event: Event) -> Self {
                    wit::Event {
                        text: event.text,
                        tokens: event.tokens,
                        finish: event.finish.map(Into::into),
                        details: event.details.into_iter().map(Into::into).collect(),
                        prompt: event.prompt.into_iter().map(Into::into).collect(),
                        embedding: event.embedding,
                    }
                }
            }

            impl From<wit::Finish> for Finish {
                fn from(finish: wit::Finish) -> Self {
                    Finish {
                        reason: match finish.reason {
                            wit::FinishReason::Stop => FinishReason::Stop,
                            wit::FinishReason::Length => FinishReason::Length,
                        },
                        usage: finish.usage.into(),
                    }
                }
            }

            impl From<Finish> for wit::Finish {
                fn from(finish: Finish) -> Self {
                    wit::Finish {
                        reason: match finish.reason {
                            FinishReason::Stop => wit::FinishReason::Stop,
                            FinishReason::Length => wit::FinishReason::Length,
                        },
                        usage: finish.usage.into(),
                    }
                }
            }

            impl From<wit::Error> for EngineError {
                fn from(error: wit::Error) -> Self {
                    match error {
                        wit::Error::InvalidRequest(wit::InvalidRequest { field, message }) => {
                            EngineError::InvalidRequest { field, message }
                        }
                        wit::Error::ContextOverflow(wit::ContextOverflow { limit, requested }) => {
                            EngineError::ContextOverflow { limit, requested }
                        }
                        // Ours is only ever asked for the model that it said it has.
                        wit::Error::UnknownModel(name) => EngineError::Internal(format!(
                            "the engine does not know its own model {name}"
                        )),
                        wit::Error::Overloaded(retry_after_ms) => {
                            EngineError::Overloaded { retry_after_ms }
                        }
                        wit::Error::TimedOut => EngineError::TimedOut,
                        wit::Error::Unavailable(reason) => EngineError::Unavailable(reason),
                        wit::Error::Internal(reason) => EngineError::Internal(reason),
                    }
                }
            }

            impl From<EngineError> for wit::Error {
                fn from(error: EngineError) -> Self {
                    match error {
                        EngineError::InvalidRequest { field, message } => {
                            wit::Error::InvalidRequest(wit::InvalidRequest { field, message })
                        }
                        EngineError::ContextOverflow { limit, requested } => {
                            wit::Error::ContextOverflow(wit::ContextOverflow { limit, requested })
                        }
                        EngineError::Overloaded { retry_after_ms } => {
                            wit::Error::Overloaded(retry_after_ms)
                        }
                        EngineError::TimedOut => wit::Error::TimedOut,
                        EngineError::Unavailable(reason) => wit::Error::Unavailable(reason),
                        EngineError::Internal(reason) => wit::Error::Internal(reason),
                    }
                }
            }
        };
    };
}

/// The same for the module that was generated from the interface `scheduler`. Sizes that exceed its
/// `u32` become the largest one.
#[macro_export]
macro_rules! convert_scheduler_types {
    ($($wit:ident)::+) => {
        const _: () = {
            use $($wit)::+ as wit;
            use $crate::request::{EngineStats, clamp_u32};
            use $crate::scheduler::PromptSize;
            use $crate::tokenizer::TokenBytes;

            impl From<wit::EngineStats> for EngineStats {
                fn from(stats: wit::EngineStats) -> Self {
                    EngineStats {
                        queued: stats.queued as usize,
                        running: stats.running as usize,
                        kv_bytes: stats.kv_bytes,
                        kv_idle_bytes: stats.kv_idle_bytes,
                        kv_allocated_bytes: stats.kv_allocated_bytes,
                        kv_reserved_bytes: stats.kv_reserved_bytes,
                        kv_limit_bytes: stats.kv_limit_bytes,
                        prompt_tokens: stats.prompt_tokens,
                        cached_tokens: stats.cached_tokens,
                        preempted: stats.preempted,
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
            }

            impl From<EngineStats> for wit::EngineStats {
                fn from(stats: EngineStats) -> Self {
                    wit::EngineStats {
                        queued: clamp_u32(stats.queued),
                        running: clamp_u32(stats.running),
                        kv_bytes: stats.kv_bytes,
                        kv_idle_bytes: stats.kv_idle_bytes,
                        kv_allocated_bytes: stats.kv_allocated_bytes,
                        kv_reserved_bytes: stats.kv_reserved_bytes,
                        kv_limit_bytes: stats.kv_limit_bytes,
                        prompt_tokens: stats.prompt_tokens,
                        cached_tokens: stats.cached_tokens,
                        preempted: stats.preempted,
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
            }

            impl From<wit::PromptSize> for PromptSize {
                fn from(size: wit::PromptSize) -> Self {
                    PromptSize {
                        context: size.context as usize,
                        token_bytes: TokenBytes {
                            most: size.token_bytes as usize,
                            whitespace: size.whitespace,
                        },
                    }
                }
            }

            impl From<PromptSize> for wit::PromptSize {
                fn from(size: PromptSize) -> Self {
                    wit::PromptSize {
                        context: clamp_u32(size.context),
                        token_bytes: clamp_u32(size.token_bytes.most),
                        whitespace: size.token_bytes.whitespace,
                    }
                }
            }
        };
    };
}
