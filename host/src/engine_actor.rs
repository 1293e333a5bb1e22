//! The thread that owns the engine, and the handles through which requests reach it.
//!
//! The engine (`driven_engine`) is a plain step function: the thread takes some of what has been asked, runs one batch,
//! hands out the tokens, and again; it sleeps while there is no work. What it takes is token ids: requests are checked and
//! tokenised before (`admission`), and between two steps it takes so much and no more. Each generation has its own
//! channel out. Those need no bound of their own: a generation has at most as many events as the context has
//! positions, so a client that reads slowly holds that many small texts and never the engine.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use sterna_engine::error::EngineError;
use sterna_engine::request::{Event, FinishReason, GenerationId, ModelInfo, Prompt, Request};
use sterna_engine::scheduler::PromptSize;
use tokio::sync::{mpsc, oneshot, watch};

use crate::admission::{self, Admission, Place};
use crate::cgroup::Cgroup;
use crate::changed_files::ChangedFiles;
use crate::driven_engine::{Answered, DrivenEngine, EngineSource, Texts};
use crate::engine_health::{EngineHealth, EngineState, Failures};
use crate::metrics::Metrics;

/// An event and when the engine made it.
type Timed = (Instant, Result<Event, EngineError>);
type Events = mpsc::UnboundedSender<Timed>;
type Reply<T> = oneshot::Sender<Result<T, EngineError>>;

/// Requests taken between two steps at most, and their prompts' tokens: those are looked at once, and put into a sampler's
/// table.
const REQUESTS_A_STEP: usize = 16;
const TOKENS_A_STEP: usize = 16 << 10;

enum Command {
    Submit {
        /// Its prompt is token ids.
        request: Box<Request>,
        /// Given up once the engine counts it.
        place: Place,
        /// When it was asked for.
        asked: Instant,
        /// For the generation to cancel itself with.
        commands: Sender<Command>,
        ended: watch::Receiver<bool>,
        reply: Reply<Generation>,
    },
    /// Nobody waits for this generation any more; where the server is the reason, so it is counted.
    Cancel(GenerationId, Cancelled),
    Embed(Input),
}

impl Command {
    /// Token ids it brings.
    fn tokens(&self) -> usize {
        match self {
            Command::Submit { request, .. } => match &request.prompt {
                Prompt::Tokens(tokens) => tokens.len(),
                Prompt::Text(_) | Prompt::Messages(_) => 0,
            },
            Command::Cancel(..) | Command::Embed(_) => 0,
        }
    }
}

/// An input that is to be embedded.
struct Input {
    /// Taken away when it begins.
    tokens: Option<Vec<u32>>,
    reply: Reply<Vec<f32>>,
    _place: Place,
}

/// Who ended a generation before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cancelled {
    ByClient,
    ByServer,
}

/// A way to ask the engine; clones ask the same one. The thread ends with the last of them.
#[derive(Clone)]
pub struct EngineHandle {
    commands: Sender<Command>,
    source: Arc<dyn EngineSource>,
    info: Arc<ModelInfo>,
    size: PromptSize,
    admission: Arc<Admission>,
    metrics: Arc<Metrics>,
    changed: ChangedFiles,
    health: Arc<EngineHealth>,
    /// True once nobody is to wait for the engine any more.
    ended: Arc<watch::Sender<bool>>,
}

impl EngineHandle {
    /// Check the kernels, reserve the caches and start the thread, which computes on `threads` threads.
    ///
    /// # Errors
    /// The engine does not accept the model or the options, or the system gives no thread.
    pub fn start(source: Arc<dyn EngineSource>, threads: usize) -> anyhow::Result<EngineHandle> {
        let metrics = Arc::new(Metrics::new(Cgroup::of_this_process()));
        EngineHandle::start_with(source, threads, metrics, u64::MAX)
    }

    /// The same with counters that are there already, and with so much memory for what comes before the engine.
    ///
    /// # Errors
    /// As [`EngineHandle::start`].
    pub fn start_with(
        source: Arc<dyn EngineSource>,
        threads: usize,
        metrics: Arc<Metrics>,
        admission_bytes: u64,
    ) -> anyhow::Result<EngineHandle> {
        let mut engine = source.start()?;
        let info = Arc::new(engine.info());
        let size = engine.prompt_size()?;
        metrics.loaded(&info, threads, source.max_queue());
        let most = source.max_queue().saturating_add(info.max_sequences) as usize;
        let admission = Arc::new(Admission::start(threads, most, admission_bytes)?);
        let stats = engine.stats()?;
        metrics.engine(&stats);
        admission.follow(&stats);
        let changed = ChangedFiles::default();
        let health = Arc::new(EngineHealth::new());
        let (commands, inbox) = channel();
        let actor = Actor {
            engine,
            source: Arc::clone(&source),
            inbox,
            waiting: VecDeque::new(),
            inputs: VecDeque::new(),
            open: HashMap::new(),
            admission: Arc::clone(&admission),
            metrics: Arc::clone(&metrics),
            changed: changed.clone(),
            health: Arc::clone(&health),
            step_limit: source.step_limit().step(info.context_length),
            failures: Failures::default(),
        };
        std::thread::Builder::new()
            .name("engine".into())
            .spawn(move || actor.run())?;
        Ok(EngineHandle {
            commands,
            source,
            info,
            size,
            admission,
            metrics,
            changed,
            health,
            ended: Arc::new(watch::Sender::new(false)),
        })
    }

    /// End every generation now, and take no further ones: each gets `Unavailable` as its last event, whatever the engine
    /// is doing.
    pub fn end_all(&self) {
        self.ended.send_replace(true);
    }

    /// The facts about the model.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Whether the engine's thread is there and at work; once it is not, only a new process helps.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.state(), EngineState::Well | EngineState::Resting)
    }

    /// How the engine's thread is.
    #[must_use]
    pub fn state(&self) -> EngineState {
        self.health.state()
    }

    /// Whether a file the model is read from was changed since it was loaded.
    #[must_use]
    pub fn model_has_changed(&self) -> bool {
        self.changed.look(&*self.source)
    }

    /// Start a generation. Dropping what comes back cancels it.
    ///
    /// # Errors
    /// As the engine's `submit`: a field is wrong, the prompt is too long, the queue is full.
    pub async fn generate(&self, request: Request) -> Result<Generation, EngineError> {
        self.until_the_end(self.start_generation(request)).await
    }

    async fn start_generation(&self, request: Request) -> Result<Generation, EngineError> {
        let asked = Instant::now();
        self.size.check(&request.prompt, 1)?;
        let place = self.admission.enter()?;
        let request = if matches!(request.prompt, Prompt::Tokens(_)) {
            request
        } else {
            let memory_bytes = admission::prompt_bytes(&self.size, &request.prompt);
            self.texts(memory_bytes, move |texts| texts.admit(request))
                .await?
        };
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Submit {
            request: Box::new(request),
            place,
            asked,
            commands: self.commands.clone(),
            ended: self.ended.subscribe(),
            reply,
        })?;
        answer.await.map_err(|_| stopped())?
    }

    /// The meaning of one input as a vector, and the input's length in tokens.
    ///
    /// # Errors
    /// As the engine's `embed`.
    pub async fn embed(&self, input: Prompt) -> Result<(Vec<f32>, u32), EngineError> {
        self.until_the_end(self.start_embedding(input)).await
    }

    async fn start_embedding(&self, input: Prompt) -> Result<(Vec<f32>, u32), EngineError> {
        self.size.check(&input, 0)?;
        let place = self.admission.enter()?;
        let memory_bytes = admission::prompt_bytes(&self.size, &input);
        let tokens = self
            .texts(memory_bytes, move |texts| texts.input_tokens(input))
            .await?;
        let prompt_tokens = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Embed(Input {
            tokens: Some(tokens),
            reply,
            _place: place,
        }))?;
        Ok((answer.await.map_err(|_| stopped())??, prompt_tokens))
    }

    /// Ask about texts of so many bytes together, beside the engine's thread and never on the caller's, since a long text takes
    /// milliseconds.
    ///
    /// # Errors
    /// As `question`'s; `Overloaded` where as many requests wait as may.
    pub async fn ask_texts<T: Send + 'static>(
        &self,
        bytes: usize,
        question: impl FnOnce(&mut dyn Texts) -> Answered<T> + Send + 'static,
    ) -> Result<T, EngineError> {
        let _place = self.admission.enter()?;
        let memory_bytes = admission::memory_bytes(bytes, bytes);
        self.until_the_end(self.texts(memory_bytes, question)).await
    }

    async fn texts<T: Send + 'static>(
        &self,
        memory_bytes: usize,
        question: impl FnOnce(&mut dyn Texts) -> Answered<T> + Send + 'static,
    ) -> Result<T, EngineError> {
        let source = Arc::clone(&self.source);
        let work = move || question(&mut *source.texts()?);
        self.admission.work(memory_bytes, work).await
    }

    /// What comes of `waiting`, unless the server ends everything before.
    async fn until_the_end<T>(
        &self,
        waiting: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let mut ended = self.ended.subscribe();
        tokio::select! {
            // Asked first: what is ended starts nothing.
            biased;
            () = cut(&mut ended) => Err(ending()),
            result = waiting => result,
        }
    }

    fn ask(&self, command: Command) -> Result<(), EngineError> {
        self.commands.send(command).map_err(|_| stopped())
    }
}

/// A running generation.
pub struct Generation {
    id: GenerationId,
    prompt_tokens: u32,
    events: mpsc::UnboundedReceiver<Timed>,
    commands: Sender<Command>,
    ended: bool,
    last_event: Option<Instant>,
    /// The server's end.
    cut: watch::Receiver<bool>,
}

impl Generation {
    /// Tokens of the rendered prompt.
    #[must_use]
    pub fn prompt_tokens(&self) -> u32 {
        self.prompt_tokens
    }

    /// When the engine made the piece that came last. The caller may have taken it much later.
    #[must_use]
    pub fn last_event(&self) -> Option<Instant> {
        self.last_event
    }

    /// The next piece; `None` after the one that carries `finish`.
    ///
    /// # Errors
    /// The engine failed; the generation is over.
    pub async fn next(&mut self) -> Result<Option<Event>, EngineError> {
        if self.ended {
            return Ok(None);
        }
        let (made, event) = tokio::select! {
            // The cut first: an engine that is faster than the client would keep it away.
            biased;
            () = cut(&mut self.cut) => {
                self.ended = true;
                // Where the thread is gone, so is the generation.
                let _ = self.commands.send(Command::Cancel(self.id, Cancelled::ByServer));
                (Instant::now(), Err(ending()))
            }
            event = self.events.recv() => event.unwrap_or_else(|| (Instant::now(), Err(stopped()))),
        };
        self.last_event = Some(made);
        self.ended = event.as_ref().map_or(true, |event| event.finish.is_some());
        event.map(Some)
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if !self.ended {
            // Where the thread is gone, so is the generation.
            let _ = self
                .commands
                .send(Command::Cancel(self.id, Cancelled::ByClient));
        }
    }
}

/// One generation as the thread sees it.
struct Open {
    events: Events,
    tokens: usize,
    /// When its last token was made; before the first, when it was asked for.
    last: Instant,
}

struct Actor {
    engine: Box<dyn DrivenEngine>,
    source: Arc<dyn EngineSource>,
    inbox: Receiver<Command>,
    /// Taken from the inbox, and to be obeyed in this order.
    waiting: VecDeque<Command>,
    /// To be embedded; the first has begun.
    inputs: VecDeque<Input>,
    admission: Arc<Admission>,
    open: HashMap<GenerationId, Open>,
    metrics: Arc<Metrics>,
    changed: ChangedFiles,
    health: Arc<EngineHealth>,
    /// How long a call of the engine may take.
    step_limit: Duration,
    failures: Failures,
}

impl Actor {
    fn run(mut self) {
        let mut busy = false;
        loop {
            // A panic or a trap in the engine ends the generations it served, not the server.
            let turn = catch_unwind(AssertUnwindSafe(|| -> anyhow::Result<Option<bool>> {
                if !self.take_commands(busy)? {
                    return Ok(None);
                }
                let stepped = self.step()?;
                Ok(Some(self.embed_step()? || stepped))
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

    /// Update the gauges. It comes before counters and events: who sees one of those also sees what it changed.
    fn show_state(&mut self) -> anyhow::Result<()> {
        let stats = self.engine.stats()?;
        self.metrics.engine(&stats);
        self.admission.follow(&stats);
        Ok(())
    }

    /// Every cancellation asked for so far, which frees what others wait for, and a bounded number of the rest. Waits for the
    /// first where there is nothing else to do. False when nobody is left to ask.
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
        for _ in 0..REQUESTS_A_STEP {
            let Some(command) = self.waiting.pop_front() else {
                break;
            };
            tokens += command.tokens();
            self.obey(command)?;
            if tokens >= TOKENS_A_STEP {
                break;
            }
        }
        Ok(true)
    }

    fn sort(&mut self, command: Command) -> anyhow::Result<()> {
        match command {
            Command::Cancel(id, by) => self.cancel(id, by),
            Command::Submit { .. } | Command::Embed(_) => {
                self.waiting.push_back(command);
                Ok(())
            }
        }
    }

    /// Whoever asked and has left gets no answer: an answer is dropped, and a generation in it cancelled.
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
            Command::Embed(input) => self.inputs.push_back(input),
        }
        Ok(())
    }

    /// A part of the first input that is to be embedded; false where there is none. Running generations are stepped between
    /// two parts.
    fn embed_step(&mut self) -> anyhow::Result<bool> {
        let health = Arc::clone(&self.health);
        let _busy = health.busy(self.step_limit);
        let Some(mut input) = self.inputs.pop_front() else {
            return Ok(false);
        };
        if input.reply.is_closed() {
            self.engine.embed_stop()?;
            return Ok(true);
        }
        if let Some(tokens) = input.tokens.take()
            && let Err(error) = self.engine.embed_start(tokens)?
        {
            let _ = input.reply.send(Err(error));
            return Ok(true);
        }
        match self.engine.embed_step()?.transpose() {
            None => self.inputs.push_front(input),
            Some(result) => {
                let _ = input.reply.send(result);
            }
        }
        self.show_state()?;
        Ok(true)
    }

    fn submit(
        &mut self,
        request: Request,
        place: Place,
        asked: Instant,
        commands: Sender<Command>,
        cut: watch::Receiver<bool>,
    ) -> Answered<Generation> {
        let (id, prompt_tokens) = match self.engine.submit(request)? {
            Ok(submitted) => submitted,
            Err(error) => return Ok(Err(error)),
        };
        drop(place);
        self.show_state()?;
        self.metrics.generations_started.inc();
        self.metrics.prompt_tokens.inc_by(u64::from(prompt_tokens));
        let (sender, events) = mpsc::unbounded_channel();
        self.open.insert(
            id,
            Open {
                events: sender,
                tokens: 0,
                last: asked,
            },
        );
        Ok(Ok(Generation {
            id,
            prompt_tokens,
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
                if generation.tokens == 0 {
                    self.metrics.first_token(waited);
                } else {
                    self.metrics.next_token(waited);
                }
                generation.last = now;
                generation.tokens += tokens;
                self.metrics.generated_tokens.inc_by(tokens as u64);
                if event.finish.is_some() {
                    self.failures.forget();
                }
                event.finish.map(|finish| match finish.reason {
                    FinishReason::Stop => "stop",
                    FinishReason::Length => "length",
                })
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

    /// After a failure the engine's state is unknown: tell the clients, and build it anew.
    fn restart(&mut self, reason: &str) -> bool {
        tracing::error!(
            reason,
            generations = self.open.len(),
            "the engine failed and is restarted"
        );
        self.metrics.engine_restarts.inc();
        for (_, open) in self.open.drain() {
            self.metrics.finished("error");
            let failed = EngineError::Internal("the engine failed; see the server's log".into());
            let _ = open.events.send((Instant::now(), Err(failed)));
        }
        let pause = self.failures.pause();
        if !self.rest(pause) {
            return false;
        }
        let health = Arc::clone(&self.health);
        let _busy = health.busy(self.step_limit);
        let restarted = self.source.start().and_then(|engine| {
            self.engine = engine;
            self.show_state().context("it failed again at once")
        });
        if let Err(error) = &restarted {
            tracing::error!(
                error = sterna_errors::chain(error.as_ref()),
                "the engine does not start again"
            );
        }
        restarted.is_ok()
    }
}

impl Actor {
    /// Wait before the engine is started anew, and decline what is asked meanwhile. False when nobody is left to ask.
    fn rest(&mut self, pause: Duration) -> bool {
        if pause.is_zero() {
            return true;
        }
        tracing::warn!(
            seconds = pause.as_secs_f64(),
            "the engine failed several times in a row: it is started again after a pause"
        );
        let end = Instant::now() + pause;
        self.health.rest(true);
        let somebody_asks = loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.inbox.recv_timeout(left) {
                Ok(command) => command.decline(),
                Err(RecvTimeoutError::Timeout) => break true,
                Err(RecvTimeoutError::Disconnected) => break false,
            }
        };
        self.health.rest(false);
        somebody_asks
    }
}

impl Command {
    /// Answer without an engine. Whoever has left gets nothing.
    fn decline(self) {
        let resting = || {
            EngineError::Unavailable(
                "the engine failed several times in a row and is started again after a pause; see the server's log".into(),
            )
        };
        match self {
            Command::Submit { reply, .. } => drop(reply.send(Err(resting()))),
            Command::Embed(input) => drop(input.reply.send(Err(resting()))),
            Command::Cancel(..) => {}
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic")
        .to_owned()
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.health.stop();
    }
}

/// Ready when the server has ended everything; never, if it goes away without that.
async fn cut(ended: &mut watch::Receiver<bool>) {
    if ended.wait_for(|ended| *ended).await.is_err() {
        std::future::pending().await
    }
}

fn ending() -> EngineError {
    EngineError::Unavailable("it is stopping and the time for running requests is over".into())
}

fn stopped() -> EngineError {
    EngineError::Unavailable("the engine has stopped".into())
}
