//! The generations of one request: one or several choices for each of its prompts.
//!
//! The engine has as many of them at a time as it generates side by side, so that a long list is
//! batched and yet cannot fill the queue that others wait in. The choices of several prompts are
//! told one after the other: the first that is not complete as it comes, while what the others say
//! meanwhile waits in the engine. Several choices for one prompt take turns.

mod running;
mod size;

use std::collections::{BTreeMap, VecDeque};

use crate::{
    clock::Clock,
    engine::{Engine, Error, Generation, PAUSE_MS, Prompt, Request, TokenDetail, Usage},
    error::{ApiError, Resume},
    kind::Kind,
    parts::{Marks, Part},
    resume::Resumed,
    settings::Settings,
};
use running::Running;
pub use size::{MAX_BYTES, listed_bytes};

/// The time that a list whose choices so far are complete waits for a place for the next one.
const MAX_WAIT_MS: u64 = 60_000;

/// A request to the engine, before it is split into choices.
#[derive(Debug)]
pub struct Asked {
    /// The route.
    pub kind: Kind,
    /// Everything but the prompt and the seed, which each choice has its own of.
    pub template: Request,
    /// The prompts, at least one.
    pub prompts: Vec<Prompt>,
    /// The choices of each prompt, at least one; they follow one another.
    pub per_prompt: u32,
    /// The seed of the first choice.
    pub seed: u64,
    /// The client chose it: each prompt's choices begin with it. Else every choice has the next
    /// one.
    pub same_seed: bool,
    /// What is looked for in the answers.
    pub form: Form,
    /// The field that asks for a grammar.
    pub grammar_field: Option<String>,
    /// What its times are measured by.
    pub clock: Clock,
    /// What was told of them elsewhere.
    pub resumed: Resumed,
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
    /// The prompt's text comes before the answer's.
    pub echo: bool,
    /// Texts that are told as what ended the answer, and not shown. The engine shows them.
    pub told_stops: Vec<String>,
}

/// The generations of one request. Dropping it cancels them.
pub struct Choices<E: Engine> {
    engine: E,
    kind: Kind,
    template: Request,
    /// Prompts of which the engine has not been given every choice.
    waiting: VecDeque<Prompt>,
    /// The choices that it has. The first is told next.
    running: VecDeque<Running<E::Generation>>,
    /// The number of generations the engine is given at a time.
    at_once: usize,
    max_prompt_tokens: Option<u32>,
    /// Of all prompts.
    total: u32,
    per_prompt: u32,
    /// Choices that the engine was given.
    started: u32,
    seed: u64,
    same_seed: bool,
    form: Form,
    grammar_field: Option<String>,
    clock: Clock,
    /// What was told of them elsewhere.
    resumed: Resumed,
    /// The usage of all choices so far.
    usage: Usage,
    /// That of those which have ended.
    ended: Usage,
    /// Why a prompt that was given late was refused, to be told after the piece before it.
    fault: Option<ApiError>,
    /// Bytes of the pieces so far, and at most.
    bytes: usize,
    most_bytes: usize,
    /// The first piece, where it was waited for, and the usage before it.
    first: Option<(Piece, Usage)>,
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
    /// The text at which it stopped, if that is one of the form's.
    pub stopped: Option<String>,
    /// What is told of these tokens.
    pub told: Tokens,
    /// What the choice cost so far.
    pub cost: Cost,
}

/// What one choice cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Tokens of its prompt.
    pub prompt_tokens: u32,
    /// Of these, how many were cached; known at its end.
    pub cached_tokens: u32,
    /// Tokens that were generated.
    pub completion_tokens: u32,
    /// Microseconds until the first of them, those of waiting included.
    pub prompt_us: u64,
    /// Microseconds since then.
    pub completion_us: u64,
}

/// Tokens of a choice: ids, and what the request asked to be told of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tokens {
    /// The ids of what was generated.
    pub ids: Vec<u32>,
    /// Each of these.
    pub details: Vec<TokenDetail>,
    /// The prompt's.
    pub prompt: Vec<TokenDetail>,
}

impl Tokens {
    /// These, and those that come next.
    pub fn append(&mut self, mut next: Tokens) {
        self.ids.append(&mut next.ids);
        self.details.append(&mut next.details);
        self.prompt.append(&mut next.prompt);
    }
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
    /// Give the engine what it takes of the request; `at_once` choices at most.
    ///
    /// # Errors
    /// The engine refuses one of them, it has no place for the first, or so many log probabilities
    /// of a prompt would be too large an answer.
    pub fn start(
        engine: E,
        settings: &Settings,
        at_once: u32,
        asked: Asked,
    ) -> Result<Self, ApiError> {
        let prompts = u32::try_from(asked.prompts.len()).unwrap_or(u32::MAX);
        let mut choices = Choices {
            engine,
            kind: asked.kind,
            template: asked.template,
            total: prompts.saturating_mul(asked.per_prompt),
            per_prompt: asked.per_prompt.max(1),
            started: 0,
            waiting: asked.prompts.into(),
            running: VecDeque::new(),
            at_once: (at_once as usize).max(1),
            max_prompt_tokens: settings.max_prompt_tokens,
            seed: asked.seed,
            same_seed: asked.same_seed,
            form: asked.form,
            grammar_field: asked.grammar_field,
            clock: asked.clock,
            usage: asked.resumed.usage(),
            ended: asked.resumed.usage(),
            resumed: asked.resumed,
            fault: None,
            bytes: 0,
            most_bytes: usize::MAX,
            first: None,
        };
        match choices.fill()? {
            Some(no_place) if choices.running.is_empty() => Err(no_place),
            _ => Ok(choices),
        }
    }

    /// Have all pieces together take so many bytes at most.
    pub fn limit(&mut self, most_bytes: usize) {
        self.most_bytes = self.most_bytes.min(most_bytes);
    }

    /// True once every choice has told why it ended.
    pub fn is_done(&self) -> bool {
        self.first.is_none()
            && self.running.is_empty()
            && self.waiting.is_empty()
            && self.fault.is_none()
    }

    /// The usage of all choices so far; after the last piece, their total.
    pub fn usage(&self) -> Usage {
        self.first
            .as_ref()
            .map_or(self.usage, |(_, before)| *before)
    }

    /// The usage of the choices that have ended.
    pub fn ended(&self) -> Usage {
        self.ended
    }

    /// The tokens of the choices that have not ended.
    pub fn open_tokens(&self) -> BTreeMap<u32, Vec<u32>> {
        let mut tokens = self.resumed.tokens.clone();
        for running in &self.running {
            let known = tokens.entry(running.index).or_default();
            // What was told elsewhere comes again before anything new.
            if running.tokens().len() >= known.len() {
                *known = running.tokens().to_vec();
            }
        }
        tokens.retain(|&index, _| {
            index >= self.started || self.running.iter().any(|running| running.index == index)
        });
        tokens
    }

    /// The data with which a client resumes the choice that is told elsewhere.
    pub fn resume(&self) -> Resume {
        let told = self.running.front();
        let index = told.map_or(self.started, |running| running.index);
        let tokens = told.map_or_else(Vec::new, |running| running.whole_tokens().to_vec());
        Resume {
            index: (self.total > 1).then_some(index),
            seed: self.seed_of(index),
            completion_tokens: tokens.len(),
            tokens,
            token: None,
        }
    }

    /// Wait until the first piece is there, which is then told as the next one.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn await_first(&mut self) -> Result<(), ApiError> {
        let before = self.usage;
        self.first = self.next().await?.map(|piece| (piece, before));
        Ok(())
    }

    /// Wait for the next piece; `None` once every choice has told why it ended.
    ///
    /// # Errors
    /// The engine failed, or refuses one of the prompts it was given late, or the pieces take more
    /// than they may; the request is over.
    pub async fn next(&mut self) -> Result<Option<Piece>, ApiError> {
        if let Some((piece, _)) = self.first.take() {
            return Ok(Some(piece));
        }
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        self.wait_for_place().await?;
        let Some(running) = self.running.front_mut() else {
            return Ok(None);
        };
        let index = running.index;
        let event = match running.generation.next().await {
            Ok(Some(event)) => event,
            // It broke its contract: it ended without saying why.
            Ok(None) => return Err(ApiError::internal("the generation ended without a reason")),
            Err(error) => return Err(self.named(error, index)),
        };
        let tokens = u32::try_from(event.tokens.len()).unwrap_or(u32::MAX);
        let told = running.n_tokens();
        self.usage.completion_tokens = self.usage.completion_tokens.saturating_add(tokens);
        let is_first = index.is_multiple_of(self.per_prompt);
        if let Some(finish) = event.finish {
            // What it says itself counts.
            let told = told.saturating_add(tokens);
            let others = self.usage.completion_tokens.saturating_sub(told);
            let own = finish.usage;
            self.usage.completion_tokens = others.saturating_add(own.completion_tokens);
            // The prompt counts once, and so does what was cached of it.
            if is_first {
                let cached = self.usage.cached_tokens.saturating_add(own.cached_tokens);
                self.usage.cached_tokens = cached;
            }
        }
        let piece = running.take_in(event, &self.form, (self.clock)());
        self.bytes = self.bytes.saturating_add(piece.bytes());
        if self.bytes > self.most_bytes {
            return Err(ApiError::answer_too_large(self.most_bytes));
        }
        if piece.end.is_some() {
            add(&mut self.ended, piece.cost, is_first);
            // Where it has not ended by itself, this cancels it.
            self.running.pop_front();
            self.fault = self.fill().err();
        } else if self.per_prompt > 1 {
            self.running.rotate_left(1);
        }
        Ok(Some(piece))
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

    /// Give the engine the next choices. Returns why it has no place for one, which goes on
    /// waiting.
    fn fill(&mut self) -> Result<Option<ApiError>, ApiError> {
        while self.running.len() < self.at_once {
            let index = self.started;
            let Some(prompt) = self.waiting.pop_front() else {
                break;
            };
            if self.resumed.has_ended(index) {
                self.started += 1;
                if !self.started.is_multiple_of(self.per_prompt) {
                    self.waiting.push_front(prompt);
                }
                continue;
            }
            let mut request = Request {
                prompt,
                resumed: self.resumed_tokens(index),
                ..self.template.clone()
            };
            request.sampling.seed = Some(self.seed_of(index));
            let prepared = self.engine.prepare(&mut request);
            let generation = match prepared.and_then(|()| self.engine.generate(&request)) {
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
            // It is told whole, in a stream too.
            if let Some(top) = request.prompt_logprobs
                && listed_bytes(tokens as usize, top as usize) > MAX_BYTES
            {
                return Err(ApiError::answer_too_large(MAX_BYTES));
            }
            if index.is_multiple_of(self.per_prompt) {
                self.usage.prompt_tokens = self.usage.prompt_tokens.saturating_add(tokens);
            }
            self.started += 1;
            let is_last = self.started.is_multiple_of(self.per_prompt);
            // Of a prompt that is cut, what is left of it is told.
            let is_told = self.form.echo && request.truncate_prompt.is_none();
            let echo = match &request.prompt {
                Prompt::Text(text) if is_told => Some(text.clone()),
                _ => None,
            };
            if !is_last {
                self.waiting.push_front(request.prompt);
            }
            self.running
                .push_back(Running::new(index, generation, echo, (self.clock)()));
        }
        Ok(None)
    }

    /// The tokens with which a choice begins. Where probabilities are to be told, all are chosen
    /// anew.
    fn resumed_tokens(&self, index: u32) -> Vec<u32> {
        let known = self.resumed.tokens.get(&index);
        let known = known.filter(|_| self.template.logprobs.is_none());
        known.cloned().unwrap_or_default()
    }

    /// Ask another engine for the prompts that wait.
    #[cfg(test)]
    pub(crate) fn replace_engine(&mut self, engine: E) {
        self.engine = engine;
    }

    fn seed_of(&self, index: u32) -> u64 {
        let others = if self.same_seed {
            index % self.per_prompt
        } else {
            index
        };
        self.seed.wrapping_add(u64::from(others))
    }

    /// The request field that holds the prompt of a choice.
    fn prompt_field(&self, index: u32) -> String {
        let field = self.kind.prompt_field();
        if self.total > self.per_prompt {
            format!("{field}[{}]", index / self.per_prompt)
        } else {
            field.to_owned()
        }
    }

    fn named(&self, mut error: Error, index: u32) -> ApiError {
        if let Error::InvalidRequest(at) = &mut error
            && at.field == "constraint"
            && let Some(field) = &self.grammar_field
        {
            at.field.clone_from(field);
        }
        ApiError::from_engine(error, &self.prompt_field(index))
    }
}

/// Add what a choice has cost; the prompt of several counts with the first of them.
fn add(sum: &mut Usage, own: Cost, is_first: bool) {
    let completion = sum.completion_tokens.saturating_add(own.completion_tokens);
    sum.completion_tokens = completion;
    if is_first {
        sum.prompt_tokens = sum.prompt_tokens.saturating_add(own.prompt_tokens);
        sum.cached_tokens = sum.cached_tokens.saturating_add(own.cached_tokens);
    }
}
