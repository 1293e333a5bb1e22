//! The engine that its thread drives: linked into this process, or in a sandbox (`sandbox`).
//!
//! Every call has two kinds of failure. The outer one means that the engine itself is broken (a
//! trap): its thread then ends what was running and starts it anew. The inner one is an answer to
//! the caller.

use std::sync::Arc;

use crate::engine::changed_files;
use sterna_engine::engine::Engine;
use sterna_engine::error::EngineError;
use sterna_engine::model::Model;
use sterna_engine::options::EngineOptions;
use sterna_engine::request::{
    Conversation, Delivery, EngineStats, GenerationId, ModelInfo, Request, Submitted,
};
use sterna_engine::scheduler::{Gate, PromptSize};

use crate::engine::step_limit::StepLimit;

/// An answer, or a broken engine.
pub type Answered<T> = anyhow::Result<Result<T, EngineError>>;

/// The source of engines: of the first one, and of another after a failure.
pub trait EngineSource: Send + Sync {
    /// A fresh, idle engine.
    ///
    /// # Errors
    /// The engine does not accept the model or the options.
    fn start(&self) -> anyhow::Result<Box<dyn DrivenEngine>>;

    /// Tokenizer and chat template, beside the engine and everybody else's: nobody waits for
    /// another.
    ///
    /// # Errors
    /// The machine gives no memory for them.
    fn texts(&self) -> anyhow::Result<Box<dyn Texts>>;

    /// Requests that may wait in an engine of this source.
    fn max_queue(&self) -> u32;

    /// The change to a file that the model is still read from, if any: a sentence.
    fn changed_file(&self) -> Option<String> {
        None
    }

    /// The time limit of a call of an engine.
    fn step_limit(&self) -> StepLimit {
        StepLimit::default()
    }
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
    fn apply_template(&mut self, conversation: Conversation) -> Answered<String>;

    /// Check a request, and put its prompt's token ids in the place of its prompt. The engine then
    /// has nothing left to do.
    ///
    /// # Errors
    /// See [`Answered`].
    fn admit(&mut self, request: Request) -> Answered<Request>;
}

/// An engine as its thread sees it; the methods are `sterna_engine::engine::Engine`'s.
pub trait DrivenEngine: Send {
    /// The facts about the model.
    fn info(&mut self) -> ModelInfo;

    /// The limits of a prompt.
    ///
    /// # Errors
    /// The engine is broken.
    fn prompt_size(&mut self) -> anyhow::Result<PromptSize>;

    /// Queue a request that was admitted ([`Texts::admit`]).
    ///
    /// # Errors
    /// See [`Answered`].
    fn submit(&mut self, request: Request) -> Answered<Submitted>;

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

    /// The engine's state and counters.
    ///
    /// # Errors
    /// The engine is broken.
    fn stats(&mut self) -> anyhow::Result<EngineStats>;
}

/// Engines linked into this process, for one model.
pub struct LinkedEngines {
    /// The model.
    pub model: Arc<Model>,
    /// Each engine's use of the machine.
    pub options: EngineOptions,
    /// The time limit of a call: after it probes say that it is stuck. Native code cannot be
    /// interrupted.
    pub step_limit: StepLimit,
}

impl EngineSource for LinkedEngines {
    fn start(&self) -> anyhow::Result<Box<dyn DrivenEngine>> {
        let engine = Engine::new(Arc::clone(&self.model), self.options.clone())?;
        Ok(Box::new(LinkedEngine(engine)))
    }

    fn texts(&self) -> anyhow::Result<Box<dyn Texts>> {
        let gate = Gate::of(&self.model, &self.options)?;
        let model = Arc::clone(&self.model);
        Ok(Box::new(LinkedTexts { model, gate }))
    }

    fn max_queue(&self) -> u32 {
        u32::try_from(self.options.max_queue).unwrap_or(u32::MAX)
    }

    fn changed_file(&self) -> Option<String> {
        let files = self.model.mapped_files();
        files
            .iter()
            .find_map(|file| changed_files::sentence(file.file()))
    }

    fn step_limit(&self) -> StepLimit {
        self.step_limit
    }
}

struct LinkedEngine(Engine);

impl DrivenEngine for LinkedEngine {
    fn info(&mut self) -> ModelInfo {
        self.0.info()
    }

    fn prompt_size(&mut self) -> anyhow::Result<PromptSize> {
        Ok(self.0.gate().size())
    }

    fn submit(&mut self, request: Request) -> Answered<Submitted> {
        Ok(self.0.submit(request))
    }

    fn step(&mut self, deliver: &mut dyn FnMut(Delivery)) -> anyhow::Result<bool> {
        Ok(self.0.step(deliver))
    }

    fn cancel(&mut self, id: GenerationId) -> anyhow::Result<bool> {
        Ok(self.0.cancel(id))
    }

    fn stats(&mut self) -> anyhow::Result<EngineStats> {
        Ok(self.0.stats())
    }
}

struct LinkedTexts {
    model: Arc<Model>,
    gate: Gate,
}

impl Texts for LinkedTexts {
    fn tokenize(&mut self, text: &str, add_special: bool) -> Answered<Vec<u32>> {
        Ok(self.model.tokenize(text, add_special))
    }

    fn detokenize(&mut self, tokens: &[u32]) -> Answered<String> {
        Ok(Ok(self.model.detokenize(tokens)))
    }

    fn apply_template(&mut self, conversation: Conversation) -> Answered<String> {
        Ok(self.model.apply_template(&conversation))
    }

    fn admit(&mut self, request: Request) -> Answered<Request> {
        Ok(self.gate.admit_as_tokens(request))
    }
}
