//! The way to ask the engine: requests are checked and tokenised beside its thread, and token ids
//! sent to it.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use sterna_engine::error::EngineError;
use sterna_engine::request::{ModelInfo, Prompt, Request};
use sterna_engine::scheduler::PromptSize;
use tokio::sync::{oneshot, watch};

use super::actor::Actor;
use super::changed_files::ChangedFiles;
use super::command::Command;
use super::driven::{Answered, EngineSource, Texts};
use super::generation::{Generation, cut, ending, stopped};
use super::health::{EngineHealth, EngineState, Failures};
use crate::admission::{self, Admission, AdmissionMemory};
use crate::cgroup::Cgroup;
use crate::metrics::Metrics;

/// A way to ask the engine; clones ask the same one. The thread ends with the last of them.
#[derive(Clone)]
pub struct EngineHandle {
    commands: Sender<Command>,
    source: Arc<dyn EngineSource>,
    info: Arc<ModelInfo>,
    kv_limit_bytes: u64,
    size: PromptSize,
    admission: Arc<Admission>,
    metrics: Arc<Metrics>,
    changed: ChangedFiles,
    health: Arc<EngineHealth>,
    /// True once nobody is to wait for the engine any more.
    ended: Arc<watch::Sender<bool>>,
}

impl EngineHandle {
    /// Check the kernels, reserve the caches and start the thread, which computes on `threads`
    /// threads.
    ///
    /// # Errors
    /// The engine does not accept the model or the options, or the system gives no thread.
    pub fn start(source: Arc<dyn EngineSource>, threads: usize) -> anyhow::Result<EngineHandle> {
        let metrics = Arc::new(Metrics::new(Cgroup::of_this_process()));
        EngineHandle::start_with(
            source,
            threads,
            metrics,
            AdmissionMemory::new(u64::MAX),
            None,
        )
    }

    /// The same with counters that are there already, and with this memory for what comes before
    /// the engine. Where the model has a `name` here, it is not called as its file says.
    ///
    /// # Errors
    /// As [`EngineHandle::start`].
    pub fn start_with(
        source: Arc<dyn EngineSource>,
        threads: usize,
        metrics: Arc<Metrics>,
        admission: AdmissionMemory,
        name: Option<&str>,
    ) -> anyhow::Result<EngineHandle> {
        let mut engine = source.start()?;
        let mut info = engine.info();
        if let Some(name) = name {
            name.clone_into(&mut info.id);
        }
        let info = Arc::new(info);
        let size = engine.prompt_size()?;
        let of_engine = metrics.loaded(&info, threads, source.max_queue());
        let most = source.max_queue().saturating_add(info.max_sequences) as usize;
        let admission = Arc::new(Admission::start(threads, most, admission)?);
        let stats = engine.stats()?;
        of_engine.show(&stats);
        admission.follow(&stats);
        let changed = ChangedFiles::default();
        let health = Arc::new(EngineHealth::new());
        let (commands, inbox) = channel();
        let actor = Actor {
            engine,
            source: Arc::clone(&source),
            inbox,
            waiting: VecDeque::new(),
            open: HashMap::new(),
            admission: Arc::clone(&admission),
            metrics: Arc::clone(&metrics),
            of_engine,
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
            kv_limit_bytes: stats.kv_limit_bytes,
            size,
            admission,
            metrics,
            changed,
            health,
            ended: Arc::new(watch::Sender::new(false)),
        })
    }

    /// End every generation now, and take no further ones: each gets `Unavailable` as its last
    /// event, whatever the engine is doing.
    pub fn end_all(&self) {
        self.ended.send_replace(true);
    }

    /// The facts about the model.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Bytes that keys and values may take.
    #[must_use]
    pub fn kv_limit_bytes(&self) -> u64 {
        self.kv_limit_bytes
    }

    /// Tells whether the engine, its model and all else of this is still there once nobody has a
    /// handle.
    #[must_use]
    pub fn remains(&self) -> Weak<dyn EngineSource> {
        Arc::downgrade(&self.source)
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// True if the engine's thread is there and at work; once it is not, only a new process helps.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.state(), EngineState::Well | EngineState::Resting)
    }

    /// The state of the engine's thread.
    #[must_use]
    pub fn state(&self) -> EngineState {
        self.health.state()
    }

    /// True if a file the model is read from was changed since it was loaded.
    #[must_use]
    pub fn model_has_changed(&self) -> bool {
        self.changed.look(&*self.source)
    }

    /// Start a generation. Dropping what comes back cancels it.
    ///
    /// # Errors
    /// As the engine's `submit`: a field is wrong, the prompt is too long, the queue is full, its
    /// time is over.
    pub async fn generate(&self, request: Request) -> Result<Generation, EngineError> {
        let asked = Instant::now();
        let timeout = request
            .timeout_ms
            .map(|ms| Duration::from_millis(ms.into()));
        let started = self.until_the_end(self.start_generation(request, asked, timeout));
        match timeout {
            // The engine keeps it from then on.
            Some(timeout) => tokio::time::timeout(timeout, started)
                .await
                .unwrap_or(Err(EngineError::TimedOut)),
            None => started.await,
        }
    }

    async fn start_generation(
        &self,
        request: Request,
        asked: Instant,
        timeout: Option<Duration>,
    ) -> Result<Generation, EngineError> {
        let size = self.size.of(&request);
        size.check(&request.prompt, request.reserved())?;
        let place = self.admission.enter()?;
        // A grammar is compiled there too, and kept for the engine.
        let is_ready = matches!(request.prompt, Prompt::Tokens(_)) && request.constraint.is_none();
        let mut request = if is_ready {
            request
        } else {
            let memory_bytes = admission::prompt_bytes(&size, &request.prompt);
            self.texts(memory_bytes, move |texts| texts.admit(request))
                .await?
        };
        let left = timeout.map(|timeout| timeout.saturating_sub(asked.elapsed()));
        request.timeout_ms = left.map(|left| u32::try_from(left.as_millis()).unwrap_or(u32::MAX));
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

    /// Ask about texts of so many bytes together, beside the engine's thread and never on the
    /// caller's, since a long text takes milliseconds.
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

    /// The result of `waiting`, unless the server ends everything before.
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
