//! The engine as host and component see it: submit requests, step, cancel.
//!
//! A plain value without threads of its own: whoever owns it drives it. The native host steps it on one
//! thread of its own; in wasm the calling request does.

mod embed;

use std::sync::Arc;
use std::time::SystemTime;

use sterna_kernels::Isa;

use crate::error::EngineError;
use crate::forward::Forward;
use crate::kv::{KvCache, KvShape};
use crate::model::Model;
use crate::optimisations::Optimisations;
use crate::request::{Delivery, GenerationId, Request};
pub use crate::scheduler::Speculation;
use crate::scheduler::{Gate, Limits, Scheduler};
use crate::team::{self, Team};
use embed::Embedding;

/// How an engine uses its machine.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Sequences that are generated at the same time, at least 1. Default 8.
    pub max_sequences: usize,
    /// Requests that may wait for a slot; a further one is `Overloaded`. Default 64.
    pub max_queue: usize,
    /// Prompt tokens one step takes in at most, over all sequences: what a decoding sequence may wait
    /// for between two of its tokens. At least 1, default `Isa::prefill_chunk`.
    pub prefill_chunk: usize,
    /// Positions of a sequence at most, where the model's own context is too long for this machine.
    pub max_context: Option<usize>,
    /// Bytes all keys and values may take together. A request waits until what it may need is free;
    /// `None` sets no limit (`max_sequences` times the context sets one).
    pub max_kv_bytes: Option<u64>,
    /// Whether tokens are drafted. Default: as many as pay; the tokens generated are the same.
    pub speculation: Speculation,
    /// Threads that compute; ignored without the feature `native`. Default: `team::default_threads`.
    pub threads: usize,
    /// The instruction set; where the host lends its kernels, the one for what is not lent.
    pub isa: Isa,
    /// What is on. Default: everything.
    pub optimisations: Optimisations,
    /// Compute with the kernels the host lends, if it lends any.
    #[cfg(target_arch = "wasm32")]
    pub borrow_kernels: bool,
}

impl EngineOptions {
    /// Every default, computing with `isa` (see `Isa::from_env`).
    #[must_use]
    pub fn new(isa: Isa) -> Self {
        EngineOptions {
            max_sequences: 8,
            max_queue: 64,
            prefill_chunk: isa.prefill_chunk(),
            max_context: None,
            max_kv_bytes: None,
            speculation: Speculation::Adaptive,
            threads: team::default_threads(),
            isa,
            optimisations: Optimisations::ALL,
            #[cfg(target_arch = "wasm32")]
            borrow_kernels: false,
        }
    }
}

/// The facts of `wit/engine.wit`'s `model-info`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is documented in wit/engine.wit")]
pub struct ModelInfo {
    pub id: String,
    pub created: u64,
    pub architecture: String,
    pub context_length: u32,
    pub vocab_size: u32,
    pub parameters: u64,
    pub head_type: String,
    pub isa: String,
    pub max_sequences: u32,
}

/// What the engine is doing and has done; totals count from its creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Requests that wait for a slot, now.
    pub queued: usize,
    /// Sequences in prefill or decode, now.
    pub running: usize,
    /// Bytes of keys and values in use, now.
    pub kv_bytes: u64,
    /// Bytes of keys and values held, in use or ready for the next sequence.
    pub kv_allocated_bytes: u64,
    /// Bytes of keys and values the running sequences may come to need.
    pub kv_reserved_bytes: u64,
    /// Bytes of keys and values there may be: the budget, or all sequences at full length.
    pub kv_limit_bytes: u64,
    /// Prompt tokens taken in.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub tokens_generated: u64,
    /// Generations that ended by themselves.
    pub finished: u64,
    /// Generations that were cancelled.
    pub cancelled: u64,
    /// Generations that ended by a fault.
    pub failed: u64,
    /// Batches computed.
    pub steps: u64,
    /// When a place in the queue is likely to be free, in milliseconds.
    pub retry_after_ms: u32,
    /// Drafted tokens that were taken in.
    pub drafted: u64,
    /// Those of them that were generated too: each saved a step of its sequence.
    pub accepted: u64,
}

/// A model, its caches and its queue.
pub struct Engine {
    model: Arc<Model>,
    forward: Forward,
    kv: KvCache,
    scheduler: Scheduler,
    options: EngineOptions,
    limits: Limits,
    gate: Gate,
    /// The input that is being embedded.
    embedding: Option<Embedding>,
    created: u64,
}

impl Engine {
    /// An idle engine. Runs the kernels' self-test first.
    ///
    /// # Errors
    /// `Unavailable` where a kernel of the chosen ISA differs from scalar, an option is out of range, or
    /// threads cannot be started.
    pub fn new(model: Arc<Model>, options: EngineOptions) -> Result<Engine, EngineError> {
        check_options(&options)?;
        let limits = Limits::new(&model, &options)?;
        let max_tokens = options.max_sequences + options.prefill_chunk;
        Ok(Engine {
            forward: forward(&model, &options, max_tokens)?,
            // One slot more than the scheduler's: `embed` runs in it.
            kv: KvCache::new(KvShape::of(&model.config), options.max_sequences + 1),
            scheduler: Scheduler::new(limits),
            gate: Gate::new(Arc::clone(&model), limits.context),
            embedding: None,
            created: SystemTime::UNIX_EPOCH
                .elapsed()
                .map_or(0, |now| now.as_secs()),
            model,
            options,
            limits,
        })
    }

    /// The model this engine runs.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The instruction set that computes.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.options.isa
    }

    /// The facts of `wit/engine.wit`'s `model-info`.
    #[must_use]
    pub fn info(&self) -> ModelInfo {
        ModelInfo {
            id: self.model.id.clone(),
            created: self.created,
            architecture: self.model.config.architecture.clone(),
            context_length: clamp_u32(self.limits.context),
            vocab_size: clamp_u32(self.model.config.vocab_size),
            parameters: self.model.parameters(),
            head_type: self.model.weights.head().ty().name().to_string(),
            isa: self.forward.isa_name().to_string(),
            max_sequences: clamp_u32(self.options.max_sequences),
        }
    }

    /// Where requests are checked, for threads that need no engine.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Check, render, tokenise and queue a request. A prompt of token ids costs next to nothing. Returns its id and its prompt's length in tokens.
    ///
    /// # Errors
    /// `InvalidRequest`, `ContextOverflow`, or `Overloaded` where the queue is full.
    pub fn submit(&mut self, request: Request) -> Result<(GenerationId, u32), EngineError> {
        let admitted = self.gate.admit(request)?;
        self.scheduler.submit(admitted)
    }

    /// One batch through the model: a token of every decoding sequence and at most `prefill_chunk` prompt
    /// tokens. Every event goes to `deliver`. False when there was nothing to do.
    pub fn step(&mut self, deliver: &mut dyn FnMut(Delivery)) -> bool {
        self.scheduler
            .step(&mut self.forward, &mut self.kv, self.options.isa, deliver)
    }

    /// End a generation in the queue, in prefill or in decode, and free its slot and cache at once.
    /// Returns whether it was alive; no further event of it is delivered.
    pub fn cancel(&mut self, id: GenerationId) -> bool {
        self.scheduler.cancel(id, &mut self.kv)
    }

    /// What the engine is doing and has done.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        EngineStats {
            kv_bytes: self.kv.used_bytes(),
            kv_allocated_bytes: self.kv.allocated_bytes(),
            kv_reserved_bytes: self.scheduler.reserved_blocks() as u64 * self.block_bytes(),
            kv_limit_bytes: self.limits.most_kv_blocks() as u64 * self.block_bytes(),
            retry_after_ms: self.scheduler.retry_after_ms(),
            ..self.scheduler.stats()
        }
    }

    fn block_bytes(&self) -> u64 {
        KvShape::of(&self.model.config).block_bytes()
    }
}

/// The host's kernels where they are wanted and there, else our own.
fn forward(
    model: &Arc<Model>,
    options: &EngineOptions,
    max_tokens: usize,
) -> Result<Forward, EngineError> {
    #[cfg(target_arch = "wasm32")]
    if options.borrow_kernels
        && let Some(forward) = Forward::lent(model.clone(), max_tokens)
    {
        return Ok(forward);
    }
    // Who lends kernels has tested them.
    sterna_kernels::self_test(options.isa)
        .map_err(|error| EngineError::Unavailable(error.to_string()))?;
    let team = Team::new(options.threads)?;
    Ok(Forward::with(
        model.clone(),
        options.isa,
        team,
        max_tokens,
        options.optimisations,
    ))
}

fn check_options(options: &EngineOptions) -> Result<(), EngineError> {
    for (name, value) in [
        ("max_sequences", options.max_sequences),
        ("prefill_chunk", options.prefill_chunk),
        ("max_context", options.max_context.unwrap_or(usize::MAX)),
        ("threads", options.threads),
    ] {
        if value == 0 {
            return Err(EngineError::Unavailable(format!(
                "engine option {name} must be at least 1"
            )));
        }
    }
    Ok(())
}

/// Sizes that come from files fit u32 in practice; what does not is reported as the largest u32.
pub(crate) fn clamp_u32(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
