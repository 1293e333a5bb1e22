//! The HTTP component's `engine` import, answered by the engines in this process.
//!
//! It only passes on: `wit/engine.wit` and `sterna_engine::request` mirror each other (`bindings`).

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use sterna_engine::request::Event;
use sterna_engine::scheduler::conversation_bytes;
use wasmtime::component::{HasData, Resource, ResourceTable};

use crate::api_component::AnswerRoom;
use crate::bindings::engine as wit;
use crate::engine::Generation;
use crate::engine::driven::{Answered, Texts};
use crate::engine::handle::EngineHandle;
use crate::models::{Held, Lease, Listed, Refused, Stage};

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
    /// The models, and those that the request was given.
    pub models: &'a mut Held<EngineHandle>,
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
    /// The model of this name, waited for to the end.
    async fn lease(&mut self, name: &str) -> Result<&Lease<EngineHandle>, wit::Error> {
        let lease = self.models.get(Some(name), Duration::MAX).await;
        let still_loading = || wit::Error::Unavailable("the model is still being loaded".into());
        lease.map_err(refusal)?.ok_or_else(still_loading)
    }

    async fn ask_texts<T: Send + 'static>(
        &mut self,
        name: &str,
        bytes: usize,
        question: impl FnOnce(&mut dyn Texts) -> Answered<T> + Send + 'static,
    ) -> WitResult<T> {
        let engine = match self.lease(name).await {
            Ok(lease) => lease.engine(),
            Err(error) => return Ok(Err(error)),
        };
        Ok(engine.ask_texts(bytes, question).await.map_err(Into::into))
    }
}

/// Take so many bytes for what an instance collects.
async fn has_room(room: Option<&AnswerRoom>, bytes: usize) -> bool {
    match room {
        Some(room) if bytes > 0 => room(bytes).await,
        _ => true,
    }
}

fn refusal(refused: Refused) -> wit::Error {
    match refused {
        Refused::Unknown(name) => wit::Error::UnknownModel(name),
        Refused::Engine(error) => error.into(),
    }
}

impl wit::Host for EngineImport<'_> {
    async fn models(&mut self) -> wasmtime::Result<Vec<wit::ListedModel>> {
        let models = self.models.models();
        let created = models.created();
        let listed = |model: Listed| wit::ListedModel {
            id: model.id,
            alias_of: model.alias_of,
            created: model.info.as_ref().map_or(created, |info| info.created),
            state: match model.stage {
                Stage::Unloaded => wit::ModelState::Unloaded,
                Stage::Loading => wit::ModelState::Loading,
                Stage::Loaded => wit::ModelState::Loaded,
                Stage::Failed => wit::ModelState::Failed,
            },
            info: model.info.map(Into::into),
        };
        Ok(models.listed().into_iter().map(listed).collect())
    }

    async fn model(
        &mut self,
        name: Option<String>,
        wait_ms: u32,
    ) -> WitResult<Option<wit::ModelInfo>> {
        let wait = Duration::from_millis(wait_ms.into());
        let lease = self.models.get(name.as_deref(), wait).await;
        let info = |lease: &Lease<EngineHandle>| lease.info().clone().into();
        Ok(lease.map(|lease| lease.map(info)).map_err(refusal))
    }

    async fn generate(&mut self, request: wit::Request) -> WitResult<Resource<Generation>> {
        let room = self.room;
        let lease = match self.lease(&request.model).await {
            Ok(lease) => lease,
            Err(error) => return Ok(Err(error)),
        };
        let embedding = lease.info().embedding_size as usize * EMBEDDED_NUMBER_BYTES;
        if request.embed && !has_room(room, embedding).await {
            return Ok(Err(wit::Error::Overloaded(NO_ROOM_MS)));
        }
        match lease.engine().generate(request.into()).await {
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
            if !has_room(self.room, collected_bytes(event)).await {
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
