//! Runs a baked engine as the engine's thread wants it.
//!
//! One instance lives as long as the server. It may only write to the log, look at clocks and draw
//! random numbers: no file, no socket, no wait. A trap in it, a call that does not come back in
//! time and an answer that nobody asked for are reported as a broken engine; the thread then takes
//! a fresh instance, whose memory is the snapshot again.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, anyhow};
use sterna_engine::error::EngineError;
use sterna_engine::optimisations::Optimisations;
use sterna_engine::placement::WatchedFile;
use sterna_engine::request::{
    Conversation, Delivery, EngineStats, GenerationId, ModelInfo, Prompt, Request, Submitted,
};
use sterna_engine::scheduler::PromptSize;
use sterna_engine::team::Team;
use sterna_kernels::{Isa, KvType, self_test};
use wasmtime::component::Linker;
use wasmtime::{Engine, Store, Trap};

use super::answers::{Allowances, Asked, checked_info, short};
use super::app_file::{AppFile, LoadedApp};
use super::guest_log::GuestLog;
use super::lender::Lender;
use super::limits::{Limiter, MOST_RESOURCES, default_memory, fuel};
use super::state::State;
use super::{kernels_import, wasi};
use crate::bindings::baked::exports::sterna::inference::engine::{self as wit, Guest};
use crate::bindings::baked::exports::sterna::inference::scheduler::{
    Guest as Scheduler, KvType as WitKvType, Options,
};
use crate::bindings::baked::{SchedulerProvider, SchedulerProviderPre};
use crate::engine::changed_files;
use crate::engine::driven::{Answered, DrivenEngine, EngineSource, Texts};
use crate::engine::step_limit::StepLimit;
use crate::epoch_clock::EpochClock;
use crate::wasm_config;

/// The use of the machine by engines in sandboxes.
#[derive(Clone, Debug)]
pub struct SandboxOptions {
    /// The kernels lent to the engine; `None` lends none, and it computes by itself on one thread.
    pub isa: Option<Isa>,
    /// Threads that compute.
    pub threads: usize,
    /// Sequences generated at the same time.
    pub max_sequences: u32,
    /// Requests that may wait.
    pub max_queue: u32,
    /// The bound of a step with prompt tokens beside running generations, see `MaxStep::of_ms`.
    pub max_step_ms: Option<u32>,
    /// Positions of a sequence at most; the model's own context if absent.
    pub max_context: Option<u32>,
    /// Bytes all keys and values may take together.
    pub max_kv_bytes: Option<u64>,
    /// The type that keys and values are cached in.
    pub kv_type: KvType,
    /// Bytes the engine's memory may grow to, model included; what does not fit waits or is
    /// refused. Absent: the file's, those of keys and values, and 512 MiB.
    pub max_memory: Option<usize>,
    /// The time limit of a call.
    pub step_limit: StepLimit,
    /// The optimisations that are on.
    pub optimisations: Optimisations,
}

/// Engines of one baked file.
pub struct SandboxedEngines {
    wasmtime: Engine,
    pre: SchedulerProviderPre<State>,
    team: Team,
    options: SandboxOptions,
    /// The model's facts, as its engine tells them.
    info: OnceLock<ModelInfo>,
    /// Bytes of the engine and its model.
    app_bytes: u64,
    /// Its file, if that is mapped.
    mapped: Option<WatchedFile>,
    /// Ticks while an instance computes.
    clock: Arc<EpochClock>,
    log: GuestLog,
}

/// Ticks of the clock until a call has taken too long, at the least.
const TICKS: u32 = 8;
/// Between two ticks at most.
const LONGEST_TICK: Duration = Duration::from_secs(1);

impl SandboxedEngines {
    /// Load the file and link it.
    ///
    /// # Errors
    /// See [`AppFile::load`]; or a kernel of the chosen ISA differs from scalar.
    pub fn new(app: &AppFile, options: SandboxOptions) -> anyhow::Result<Self> {
        if let Some(isa) = options.isa {
            self_test(isa)?;
        }
        let wasmtime = wasm_config::sandbox_engine()?;
        let LoadedApp {
            component,
            bytes,
            mapped,
        } = app.load(&wasmtime)?;
        let mut linker = Linker::new(&wasmtime);
        wasi::add_to_linker(&mut linker)?;
        kernels_import::add_to_linker(&mut linker)?;
        let pre = linker
            .instantiate_pre(&component)
            .and_then(SchedulerProviderPre::new)
            .map_err(anyhow::Error::from)
            .context("the baked engine does not fit this version of Sterna: bake it again")?;
        let tick = tick(options.step_limit);
        Ok(SandboxedEngines {
            clock: Arc::new(EpochClock::start(&wasmtime, tick)?),
            mapped,
            wasmtime,
            pre,
            team: Team::new(options.threads)?,
            options,
            info: OnceLock::new(),
            app_bytes: bytes,
            log: GuestLog::new(),
        })
    }

    /// A fresh instance, with nothing started in it.
    ///
    /// # Errors
    /// The machine gives no memory for it.
    pub fn instantiate(&self) -> anyhow::Result<SandboxedEngine> {
        self.instantiate_for(self.team.clone())
    }

    /// The same, computing with a team.
    fn instantiate_for(&self, team: Team) -> anyhow::Result<SandboxedEngine> {
        let options = &self.options;
        let most_bytes = options.max_memory.unwrap_or_else(|| {
            let bytes = default_memory(self.app_bytes, options.max_kv_bytes);
            usize::try_from(bytes).unwrap_or(usize::MAX)
        });
        let lender = Lender::new(
            options.isa,
            team.clone(),
            options.optimisations,
            self.app_bytes,
        );
        let state = State::new(lender, Limiter::new(most_bytes), self.log.clone());
        let mut store = Store::new(&self.wasmtime, state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(fuel(self.app_bytes, options.isa.is_some()));
        store.set_max_component_handles(MOST_RESOURCES);
        let mut instance = Calls {
            team,
            clock: Arc::clone(&self.clock),
            tick: tick(options.step_limit),
            store,
        };
        let limit = options.step_limit.step(0);
        let exports = instance.call(limit, |store| self.pre.instantiate(store));
        let exports = exports.with_context(|| {
            format!(
                "cannot start the baked engine in the {most_bytes} bytes that --max-instance-memory (SPIN_MAX_INSTANCE_MEMORY) \
                 gives it, by default the file's size, that of keys and values and 512 MiB; the model is part of that memory"
            )
        })?;
        Ok(SandboxedEngine {
            calls: instance,
            exports,
            model: String::new(),
            info: None,
            step_limit: options.step_limit,
            open: Allowances::default(),
        })
    }
}

fn tick(limit: StepLimit) -> Duration {
    (limit.step(0) / TICKS).min(LONGEST_TICK)
}

impl EngineSource for SandboxedEngines {
    fn start(&self) -> anyhow::Result<Box<dyn DrivenEngine>> {
        let mut engine = self.instantiate()?;
        engine.start(&self.options)?;
        self.info.get_or_init(|| engine.info());
        Ok(Box::new(engine))
    }

    /// An instance of its own, which shares what was baked with the others. It wakes no thread: the
    /// engine has them.
    fn texts(&self) -> anyhow::Result<Box<dyn Texts>> {
        let mut instance = self.instantiate_for(Team::new(1)?)?;
        let info = self.info.get().context("no engine was started yet")?;
        instance.model.clone_from(&info.id);
        instance.info = Some(info.clone());
        Ok(Box::new(instance))
    }

    fn max_queue(&self) -> u32 {
        self.options.max_queue
    }

    fn step_limit(&self) -> StepLimit {
        self.options.step_limit
    }

    fn changed_file(&self) -> Option<String> {
        self.mapped.as_ref().and_then(changed_files::sentence)
    }
}

/// One instance.
pub struct SandboxedEngine {
    calls: Calls,
    exports: SchedulerProvider,
    model: String,
    info: Option<ModelInfo>,
    step_limit: StepLimit,
    open: Allowances,
}

/// Calls of an instance, with a time limit.
struct Calls {
    team: Team,
    clock: Arc<EpochClock>,
    tick: Duration,
    store: Store<State>,
}

impl Calls {
    /// Call it, for so long at most; with the team awake, so that lent kernels start at once.
    fn call<T>(
        &mut self,
        limit: Duration,
        call: impl FnOnce(&mut Store<State>) -> wasmtime::Result<T>,
    ) -> anyhow::Result<T> {
        // One more: the first comes at any time.
        let ticks = limit.as_millis().div_ceil(self.tick.as_millis().max(1)) + 1;
        let store = &mut self.store;
        store.set_epoch_deadline(u64::try_from(ticks).unwrap_or(u64::MAX));
        let _ticking = self.clock.guest();
        let called = self.team.run(|| call(store));
        called.map_err(|error| {
            let interrupted = error.downcast_ref() == Some(&Trap::Interrupt);
            let error = anyhow::Error::from(error).context("the engine failed in its sandbox");
            if !interrupted {
                return error;
            }
            error.context(format!(
                "a call took longer than {} s (--step-timeout or STERNA_STEP_TIMEOUT allows more)",
                limit.as_secs()
            ))
        })
    }
}

impl SandboxedEngine {
    /// Start the engine in it.
    ///
    /// # Errors
    /// The engine does not accept the options, traps, or says of its model what cannot be.
    pub fn start(&mut self, options: &SandboxOptions) -> anyhow::Result<()> {
        let options = Options {
            max_sequences: Some(options.max_sequences),
            max_queue: Some(options.max_queue),
            max_context: options.max_context,
            max_kv_bytes: options.max_kv_bytes,
            max_step_ms: options.max_step_ms,
            prefix_cache: Some(options.optimisations.prefix_cache),
            kv_type: Some(match options.kv_type {
                KvType::F32 => WitKvType::Float32,
                KvType::F16 => WitKvType::Float16,
                KvType::Int8 => WitKvType::Int8,
            }),
        };
        let started = self.scheduler(|scheduler, store| scheduler.call_start(store, options))?;
        let info = started.map_err(|error| anyhow!(short(error.into())))?;
        let info = checked_info(info.into())?;
        self.model.clone_from(&info.id);
        self.info = Some(info);
        Ok(())
    }

    fn context_length(&self) -> u32 {
        self.info.as_ref().map_or(0, |info| info.context_length)
    }

    /// Call the interface `scheduler`.
    fn scheduler<T>(
        &mut self,
        call: impl FnOnce(&Scheduler, &mut Store<State>) -> wasmtime::Result<T>,
    ) -> anyhow::Result<T> {
        let limit = self.step_limit.step(self.context_length());
        let scheduler = self.exports.sterna_inference_scheduler();
        self.calls.call(limit, |store| call(scheduler, store))
    }

    /// Call the interface `engine`.
    fn engine<T>(
        &mut self,
        limit: Duration,
        call: impl FnOnce(&Guest, &mut Store<State>, &str) -> wasmtime::Result<T>,
    ) -> anyhow::Result<T> {
        let (engine, model) = (self.exports.sterna_inference_engine(), &self.model);
        self.calls.call(limit, |store| call(engine, store, model))
    }

    /// The same for a call about texts.
    fn about_texts<T>(
        &mut self,
        call: impl FnOnce(&Guest, &mut Store<State>, &str) -> wasmtime::Result<T>,
    ) -> anyhow::Result<T> {
        self.engine(self.step_limit.step(self.context_length()), call)
    }
}

fn fault(error: wit::Error) -> EngineError {
    short(error.into())
}

impl Texts for SandboxedEngine {
    fn tokenize(&mut self, text: &str, add_special: bool) -> Answered<Vec<u32>> {
        let tokens = self.about_texts(|engine, store, model| {
            engine.call_tokenize(store, model, text, add_special)
        })?;
        Ok(tokens.map_err(fault))
    }

    fn detokenize(&mut self, tokens: &[u32]) -> Answered<String> {
        let text =
            self.about_texts(|engine, store, model| engine.call_detokenize(store, model, tokens))?;
        Ok(text.map_err(fault))
    }

    fn apply_template(&mut self, conversation: Conversation) -> Answered<String> {
        let conversation = conversation.into();
        let text = self.about_texts(|engine, store, model| {
            engine.call_apply_template(store, model, &conversation)
        })?;
        Ok(text.map_err(fault))
    }

    fn admit(&mut self, mut request: Request) -> Answered<Request> {
        let context = self.info().context_length;
        let prompt = std::mem::replace(&mut request.prompt, Prompt::Tokens(Vec::new()));
        let asked = Request {
            prompt,
            ..request.clone()
        };
        let asked = (self.model.clone(), asked).into();
        let tokens =
            self.scheduler(|scheduler, store| scheduler.call_admit(store, &asked, context))?;
        Ok(tokens.map_err(fault).map(|tokens| Request {
            prompt: Prompt::Tokens(tokens),
            ..request
        }))
    }
}

impl DrivenEngine for SandboxedEngine {
    fn info(&mut self) -> ModelInfo {
        self.info.clone().expect("`start` comes first")
    }

    fn prompt_size(&mut self) -> anyhow::Result<PromptSize> {
        let size = self.scheduler(|scheduler, store| scheduler.call_measure(store))?;
        Ok(size.into())
    }

    fn submit(&mut self, request: Request) -> Answered<Submitted> {
        let asked = Asked::of(&request, &self.info());
        let request = (self.model.clone(), request).into();
        let submitted =
            self.scheduler(|scheduler, store| scheduler.call_submit(store, &request))?;
        let submitted = match submitted {
            Ok(submitted) => submitted,
            Err(error) => return Ok(Err(fault(error))),
        };
        let id = GenerationId(submitted.id);
        self.open.begin(id, asked)?;
        Ok(Ok(Submitted {
            id,
            prompt_tokens: submitted.prompt_tokens,
            reasons: submitted.reasons,
        }))
    }

    fn step(&mut self, deliver: &mut dyn FnMut(Delivery)) -> anyhow::Result<bool> {
        let deliveries = self.scheduler(|scheduler, store| scheduler.call_step(store))?;
        let stepped = deliveries.is_some();
        for delivery in deliveries.unwrap_or_default() {
            let id = GenerationId(delivery.id);
            let event = delivery.event.map(Into::into).map_err(fault);
            if self.open.take(id, &event)? {
                deliver((id, event));
            }
        }
        Ok(stepped)
    }

    fn cancel(&mut self, id: GenerationId) -> anyhow::Result<bool> {
        self.open.end(id);
        self.scheduler(|scheduler, store| scheduler.call_cancel(store, id.0))
    }

    fn stats(&mut self) -> anyhow::Result<EngineStats> {
        let stats = self.scheduler(|scheduler, store| scheduler.call_stats(store))?;
        Ok(stats.into())
    }
}
