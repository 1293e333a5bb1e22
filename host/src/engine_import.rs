//! The HTTP component's `engine` import, answered by the engine in this process.
//!
//! Conversions and nothing else: `wit/engine.wit` and `sterna_engine::request` mirror each other.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use sterna_engine::error::EngineError;
use sterna_engine::request as engine;
use sterna_engine::scheduler::message_bytes;
use wasmtime::component::{HasData, Resource, ResourceTable};

use crate::bindings::engine as wit;
use crate::driven_engine::{Answered, Texts};
use crate::engine_actor::{EngineHandle, Generation};

/// Tokens one HTTP request has cost so far, for its log line.
#[derive(Debug, Default)]
pub struct TokenCount {
    /// Of the prompts.
    pub prompt: AtomicU32,
    /// Of the completions.
    pub completion: AtomicU32,
}

/// What stands behind the WIT resource `generation`. Dropping it (the guest did, or its store is
/// dropped because the client has left) cancels the generation.
pub struct OpenGeneration(Generation);

/// The state of one instance that these functions need.
pub struct EngineImport<'a> {
    /// The guest's resources.
    pub table: &'a mut ResourceTable,
    /// The engine.
    pub engine: &'a EngineHandle,
    /// What the request costs.
    pub tokens: &'a TokenCount,
}

/// Names [`EngineImport`] to the linker.
pub struct HasEngine;

impl HasData for HasEngine {
    type Data<'a> = EngineImport<'a>;
}

type WitResult<T> = wasmtime::Result<Result<T, wit::Error>>;

impl EngineImport<'_> {
    fn check_model(&self, name: &str) -> Result<(), wit::Error> {
        if name == self.engine.info().id {
            Ok(())
        } else {
            Err(wit::Error::UnknownModel(name.to_owned()))
        }
    }

    async fn ask_texts<T: Send + 'static>(
        &mut self,
        name: &str,
        bytes: usize,
        question: impl FnOnce(&mut dyn Texts) -> Answered<T> + Send + 'static,
    ) -> WitResult<T> {
        if let Err(error) = self.check_model(name) {
            return Ok(Err(error));
        }
        Ok(self
            .engine
            .ask_texts(bytes, question)
            .await
            .map_err(Into::into))
    }
}

impl wit::Host for EngineImport<'_> {
    async fn models(&mut self) -> wasmtime::Result<Vec<wit::ModelInfo>> {
        Ok(vec![self.engine.info().into()])
    }

    async fn generate(&mut self, request: wit::Request) -> WitResult<Resource<OpenGeneration>> {
        if let Err(error) = self.check_model(&request.model) {
            return Ok(Err(error));
        }
        match self.engine.generate(request.into()).await {
            Ok(generation) => {
                self.tokens
                    .prompt
                    .fetch_add(generation.prompt_tokens(), Relaxed);
                Ok(Ok(self.table.push(OpenGeneration(generation))?))
            }
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn embed(&mut self, model: String, input: wit::Prompt) -> WitResult<wit::Embedding> {
        if let Err(error) = self.check_model(&model) {
            return Ok(Err(error));
        }
        Ok(match self.engine.embed(input.into()).await {
            Ok((vector, prompt_tokens)) => {
                self.tokens.prompt.fetch_add(prompt_tokens, Relaxed);
                Ok(wit::Embedding {
                    vector,
                    prompt_tokens,
                })
            }
            Err(error) => Err(error.into()),
        })
    }

    async fn tokenize(
        &mut self,
        model: String,
        text: String,
        add_special: bool,
    ) -> WitResult<Vec<u32>> {
        self.ask_texts(&model, text.len(), move |texts| {
            texts.tokenize(&text, add_special)
        })
        .await
    }

    async fn detokenize(&mut self, model: String, tokens: Vec<u32>) -> WitResult<String> {
        self.ask_texts(&model, size_of_val(&tokens[..]), move |texts| {
            texts.detokenize(&tokens)
        })
        .await
    }

    async fn apply_template(
        &mut self,
        model: String,
        messages: Vec<wit::Message>,
    ) -> WitResult<String> {
        let messages: Vec<engine::Message> = messages.into_iter().map(Into::into).collect();
        let bytes = messages.iter().map(message_bytes);
        let bytes = bytes.sum();
        self.ask_texts(&model, bytes, move |texts| texts.apply_template(messages))
            .await
    }
}

impl wit::HostGeneration for EngineImport<'_> {
    async fn prompt_tokens(
        &mut self,
        generation: Resource<OpenGeneration>,
    ) -> wasmtime::Result<u32> {
        Ok(self.table.get(&generation)?.0.prompt_tokens())
    }

    async fn next(
        &mut self,
        generation: Resource<OpenGeneration>,
    ) -> WitResult<Option<wit::Event>> {
        let event = self.table.get_mut(&generation)?.0.next().await;
        if let Ok(Some(event)) = &event {
            let tokens = u32::try_from(event.tokens.len()).unwrap_or(u32::MAX);
            self.tokens.completion.fetch_add(tokens, Relaxed);
        }
        Ok(event.map(|event| event.map(Into::into)).map_err(Into::into))
    }

    async fn drop(&mut self, generation: Resource<OpenGeneration>) -> wasmtime::Result<()> {
        self.table.delete(generation)?;
        Ok(())
    }
}

impl From<&sterna_engine::request::ModelInfo> for wit::ModelInfo {
    fn from(info: &sterna_engine::request::ModelInfo) -> Self {
        wit::ModelInfo {
            id: info.id.clone(),
            created: info.created,
            architecture: info.architecture.clone(),
            context_length: info.context_length,
            vocab_size: info.vocab_size,
            parameters: info.parameters,
            head_type: info.head_type.clone(),
            isa: info.isa.clone(),
            max_sequences: info.max_sequences,
        }
    }
}

impl From<wit::Message> for engine::Message {
    fn from(message: wit::Message) -> Self {
        engine::Message {
            role: message.role,
            content: message.content,
            name: message.name,
            reasoning_content: message.reasoning_content,
            tool_call_id: message.tool_call_id,
            tool_calls: message.tool_calls.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<wit::ToolCall> for engine::ToolCall {
    fn from(call: wit::ToolCall) -> Self {
        engine::ToolCall {
            id: call.id,
            name: call.name,
            arguments: call.arguments,
        }
    }
}

impl From<wit::Prompt> for engine::Prompt {
    fn from(prompt: wit::Prompt) -> Self {
        match prompt {
            wit::Prompt::Messages(messages) => {
                engine::Prompt::Messages(messages.into_iter().map(Into::into).collect())
            }
            wit::Prompt::Text(text) => engine::Prompt::Text(text),
            wit::Prompt::Tokens(tokens) => engine::Prompt::Tokens(tokens),
        }
    }
}

impl From<wit::Request> for engine::Request {
    fn from(request: wit::Request) -> Self {
        let sampling = request.sampling;
        engine::Request {
            prompt: request.prompt.into(),
            max_tokens: request.max_tokens,
            stop: request.stop,
            stop_tokens: request.stop_tokens,
            include_stop: request.include_stop,
            min_tokens: request.min_tokens,
            ignore_eos: request.ignore_eos,
            sampling: engine::Sampling {
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
}

impl From<engine::Event> for wit::Event {
    fn from(event: engine::Event) -> Self {
        wit::Event {
            text: event.text,
            tokens: event.tokens,
            finish: event.finish.map(Into::into),
        }
    }
}

impl From<engine::Finish> for wit::Finish {
    fn from(finish: engine::Finish) -> Self {
        wit::Finish {
            reason: match finish.reason {
                engine::FinishReason::Stop => wit::FinishReason::Stop,
                engine::FinishReason::Length => wit::FinishReason::Length,
            },
            usage: wit::Usage {
                prompt_tokens: finish.usage.prompt_tokens,
                completion_tokens: finish.usage.completion_tokens,
                cached_tokens: finish.usage.cached_tokens,
            },
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
            EngineError::Overloaded { retry_after_ms } => wit::Error::Overloaded(retry_after_ms),
            EngineError::Unavailable(reason) => wit::Error::Unavailable(reason),
            EngineError::Internal(reason) => wit::Error::Internal(reason),
        }
    }
}
