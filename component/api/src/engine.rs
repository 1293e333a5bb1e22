//! The engine as this component sees it: the types generated from `wit/engine.wit`, and the part of
//! the interface that the API uses, as traits.
//!
//! The traits have two implementors each: the component's imports (`Imported`) and the scripted
//! engine of the native tests (`testing.rs`).

#[allow(
    missing_docs,
    unreachable_pub,
    reason = "generated; the documentation is in wit/engine.wit"
)]
pub(crate) mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "api",
        additional_derives: [PartialEq],
    });
}

use std::marker::PhantomData;

pub use bindings::sterna::inference::engine as wit;
pub use wit::{
    CallForm, Candidate, Constraint, ContextOverflow, Conversation, ConversationEnd, Error, Event,
    Finish, FinishReason, Grammar, InvalidRequest, JsonSchema, ListedModel, Message, ModelInfo,
    ModelState, Prompt, Request, Sampling, Tags, TokenDetail, ToolCall, Usage,
};

/// A request with every default and an empty prompt.
pub fn plain_request(model: String) -> Request {
    Request {
        model,
        prompt: Prompt::Tokens(Vec::new()),
        embed: false,
        max_tokens: None,
        stop: Vec::new(),
        stop_tokens: Vec::new(),
        include_stop: false,
        min_tokens: 0,
        ignore_eos: false,
        constraint: None,
        logit_bias: Vec::new(),
        allowed_tokens: None,
        bad_words: Vec::new(),
        logprobs: None,
        echo: false,
        prompt_logprobs: None,
        show_special: false,
        truncate_prompt: None,
        resumed: Vec::new(),
        sampling: Sampling {
            temperature: None,
            top_k: None,
            top_p: None,
            min_p: None,
            repetition_penalty: None,
            presence_penalty: None,
            frequency_penalty: None,
            seed: None,
        },
        cache_salt: None,
        priority: 0,
        client: 0,
        timeout_ms: None,
    }
}

/// Something that holds models and answers requests.
///
/// A clone asks the same engine.
#[allow(
    async_fn_in_trait,
    reason = "a component has one thread, so no future of it has to be `Send`"
)]
pub trait Engine: Clone + 'static {
    /// A running generation.
    type Generation: Generation;
    /// The models that can be asked for, the default one first.
    fn models(&self) -> Vec<ListedModel>;
    /// The model of this name, or the default one; where it is being loaded, after that, and `None`
    /// where that takes longer than `wait_ms`.
    fn model(&self, name: Option<&str>, wait_ms: u32) -> Result<Option<ModelInfo>, Error>;
    /// Say in a request whose it is, and what is left of its time.
    ///
    /// # Errors
    /// `TimedOut`: nothing is left.
    fn prepare(&self, request: &mut Request) -> Result<(), Error> {
        let _ = request;
        Ok(())
    }
    /// Start a generation; every error that depends on the request alone is met here.
    fn generate(&self, request: &Request) -> Result<Self::Generation, Error>;
    /// Token ids of a text; with `add_special` as a prompt gets them.
    fn tokenize(&self, model: &str, text: &str, add_special: bool) -> Result<Vec<u32>, Error>;
    /// The text of token ids.
    fn detokenize(&self, model: &str, tokens: &[u32]) -> Result<String, Error>;
    /// A conversation as the chat template renders it.
    fn apply_template(&self, model: &str, conversation: &Conversation) -> Result<String, Error>;
    /// Milliseconds of a clock that only goes forward.
    fn now_ms(&self) -> u64;
    /// True if the client has said how long it waits.
    fn has_deadline(&self) -> bool {
        false
    }
    /// Wait for [`PAUSE_MS`], while others have their turn.
    async fn pause(&self);
}

/// A running generation; dropping it cancels it.
#[allow(
    async_fn_in_trait,
    reason = "a component has one thread, so no future of it has to be `Send`"
)]
pub trait Generation {
    /// Wait for the next event; `None` after the one that carries `finish`.
    async fn next(&mut self) -> Result<Option<Event>, Error>;
    /// Tokens of the rendered prompt.
    fn prompt_tokens(&self) -> u32;
    /// The answer begins within the model's reasoning.
    fn reasons(&self) -> bool;
}

/// The engine this component imports. `B` is what the world outside wants done before each step.
#[derive(Debug)]
pub struct Imported<B>(PhantomData<B>);

impl<B> Imported<B> {
    /// The engine that the component was linked to.
    #[allow(
        clippy::new_without_default,
        reason = "a default would have to know `B`"
    )]
    pub const fn new() -> Self {
        Imported(PhantomData)
    }
}

impl<B> Clone for Imported<B> {
    fn clone(&self) -> Self {
        Imported(PhantomData)
    }
}

/// Gives the host a turn while the engine computes: to send what was written, to serve others, to
/// notice that the client is gone. How it gets one depends on the version of WASI.
#[allow(
    async_fn_in_trait,
    reason = "a component has one thread, so no future of it has to be `Send`"
)]
pub trait Breath {
    /// Let the host work.
    async fn breathe();
    /// Wait for [`PAUSE_MS`].
    async fn pause();
    /// Milliseconds of a clock that only goes forward.
    fn now_ms() -> u64;
}

/// The time a request waits before it asks again for a place in the engine.
pub const PAUSE_MS: u64 = 50;

/// A generation of [`Imported`].
#[derive(Debug)]
pub struct ImportedGeneration<B>(wit::Generation, PhantomData<B>);

impl<B: Breath + 'static> Engine for Imported<B> {
    type Generation = ImportedGeneration<B>;

    fn models(&self) -> Vec<ListedModel> {
        wit::models()
    }

    fn model(&self, name: Option<&str>, wait_ms: u32) -> Result<Option<ModelInfo>, Error> {
        wit::model(name, wait_ms)
    }

    fn generate(&self, request: &Request) -> Result<ImportedGeneration<B>, Error> {
        Ok(ImportedGeneration(wit::generate(request)?, PhantomData))
    }

    fn tokenize(&self, model: &str, text: &str, add_special: bool) -> Result<Vec<u32>, Error> {
        wit::tokenize(model, text, add_special)
    }

    fn detokenize(&self, model: &str, tokens: &[u32]) -> Result<String, Error> {
        wit::detokenize(model, tokens)
    }

    fn apply_template(&self, model: &str, conversation: &Conversation) -> Result<String, Error> {
        wit::apply_template(model, conversation)
    }

    fn now_ms(&self) -> u64 {
        B::now_ms()
    }

    async fn pause(&self) {
        B::pause().await;
    }
}

impl<B: Breath> Generation for ImportedGeneration<B> {
    async fn next(&mut self) -> Result<Option<Event>, Error> {
        // Before the work rather than after it: what was written last leaves first.
        B::breathe().await;
        self.0.next()
    }

    fn prompt_tokens(&self) -> u32 {
        self.0.prompt_tokens()
    }

    fn reasons(&self) -> bool {
        self.0.reasons()
    }
}
