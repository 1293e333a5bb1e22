//! The HTTP component's `engine` import, answered by the engine in this process.
//!
//! It only passes on: `wit/engine.wit` and `sterna_engine::request` mirror each other (`bindings`).

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use sterna_engine::request::Event;
use sterna_engine::scheduler::conversation_bytes;
use wasmtime::component::{HasData, Resource, ResourceTable};

use crate::api_component::AnswerRoom;
use crate::bindings::engine as wit;
use crate::engine::Generation;
use crate::engine::driven::{Answered, Texts};
use crate::engine::handle::EngineHandle;

/// Bytes that a number of an embedding takes in an instance that collects them: itself, and its
/// digits in the answer.
const EMBEDDED_NUMBER_BYTES: usize = 4 + 14;

/// Bytes that a token takes in an instance which lists it, and so does each candidate beside it:
/// itself, its part of the answer, and that part again.
const LISTED_TOKEN_BYTES: usize = 288;

/// So often as a text takes in an instance that collects it: itself, escaped, and that again.
const COLLECTED_TEXT: usize = 6;

/// When to try again where there is no memory for an answer.
const NO_ROOM_MS: u32 = 1000;

/// Tokens one HTTP request has cost so far, for its log line.
#[derive(Debug, Default)]
pub struct TokenCount {
    /// Of the prompts.
    pub prompt: AtomicU32,
    /// Of the completions.
    pub completion: AtomicU32,
}

/// The state of one instance that these functions need.
pub struct EngineImport<'a> {
    /// The guest's resources.
    pub table: &'a mut ResourceTable,
    /// The engine.
    pub engine: &'a EngineHandle,
    /// The token counter of the request.
    pub tokens: &'a TokenCount,
    /// The memory of the answer; without it no limit is kept.
    pub room: Option<&'a AnswerRoom>,
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

    /// Take memory for one more embedding of the request's answer.
    async fn has_room_for_embedding(&mut self) -> bool {
        let numbers = self.engine.info().embedding_size as usize;
        self.has_room(numbers * EMBEDDED_NUMBER_BYTES).await
    }

    /// Take so many bytes for what an instance collects.
    async fn has_room(&mut self, bytes: usize) -> bool {
        match self.room {
            Some(room) if bytes > 0 => room(bytes).await,
            _ => true,
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
        Ok(vec![self.engine.info().clone().into()])
    }

    async fn generate(&mut self, request: wit::Request) -> WitResult<Resource<Generation>> {
        if let Err(error) = self.check_model(&request.model) {
            return Ok(Err(error));
        }
        if request.embed && !self.has_room_for_embedding().await {
            return Ok(Err(wit::Error::Overloaded(NO_ROOM_MS)));
        }
        match self.engine.generate(request.into()).await {
            Ok(generation) => {
                self.tokens
                    .prompt
                    .fetch_add(generation.prompt_tokens(), Relaxed);
                Ok(Ok(self.table.push(generation)?))
            }
            Err(error) => Ok(Err(error.into())),
        }
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
        conversation: wit::Conversation,
    ) -> WitResult<String> {
        let conversation = conversation.into();
        let bytes = conversation_bytes(&conversation);
        self.ask_texts(&model, bytes, move |texts| {
            texts.apply_template(conversation)
        })
        .await
    }
}

/// Bytes that an event takes in an instance which collects the answer.
fn collected_bytes(event: &Event) -> usize {
    let listed = event.details.iter().chain(&event.prompt);
    let listed = listed.map(|detail| {
        let texts = detail.top.iter().map(|candidate| candidate.bytes.len());
        let texts = detail.bytes.len() + texts.sum::<usize>();
        (1 + detail.top.len()) * LISTED_TOKEN_BYTES + texts * COLLECTED_TEXT
    });
    event.text.len() * COLLECTED_TEXT + listed.sum::<usize>()
}

impl wit::HostGeneration for EngineImport<'_> {
    async fn prompt_tokens(&mut self, generation: Resource<Generation>) -> wasmtime::Result<u32> {
        Ok(self.table.get(&generation)?.prompt_tokens())
    }

    async fn reasons(&mut self, generation: Resource<Generation>) -> wasmtime::Result<bool> {
        Ok(self.table.get(&generation)?.reasons())
    }

    async fn next(&mut self, generation: Resource<Generation>) -> WitResult<Option<wit::Event>> {
        let event = self.table.get_mut(&generation)?.next().await;
        if let Ok(Some(event)) = &event {
            if !self.has_room(collected_bytes(event)).await {
                return Ok(Err(wit::Error::Overloaded(NO_ROOM_MS)));
            }
            let tokens = u32::try_from(event.tokens.len()).unwrap_or(u32::MAX);
            self.tokens.completion.fetch_add(tokens, Relaxed);
        }
        Ok(event.map(|event| event.map(Into::into)).map_err(Into::into))
    }

    async fn drop(&mut self, generation: Resource<Generation>) -> wasmtime::Result<()> {
        self.table.delete(generation)?;
        Ok(())
    }
}
