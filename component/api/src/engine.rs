//! The engine as this component sees it: the types generated from `wit/engine.wit`, and the part of
//! the interface that the API uses, as traits.
//!
//! The traits have two implementors: the component's imports (`wasi.rs`) and the scripted engine of
//! the native tests (`testing.rs`).

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

pub use bindings::sterna::inference::engine as wit;
pub use wit::{
    ContextOverflow, Error, Event, Finish, FinishReason, InvalidRequest, Message, ModelInfo,
    Prompt, Request, Sampling, Usage,
};

/// Something that holds models and answers requests.
pub trait Engine {
    /// A running generation.
    type Generation: Generation;
    /// The models that can be asked, the default one first.
    fn models(&self) -> Vec<ModelInfo>;
    /// Start a generation; every error that depends on the request alone is met here.
    fn generate(&self, request: &Request) -> Result<Self::Generation, Error>;
}

/// A running generation; dropping it cancels it.
pub trait Generation {
    /// Wait for the next event; `None` after the one that carries `finish`.
    fn next(&mut self) -> Result<Option<Event>, Error>;
    /// Tokens of the rendered prompt.
    fn prompt_tokens(&self) -> u32;
}
