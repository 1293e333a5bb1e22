//! The generations of one request: one choice for each of its prompts, told one after the other.
//!
//! The engine has as many of them at a time as it generates side by side, so that a long list is
//! batched and yet cannot fill the queue that others wait in. The first that is not complete is
//! told as it comes; what the others say meanwhile waits in the engine.

use std::collections::VecDeque;

use crate::{
    engine::{Engine, Error, Event, FinishReason, Generation, PAUSE_MS, Prompt, Request, Usage},
    error::{ApiError, Resume},
    kind::Kind,
    parts::{Marks, Part, Splitter},
    settings::Settings,
};

/// The time that a list whose choices so far are complete waits for a place for the next one.
const MAX_WAIT_MS: u64 = 60_000;

/// A request to the engine, before it is split by prompts.
#[derive(Debug)]
pub struct Asked {
    /// The route.
    pub kind: Kind,
    /// Everything but the prompt and the seed, which each choice has its own of.
    pub template: Request,
    /// The prompts, at least one.
    pub prompts: Vec<Prompt>,
    /// The seed of the first choice.
    pub seed: u64,
    /// The others have it too: the client chose it. Else each has the next one.
    pub same_seed: bool,
    /// What is looked for in the answers.
    pub form: Form,
}

/// What is looked for in answers, and what is not told of them.
#[derive(Clone, Debug, Default)]
pub struct Form {
    /// The parts that are told apart.
    pub marks: Marks,
    /// Reasoning is left out.
    pub hides_reasoning: bool,
    /// An answer ends after its first call.
    pub one_call: bool,
}

/// The generations of one request. Dropping it cancels them.
pub struct Choices<E: Engine> {
    engine: E,
    kind: Kind,
    template: Request,
    /// Prompts the engine has not been given.
    waiting: VecDeque<Prompt>,
    /// Those it has, in order. The first is told.
    running: VecDeque<E::Generation>,
    /// The number of generations the engine is given at a time.
    at_once: usize,
    max_prompt_tokens: Option<u32>,
    /// Of all prompts.
    total: u32,
    /// Of the choice that is told.
    index: u32,
    seed: u64,
    same_seed: bool,
    /// Takes it apart, from its first event on.
    splitter: Option<Splitter>,
    /// It has called a function.
    called: bool,
    form: Form,
    /// Tokens of that choice that came.
    told: Vec<u32>,
    /// How many of them, from the first on, are told whole: nothing of their text is held back.
    whole: usize,
    /// The usage of all choices so far.
    usage: Usage,
    /// Why a prompt that was given late was refused, to be told after the piece before it.
    fault: Option<ApiError>,
}

/// What is next of one of the choices.
#[derive(Debug)]
pub struct Piece {
    /// Which choice.
    pub index: u32,
    /// Tokens that it came with.
    pub tokens: u32,
    /// Its parts, as far as they are certain; none where they are not yet.
    pub parts: Vec<Part>,
    /// Why it ended, after its last part.
    pub end: Option<End>,
}

/// Why a choice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The model's own end, or what the request says ends it.
    Stop,
    /// As many tokens as there may be.
    Length,
    /// The functions that it calls are to be answered.
    Calls,
}

impl<E: Engine> Choices<E> {
    /// Give the engine what it takes of the request; `at_once` prompts at most.
    ///
    /// # Errors
    /// The engine refuses one of them, or it has no place for the first.
    pub fn start(
        engine: E,
        settings: &Settings,
        at_once: u32,
        asked: Asked,
    ) -> Result<Self, ApiError> {
        let mut choices = Choices {
            engine,
            kind: asked.kind,
            template: asked.template,
            total: u32::try_from(asked.prompts.len()).unwrap_or(u32::MAX),
            waiting: asked.prompts.into(),
            running: VecDeque::new(),
            at_once: (at_once as usize).max(1),
            max_prompt_tokens: settings.max_prompt_tokens,
            index: 0,
            seed: asked.seed,
            same_seed: asked.same_seed,
            splitter: None,
            called: false,
            form: asked.form,
            told: Vec::new(),
            whole: 0,
            usage: Usage {
                prompt_tokens: 0,
                completion_tokens: 0,
                cached_tokens: 0,
            },
            fault: None,
        };
        match choices.fill()? {
            Some(no_place) if choices.running.is_empty() => Err(no_place),
            _ => Ok(choices),
        }
    }

    /// Choices there will be.
    pub fn total(&self) -> u32 {
        self.total
    }

    /// The usage of all choices so far; after the last piece, their total.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// The data with which a client resumes elsewhere.
    pub fn resume(&self) -> Resume {
        Resume {
            index: (self.total > 1).then_some(self.index),
            seed: self.seed_of(self.index),
            completion_tokens: self.whole,
            tokens: self.told[..self.whole].to_vec(),
        }
    }

    /// Wait for the next piece; `None` once every choice has told why it ended.
    ///
    /// # Errors
    /// The engine failed, or refuses one of the prompts it was given late; the request is over.
    pub async fn next(&mut self) -> Result<Option<Piece>, ApiError> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        self.wait_for_place().await?;
        let Some(generation) = self.running.front_mut() else {
            return Ok(None);
        };
        let event = match generation.next().await {
            Ok(Some(event)) => event,
            // It broke its contract: it ended without saying why.
            Ok(None) => return Err(ApiError::internal("the generation ended without a reason")),
            Err(error) => return Err(self.named(error, self.index)),
        };
        let inside = generation.reasons();
        let splitter = self
            .splitter
            .get_or_insert_with(|| Splitter::new(&self.form.marks, inside));
        let parts = splitter.push(&event.text, event.finish.is_some());
        let index = self.index;
        let tokens = u32::try_from(event.tokens.len()).unwrap_or(u32::MAX);
        self.told.extend(&event.tokens);
        if !splitter.holds() {
            self.whole = self.told.len();
        }
        self.usage.completion_tokens = self.usage.completion_tokens.saturating_add(tokens);
        if let Some(finish) = event.finish {
            // What it says itself counts.
            let told = u32::try_from(self.told.len()).unwrap_or(u32::MAX);
            let others = self.usage.completion_tokens.saturating_sub(told);
            let own = finish.usage;
            self.usage.completion_tokens = others.saturating_add(own.completion_tokens);
            self.usage.cached_tokens = self.usage.cached_tokens.saturating_add(own.cached_tokens);
        }
        let (parts, end) = self.told_of(parts, &event);
        if end.is_some() {
            self.told.clear();
            self.whole = 0;
            self.splitter = None;
            self.called = false;
            // Where it has not ended by itself, this cancels it.
            self.running.pop_front();
            self.index += 1;
            self.fault = self.fill().err();
        }
        Ok(Some(Piece {
            index,
            tokens,
            parts,
            end,
        }))
    }

    /// What is told of these parts of the choice, and why it ends with them, if it does.
    fn told_of(&mut self, parts: Vec<Part>, event: &Event) -> (Vec<Part>, Option<End>) {
        let mut kept = Vec::new();
        for part in parts {
            match part {
                Part::Reasoning(_) if self.form.hides_reasoning => {}
                Part::Call(_) => {
                    self.called = true;
                    kept.push(part);
                    if self.form.one_call {
                        return (kept, Some(End::Calls));
                    }
                }
                part => kept.push(part),
            }
        }
        let end = event.finish.map(|finish| match finish.reason {
            FinishReason::Length => End::Length,
            FinishReason::Stop if self.called => End::Calls,
            FinishReason::Stop => End::Stop,
        });
        (kept, end)
    }

    /// Wait for a place if others took every one of the engine's while this request had none: what
    /// is told already is not to be lost.
    async fn wait_for_place(&mut self) -> Result<(), ApiError> {
        let mut waited_ms = 0;
        while self.running.is_empty()
            && let Some(no_place) = self.fill()?
        {
            if waited_ms >= MAX_WAIT_MS {
                return Err(no_place);
            }
            self.engine.pause().await;
            waited_ms += PAUSE_MS;
        }
        Ok(())
    }

    /// Give the engine the next prompts. Returns why it has no place for one, which goes on
    /// waiting.
    fn fill(&mut self) -> Result<Option<ApiError>, ApiError> {
        while self.running.len() < self.at_once {
            let index = self.total - u32::try_from(self.waiting.len()).unwrap_or(self.total);
            let Some(prompt) = self.waiting.pop_front() else {
                break;
            };
            let mut request = Request {
                prompt,
                ..self.template.clone()
            };
            request.sampling.seed = Some(self.seed_of(index));
            let generation = match self.engine.generate(&request) {
                Ok(generation) => generation,
                Err(error @ Error::Overloaded(_)) => {
                    self.waiting.push_front(request.prompt);
                    return Ok(Some(self.named(error, index)));
                }
                Err(error) => return Err(self.named(error, index)),
            };
            let tokens = generation.prompt_tokens();
            if let Some(most) = self.max_prompt_tokens.filter(|&most| tokens > most) {
                let field = self.prompt_field(index);
                return Err(ApiError::prompt_too_long(&field, tokens, most));
            }
            self.usage.prompt_tokens = self.usage.prompt_tokens.saturating_add(tokens);
            self.running.push_back(generation);
        }
        Ok(None)
    }

    /// Ask another engine for the prompts that wait.
    #[cfg(test)]
    pub(crate) fn replace_engine(&mut self, engine: E) {
        self.engine = engine;
    }

    fn seed_of(&self, index: u32) -> u64 {
        let others = if self.same_seed { 0 } else { u64::from(index) };
        self.seed.wrapping_add(others)
    }

    /// The request field that holds the prompt of a choice.
    fn prompt_field(&self, index: u32) -> String {
        let field = self.kind.prompt_field();
        if self.total > 1 {
            format!("{field}[{index}]")
        } else {
            field.to_owned()
        }
    }

    fn named(&self, error: Error, index: u32) -> ApiError {
        ApiError::from_engine(error, &self.prompt_field(index))
    }
}
