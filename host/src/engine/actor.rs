//! The thread that owns the engine.
//!
//! The engine (`driven`) is a plain step function: the thread takes some of what has been asked,
//! runs one batch, hands out the tokens, and again; it sleeps while there is no work. What it takes
//! is token ids: requests are checked and tokenised before (`admission`), and between two steps it
//! takes so much and no more. Each generation has its own channel out. Those need no bound of their
//! own: a generation has at most as many events as the context has positions, so a client that
//! reads slowly holds that many small texts and never the engine.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::{Duration, Instant};

use sterna_engine::error::EngineError;
use sterna_engine::request::{Event, FinishReason, GenerationId, Request};
use tokio::sync::{mpsc, watch};

use super::changed_files::ChangedFiles;
use super::command::{Cancelled, Command};
use super::driven::{Answered, DrivenEngine, EngineSource};
use super::generation::{Events, Generation};
use super::health::{EngineHealth, Failures};
use super::restart::panic_text;
use crate::admission::{Admission, Place};
use crate::metrics::{EngineMetrics, Metrics};

/// Requests taken between two steps at most, and their prompts' tokens: those are looked at once,
/// and put into a sampler's table.
const REQUESTS_A_STEP: usize = 16;
const TOKENS_A_STEP: usize = 16 << 10;

/// The time that the next input of a list to embed is waited for: its guest hands inputs over one
/// by one, and together they are one batch.
const NEXT_INPUT: Duration = Duration::from_millis(1);

/// One generation as the thread sees it.
pub(super) struct Open {
    pub(super) events: Events,
    pub(super) tokens: usize,
    /// Tokens that it goes on after and that are still to come, though they are not generated.
    pub(super) resumed: usize,
    /// When its last token was made; before the first, when it was asked for.
    pub(super) last: Instant,
    /// It makes an embedding.
    pub(super) embeds: bool,
}

pub(super) struct Actor {
    pub(super) engine: Box<dyn DrivenEngine>,
    /// Goes before the source: once that is gone, so is all that this engine shows.
    pub(super) of_engine: EngineMetrics,
    pub(super) source: Arc<dyn EngineSource>,
    pub(super) inbox: Receiver<Command>,
    /// Taken from the inbox, and to be obeyed in this order.
    pub(super) waiting: VecDeque<Command>,
    pub(super) admission: Arc<Admission>,
    pub(super) open: HashMap<GenerationId, Open>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) changed: ChangedFiles,
    pub(super) health: Arc<EngineHealth>,
    /// The time limit of a call of the engine.
    pub(super) step_limit: Duration,
    pub(super) failures: Failures,
}

impl Actor {
    pub(super) fn run(mut self) {
        let mut busy = false;
        loop {
            // A panic or a trap in the engine ends the generations it served, not the server.
            let turn = catch_unwind(AssertUnwindSafe(|| -> anyhow::Result<Option<bool>> {
                if !self.take_commands(busy)? {
                    return Ok(None);
                }
                Ok(Some(self.step()?))
            }));
            let failure = match turn {
                Ok(Ok(Some(stepped))) => {
                    busy = stepped;
                    continue;
                }
                Ok(Ok(None)) => return,
                Ok(Err(error)) => sterna_errors::chain(error.as_ref()),
                Err(panic) => panic_text(&*panic),
            };
            busy = false;
            if !self.restart(&failure) {
                return;
            }
        }
    }

    /// Update the gauges. It comes before counters and events: who sees one of those also sees what
    /// it changed.
    pub(super) fn show_state(&mut self) -> anyhow::Result<()> {
        let stats = self.engine.stats()?;
        self.of_engine.show(&stats);
        self.admission.follow(&stats);
        Ok(())
    }

    /// Every cancellation asked for so far, which frees what others wait for, and a bounded number
    /// of the rest. Waits for the first where there is nothing else to do. False when nobody is
    /// left to ask.
    fn take_commands(&mut self, busy: bool) -> anyhow::Result<bool> {
        if !busy && self.waiting.is_empty() {
            let Ok(command) = self.inbox.recv() else {
                return Ok(false);
            };
            self.sort(command)?;
        }
        loop {
            match self.inbox.try_recv() {
                Ok(command) => self.sort(command)?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(false),
            }
        }
        let mut tokens = 0;
        let mut embeds = false;
        for _ in 0..REQUESTS_A_STEP {
            if embeds && !self.await_next_input()? {
                return Ok(false);
            }
            let Some(command) = self.waiting.pop_front() else {
                break;
            };
            tokens += command.tokens();
            embeds = matches!(&command, Command::Submit { request, .. } if request.embed);
            self.obey(command)?;
            if tokens >= TOKENS_A_STEP {
                break;
            }
        }
        Ok(true)
    }

    /// Waits a moment for a command, where there is none and no generation that would be kept
    /// waiting. False when nobody is left to ask.
    fn await_next_input(&mut self) -> anyhow::Result<bool> {
        if !self.waiting.is_empty() || self.open.values().any(|open| !open.embeds) {
            return Ok(true);
        }
        match self.inbox.recv_timeout(NEXT_INPUT) {
            Ok(command) => self.sort(command)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
        }
        Ok(true)
    }

    fn sort(&mut self, command: Command) -> anyhow::Result<()> {
        match command {
            Command::Cancel(id, by) => self.cancel(id, by),
            Command::Submit { .. } => {
                self.waiting.push_back(command);
                Ok(())
            }
        }
    }

    /// Whoever asked and has left gets no answer: an answer is dropped, and a generation in it
    /// cancelled.
    fn obey(&mut self, command: Command) -> anyhow::Result<()> {
        let health = Arc::clone(&self.health);
        let _busy = health.busy(self.step_limit);
        match command {
            Command::Submit {
                request,
                place,
                asked,
                commands,
                ended,
                reply,
            } => {
                if !reply.is_closed() {
                    let _ = reply.send(self.submit(*request, place, asked, commands, ended)?);
                }
            }
            Command::Cancel(id, by) => self.cancel(id, by)?,
        }
        Ok(())
    }

    fn submit(
        &mut self,
        request: Request,
        place: Place,
        asked: Instant,
        commands: Sender<Command>,
        cut: watch::Receiver<bool>,
    ) -> Answered<Generation> {
        let (embeds, resumed) = (request.embed, request.resumed.len());
        let submitted = match self.engine.submit(request)? {
            Ok(submitted) => submitted,
            Err(error) => return Ok(Err(error)),
        };
        drop(place);
        self.show_state()?;
        self.metrics.generations_started.inc();
        self.of_engine.generations.inc();
        self.metrics
            .prompt_tokens
            .inc_by(u64::from(submitted.prompt_tokens));
        let (sender, events) = mpsc::unbounded_channel();
        self.open.insert(
            submitted.id,
            Open {
                events: sender,
                tokens: 0,
                resumed,
                last: asked,
                embeds,
            },
        );
        Ok(Ok(Generation {
            submitted,
            events,
            commands,
            ended: false,
            last_event: None,
            cut,
        }))
    }

    fn cancel(&mut self, id: GenerationId, by: Cancelled) -> anyhow::Result<()> {
        // Absent: it ended while the cancellation was on its way.
        let Some(open) = self.open.remove(&id) else {
            return Ok(());
        };
        let alive = self.engine.cancel(id)?;
        self.show_state()?;
        if alive {
            match by {
                Cancelled::ByClient => {
                    self.metrics.generations_cancelled.inc();
                }
                Cancelled::ByServer => self.metrics.finished("drain"),
            }
            tracing::info!(
                generation = id.0,
                tokens = open.tokens,
                "generation cancelled"
            );
        }
        Ok(())
    }

    /// One batch; false when there was nothing to do.
    fn step(&mut self) -> anyhow::Result<bool> {
        let health = Arc::clone(&self.health);
        let _busy = health.busy(self.step_limit);
        let mut deliveries = Vec::new();
        let busy = self
            .engine
            .step(&mut |delivery| deliveries.push(delivery))?;
        self.show_state()?;
        if busy {
            self.changed.look(&*self.source);
        }
        for (id, result) in deliveries {
            self.deliver(id, result);
        }
        Ok(busy)
    }

    fn deliver(&mut self, id: GenerationId, result: Result<Event, EngineError>) {
        let Some(generation) = self.open.get_mut(&id) else {
            return;
        };
        let now = Instant::now();
        let end = match &result {
            Ok(event) => {
                let tokens = event.tokens.len();
                let waited = now - generation.last;
                // An embedding has none, nor have the probabilities of a prompt's.
                if tokens > 0 {
                    if generation.tokens == 0 {
                        self.metrics.first_token(waited);
                    } else {
                        self.metrics.next_token(waited);
                    }
                    generation.last = now;
                }
                generation.tokens += tokens;
                let resumed = generation.resumed.min(tokens);
                generation.resumed -= resumed;
                let generated = (tokens - resumed) as u64;
                self.metrics.generated_tokens.inc_by(generated);
                self.of_engine.generated_tokens.inc_by(generated);
                if event.finish.is_some() {
                    self.failures.forget();
                }
                let embedded = event.embedding.is_some();
                event.finish.map(|finish| match finish.reason {
                    _ if embedded => "embedded",
                    FinishReason::Stop => "stop",
                    FinishReason::Length => "length",
                })
            }
            Err(EngineError::TimedOut) => {
                let tokens = generation.tokens;
                tracing::info!(generation = id.0, tokens, "generation's time is over");
                Some("timeout")
            }
            Err(error) => {
                tracing::error!(generation = id.0, %error, "generation failed");
                Some("error")
            }
        };
        if let Some(reason) = end {
            self.metrics.finished(reason);
        }
        // A closed channel means that a cancellation is on its way.
        let _ = generation.events.send((now, result));
        if end.is_some() {
            self.open.remove(&id);
        }
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.health.stop();
    }
}
