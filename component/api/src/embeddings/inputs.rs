//! The inputs of one request, given to the engine as it has places.
//!
//! The engine has as many of them at a time as it computes side by side, so that a long list shares
//! batches and yet cannot fill the queue that others wait in.

use std::collections::VecDeque;

use serde_json::value::RawValue;

use super::answer::Form;
use crate::{
    engine::{Engine, Error, Generation, PAUSE_MS, Prompt, Request, plain_request},
    error::ApiError,
    params::Treatment,
    settings::Settings,
};

/// The time that a list of which the engine has had a part waits for a place for the next one.
const MAX_WAIT_MS: u64 = 60_000;

/// The vectors of all inputs, in their order, and what they cost.
#[derive(Debug, Default)]
pub struct Embedded {
    /// Each as the answer has it.
    pub vectors: Vec<Box<RawValue>>,
    /// Tokens of all inputs.
    pub prompt_tokens: u64,
}

/// Embed the inputs by requests like `template`, `at_once` at a time at most.
///
/// # Errors
/// The engine refuses one of them, fails, or has no place.
pub(super) async fn run<E: Engine>(
    engine: &E,
    settings: &Settings,
    at_once: u32,
    template: Request,
    inputs: Vec<Prompt>,
    form: &Form,
) -> Result<Embedded, ApiError> {
    let mut running = Running {
        engine,
        settings,
        form,
        at_once: (at_once as usize).max(1),
        template,
        total: inputs.len(),
        waiting: inputs.into(),
        running: VecDeque::new(),
        embedded: Embedded::default(),
    };
    while running.embedded.vectors.len() < running.total {
        running.fill().await?;
        running.take_first().await?;
    }
    Ok(running.embedded)
}

struct Running<'a, E: Engine> {
    engine: &'a E,
    settings: &'a Settings,
    form: &'a Form,
    at_once: usize,
    template: Request,
    total: usize,
    /// Inputs the engine has not been given.
    waiting: VecDeque<Prompt>,
    /// Those it has, in order.
    running: VecDeque<E::Generation>,
    embedded: Embedded,
}

impl<E: Engine> Running<'_, E> {
    /// Give the engine inputs until it has as many as it may, or no place for more; wait for one
    /// if it has none at all and had some before.
    async fn fill(&mut self) -> Result<(), ApiError> {
        let mut waited_ms = 0;
        while self.running.len() < self.at_once {
            let index = self.total - self.waiting.len();
            let Some(prompt) = self.waiting.pop_front() else {
                break;
            };
            let mut request = Request {
                prompt,
                ..self.template.clone()
            };
            let prepared = self.engine.prepare(&mut request);
            match prepared.and_then(|()| self.engine.generate(&request)) {
                Ok(input) => self.started(index, input)?,
                Err(error @ Error::Overloaded(_)) => {
                    self.waiting.push_front(request.prompt);
                    if !self.running.is_empty() {
                        break;
                    }
                    if index == 0 || waited_ms >= MAX_WAIT_MS {
                        return Err(self.named(error, index));
                    }
                    self.engine.pause().await;
                    waited_ms += PAUSE_MS;
                }
                Err(error) => return Err(self.named(error, index)),
            }
        }
        Ok(())
    }

    fn started(&mut self, index: usize, input: E::Generation) -> Result<(), ApiError> {
        let tokens = input.prompt_tokens();
        if let Some(most) = self
            .settings
            .max_prompt_tokens
            .filter(|&most| tokens > most)
        {
            return Err(ApiError::prompt_too_long(&self.field(index), tokens, most));
        }
        self.embedded.prompt_tokens += u64::from(tokens);
        self.running.push_back(input);
        Ok(())
    }

    /// Wait for the vector of the first input that the engine has.
    async fn take_first(&mut self) -> Result<(), ApiError> {
        let index = self.embedded.vectors.len();
        let Some(mut input) = self.running.pop_front() else {
            return Ok(());
        };
        loop {
            match input.next().await {
                Ok(Some(event)) => {
                    if let Some(vector) = event.embedding {
                        self.embedded.vectors.push(self.form.write(vector)?);
                        return Ok(());
                    }
                }
                // It broke its contract: it ended without a vector.
                Ok(None) => return Err(ApiError::internal("the input ended without an embedding")),
                Err(error) => return Err(self.named(error, index)),
            }
        }
    }

    /// The request field that holds an input.
    fn field(&self, index: usize) -> String {
        if self.total > 1 {
            format!("input[{index}]")
        } else {
            "input".to_owned()
        }
    }

    fn named(&self, error: Error, index: usize) -> ApiError {
        ApiError::from_engine(error, &self.field(index))
    }
}

/// A request to embed, without its prompt.
pub(super) fn template(model: String, treatment: Treatment) -> Request {
    Request {
        embed: true,
        cache_salt: treatment.cache_salt,
        priority: treatment.priority,
        timeout_ms: treatment.timeout_ms,
        ..plain_request(model)
    }
}
