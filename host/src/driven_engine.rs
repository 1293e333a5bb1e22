//! What the engine's thread drives: an engine linked into this process, or one in a sandbox (`sandbox`).
//!
//! Every call has two kinds of failure. The outer one means that the engine itself is broken (a trap): its thread then
//! ends what was running and starts it anew. The inner one is an answer to the caller.

use std::sync::Arc;

use sterna_engine::engine::{Engine, EngineOptions, EngineStats, ModelInfo};
use sterna_engine::error::EngineError;
use sterna_engine::model::Model;
use sterna_engine::request::{Delivery, GenerationId, Message, Prompt, Request};

/// An answer, or a broken engine.
pub type Answered<T> = anyhow::Result<Result<T, EngineError>>;

/// Where engines come from: the first one, and another after a failure.
pub trait EngineSource: Send + Sync {
    /// A fresh, idle engine.
    ///
    /// # Errors
    /// The engine does not accept the model or the options.
    fn start(&self) -> anyhow::Result<Box<dyn DrivenEngine>>;

    /// Answers about texts that need no engine, and so do not wait for one.
    fn texts(&self) -> Option<Box<dyn Texts + Send>>;

    /// Requests that may wait in an engine of this source.
    fn max_queue(&self) -> u32;
}

/// Tokenizer and chat template.
pub trait Texts {
    /// Token ids of a text; with `add_special` as a prompt gets them.
    ///
    /// # Errors
    /// See [`Answered`].
    fn tokenize(&mut self, text: &str, add_special: bool) -> Answered<Vec<u32>>;

    /// The text of token ids.
    ///
    /// # Errors
    /// See [`Answered`].
    fn detokenize(&mut self, tokens: &[u32]) -> Answered<String>;

    /// A conversation as the chat template renders it.
    ///
    /// # Errors
    /// See [`Answered`].
    fn apply_template(&mut self, messages: Vec<Message>) -> Answered<String>;
}

/// An engine as its thread sees it; the methods are `sterna_engine::engine::Engine`'s.
pub trait DrivenEngine: Send {
    /// The facts about the model.
    fn info(&mut self) -> ModelInfo;

    /// Tokenizer and chat template.
    fn texts(&mut self) -> &mut dyn Texts;

    /// Queue a request; its id and its prompt's length in tokens.
    ///
    /// # Errors
    /// See [`Answered`].
    fn submit(&mut self, request: Request) -> Answered<(GenerationId, u32)>;

    /// One batch; false when there was nothing to do.
    ///
    /// # Errors
    /// The engine is broken.
    fn step(&mut self, deliver: &mut dyn FnMut(Delivery)) -> anyhow::Result<bool>;

    /// End a generation; whether it was alive.
    ///
    /// # Errors
    /// The engine is broken.
    fn cancel(&mut self, id: GenerationId) -> anyhow::Result<bool>;

    /// What the engine is doing and has done.
    ///
    /// # Errors
    /// The engine is broken.
    fn stats(&mut self) -> anyhow::Result<EngineStats>;

    /// An input's meaning as a vector, and its length in tokens.
    ///
    /// # Errors
    /// See [`Answered`].
    fn embed(&mut self, input: Prompt) -> Answered<(Vec<f32>, u32)>;
}

/// Engines linked into this process, for one model.
pub struct LinkedEngines {
    /// The model.
    pub model: Arc<Model>,
    /// How each engine uses the machine.
    pub options: EngineOptions,
}

impl EngineSource for LinkedEngines {
    fn start(&self) -> anyhow::Result<Box<dyn DrivenEngine>> {
        let engine = Engine::new(Arc::clone(&self.model), self.options.clone())?;
        let texts = LinkedTexts(Arc::clone(&self.model));
        Ok(Box::new(LinkedEngine { engine, texts }))
    }

    fn texts(&self) -> Option<Box<dyn Texts + Send>> {
        Some(Box::new(LinkedTexts(Arc::clone(&self.model))))
    }

    fn max_queue(&self) -> u32 {
        u32::try_from(self.options.max_queue).unwrap_or(u32::MAX)
    }
}

struct LinkedEngine {
    engine: Engine,
    texts: LinkedTexts,
}

impl DrivenEngine for LinkedEngine {
    fn info(&mut self) -> ModelInfo {
        self.engine.info()
    }

    fn texts(&mut self) -> &mut dyn Texts {
        &mut self.texts
    }

    fn submit(&mut self, request: Request) -> Answered<(GenerationId, u32)> {
        Ok(self.engine.submit(request))
    }

    fn step(&mut self, deliver: &mut dyn FnMut(Delivery)) -> anyhow::Result<bool> {
        Ok(self.engine.step(deliver))
    }

    fn cancel(&mut self, id: GenerationId) -> anyhow::Result<bool> {
        Ok(self.engine.cancel(id))
    }

    fn stats(&mut self) -> anyhow::Result<EngineStats> {
        Ok(self.engine.stats())
    }

    fn embed(&mut self, input: Prompt) -> Answered<(Vec<f32>, u32)> {
        Ok(self.engine.embed(input))
    }
}

struct LinkedTexts(Arc<Model>);

impl Texts for LinkedTexts {
    fn tokenize(&mut self, text: &str, add_special: bool) -> Answered<Vec<u32>> {
        Ok(self.0.tokenize(text, add_special))
    }

    fn detokenize(&mut self, tokens: &[u32]) -> Answered<String> {
        Ok(Ok(self.0.detokenize(tokens)))
    }

    fn apply_template(&mut self, messages: Vec<Message>) -> Answered<String> {
        Ok(self.0.apply_template(&messages))
    }
}
