//! Runs a baked engine as the engine's thread wants it.
//!
//! One instance lives as long as the server. It may only write to stderr, look at clocks and draw random numbers: no
//! file, no socket. A trap in it is reported as a broken engine; the thread then takes a fresh instance, whose
//! memory is the snapshot again.

use std::sync::OnceLock;

use anyhow::{Context, anyhow};
use sterna_engine::engine::{EngineStats, ModelInfo};
use sterna_engine::optimisations::Optimisations;
use sterna_engine::request::{Delivery, GenerationId, Message, Prompt, Request};
use sterna_engine::scheduler::PromptSize;
use sterna_engine::team::Team;
use sterna_kernels::{Isa, self_test};
use wasmtime::component::{Linker, ResourceTable};
use wasmtime::{Engine, Store, StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::app_file::AppFile;
use super::convert;
use super::kernels_import::{self, Lender};
use crate::bindings::baked::exports::sterna::inference::engine::Guest;
use crate::bindings::baked::exports::sterna::inference::scheduler::{Guest as Scheduler, Options};
use crate::bindings::baked::{SchedulerProvider, SchedulerProviderPre};
use crate::driven_engine::{Answered, DrivenEngine, EngineSource, Texts};
use crate::wasm_config;

/// How engines in sandboxes use the machine.
#[derive(Clone, Debug)]
pub struct SandboxOptions {
    /// The kernels lent to the engine; `None` lends none, and it computes by itself on one thread.
    pub isa: Option<Isa>,
    /// Threads that compute.
    pub threads: usize,
    /// Sequences generated at the same time.
    pub max_sequences: u32,
    /// Requests that may wait for a slot.
    pub max_queue: u32,
    /// Positions of a sequence at most; the model's own context if absent.
    pub max_context: Option<u32>,
    /// Bytes all keys and values may take together.
    pub max_kv_bytes: Option<u64>,
    /// Bytes the engine's memory may grow to, model included; what does not fit waits or is refused.
    pub max_memory: Option<usize>,
    /// What is on.
    pub optimisations: Optimisations,
}

/// Engines of one baked file.
pub struct SandboxedEngines {
    wasmtime: Engine,
    pre: SchedulerProviderPre<State>,
    team: Team,
    options: SandboxOptions,
    /// What its engine says about the model.
    info: OnceLock<ModelInfo>,
}

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
        let component = app.load(&wasmtime)?;
        let mut linker = Linker::new(&wasmtime);
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
        kernels_import::add_to_linker(&mut linker)?;
        let pre = linker
            .instantiate_pre(&component)
            .and_then(SchedulerProviderPre::new)
            .map_err(anyhow::Error::from)
            .context("the baked engine does not fit this version of Sterna: bake it again")?;
        Ok(SandboxedEngines {
            wasmtime,
            pre,
            team: Team::new(options.threads)?,
            options,
            info: OnceLock::new(),
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
        let state = State {
            wasi: WasiCtx::builder().inherit_stderr().build(),
            table: ResourceTable::new(),
            limits: match self.options.max_memory {
                Some(bytes) => StoreLimitsBuilder::new().memory_size(bytes).build(),
                None => StoreLimits::default(),
            },
            lender: Lender::new(self.options.isa, team.clone(), self.options.optimisations),
        };
        let mut store = Store::new(&self.wasmtime, state);
        store.limiter(|state| &mut state.limits);
        // Lists are weights read in place; the default budget takes so many for an attack.
        store.set_hostcall_fuel(usize::MAX);
        let exports = self
            .pre
            .instantiate(&mut store)
            .map_err(anyhow::Error::from);
        let exports = match self.options.max_memory {
            Some(bytes) => exports.with_context(|| {
                format!(
                    "cannot start the baked engine in the {bytes} bytes that --max-instance-memory (SPIN_MAX_INSTANCE_MEMORY) \
                     gives it; the model is part of that memory"
                )
            })?,
            None => exports?,
        };
        Ok(SandboxedEngine {
            team,
            store,
            exports,
            model: String::new(),
            info: None,
        })
    }
}

impl EngineSource for SandboxedEngines {
    fn start(&self) -> anyhow::Result<Box<dyn DrivenEngine>> {
        let mut engine = self.instantiate()?;
        engine.start(&self.options)?;
        self.info.get_or_init(|| engine.info());
        Ok(Box::new(engine))
    }

    /// An instance of its own, which shares what was baked with the others. It wakes no thread: the engine has them.
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
}

/// One instance.
pub struct SandboxedEngine {
    team: Team,
    store: Store<State>,
    exports: SchedulerProvider,
    model: String,
    info: Option<ModelInfo>,
}

impl SandboxedEngine {
    /// Start the engine in it.
    ///
    /// # Errors
    /// The engine does not accept the options, or traps.
    pub fn start(&mut self, options: &SandboxOptions) -> anyhow::Result<()> {
        let options = Options {
            max_sequences: Some(options.max_sequences),
            max_queue: Some(options.max_queue),
            max_context: options.max_context,
            max_kv_bytes: options.max_kv_bytes,
        };
        let started = self.scheduler(|scheduler, store| scheduler.call_start(store, options))?;
        let info = convert::info(started.map_err(|error| anyhow!(convert::error(error)))?);
        self.model.clone_from(&info.id);
        self.info = Some(info);
        Ok(())
    }

    /// Call the interface `scheduler`. With the team awake, so that lent kernels start at once.
    fn scheduler<T>(
        &mut self,
        call: impl FnOnce(&Scheduler, &mut Store<State>) -> wasmtime::Result<T>,
    ) -> anyhow::Result<T> {
        let (exports, store) = (&self.exports, &mut self.store);
        let called = self
            .team
            .run(|| call(exports.sterna_inference_scheduler(), store));
        broken(called)
    }

    /// Call the interface `engine`.
    fn engine<T>(
        &mut self,
        call: impl FnOnce(&Guest, &mut Store<State>, &str) -> wasmtime::Result<T>,
    ) -> anyhow::Result<T> {
        let (exports, store, model) = (&self.exports, &mut self.store, &self.model);
        let called = self
            .team
            .run(|| call(exports.sterna_inference_engine(), store, model));
        broken(called)
    }
}

fn broken<T>(called: wasmtime::Result<T>) -> anyhow::Result<T> {
    called
        .map_err(anyhow::Error::from)
        .context("the engine failed in its sandbox")
}

impl Texts for SandboxedEngine {
    fn tokenize(&mut self, text: &str, add_special: bool) -> Answered<Vec<u32>> {
        let tokens = self
            .engine(|engine, store, model| engine.call_tokenize(store, model, text, add_special))?;
        Ok(tokens.map_err(convert::error))
    }

    fn detokenize(&mut self, tokens: &[u32]) -> Answered<String> {
        let text =
            self.engine(|engine, store, model| engine.call_detokenize(store, model, tokens))?;
        Ok(text.map_err(convert::error))
    }

    fn apply_template(&mut self, messages: Vec<Message>) -> Answered<String> {
        let messages: Vec<_> = messages.into_iter().map(convert::message).collect();
        let text = self
            .engine(|engine, store, model| engine.call_apply_template(store, model, &messages))?;
        Ok(text.map_err(convert::error))
    }

    fn admit(&mut self, mut request: Request) -> Answered<Request> {
        let context = self.info().context_length;
        let prompt = std::mem::replace(&mut request.prompt, Prompt::Tokens(Vec::new()));
        let asked = Request {
            prompt,
            ..request.clone()
        };
        let asked = convert::request(asked, &self.model);
        let tokens =
            self.scheduler(|scheduler, store| scheduler.call_admit(store, &asked, context))?;
        Ok(tokens.map_err(convert::error).map(|tokens| Request {
            prompt: Prompt::Tokens(tokens),
            ..request
        }))
    }

    fn input_tokens(&mut self, input: Prompt) -> Answered<Vec<u32>> {
        let context = self.info().context_length;
        let input = convert::prompt(input);
        let tokens =
            self.scheduler(|scheduler, store| scheduler.call_admit_input(store, &input, context))?;
        Ok(tokens.map_err(convert::error))
    }
}

impl DrivenEngine for SandboxedEngine {
    fn info(&mut self) -> ModelInfo {
        self.info.clone().expect("`start` comes first")
    }

    fn prompt_size(&mut self) -> anyhow::Result<PromptSize> {
        let size = self.scheduler(|scheduler, store| scheduler.call_measure(store))?;
        Ok(convert::prompt_size(size))
    }

    fn submit(&mut self, request: Request) -> Answered<(GenerationId, u32)> {
        let request = convert::request(request, &self.model);
        let submitted =
            self.scheduler(|scheduler, store| scheduler.call_submit(store, &request))?;
        Ok(submitted
            .map(|submitted| (GenerationId(submitted.id), submitted.prompt_tokens))
            .map_err(convert::error))
    }

    fn step(&mut self, deliver: &mut dyn FnMut(Delivery)) -> anyhow::Result<bool> {
        let deliveries = self.scheduler(|scheduler, store| scheduler.call_step(store))?;
        let stepped = deliveries.is_some();
        for delivery in deliveries.unwrap_or_default() {
            let event = delivery.event.map(convert::event).map_err(convert::error);
            deliver((GenerationId(delivery.id), event));
        }
        Ok(stepped)
    }

    fn cancel(&mut self, id: GenerationId) -> anyhow::Result<bool> {
        self.scheduler(|scheduler, store| scheduler.call_cancel(store, id.0))
    }

    fn stats(&mut self) -> anyhow::Result<EngineStats> {
        let stats = self.scheduler(|scheduler, store| scheduler.call_stats(store))?;
        Ok(convert::stats(stats))
    }

    fn embed_start(&mut self, input: Vec<u32>) -> Answered<()> {
        let started =
            self.scheduler(|scheduler, store| scheduler.call_embed_start(store, &input))?;
        Ok(started.map_err(convert::error))
    }

    fn embed_step(&mut self) -> Answered<Option<Vec<f32>>> {
        let vector = self.scheduler(|scheduler, store| scheduler.call_embed_step(store))?;
        Ok(vector.map_err(convert::error))
    }

    fn embed_stop(&mut self) -> anyhow::Result<()> {
        self.scheduler(|scheduler, store| scheduler.call_embed_stop(store))
    }
}

/// What an instance may touch.
pub(super) struct State {
    wasi: WasiCtx,
    pub(super) table: ResourceTable,
    pub(super) lender: Lender,
    limits: StoreLimits,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}
