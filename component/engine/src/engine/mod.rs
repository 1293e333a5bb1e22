//! The engine as host and component see it: submit requests, step, cancel.
//!
//! A plain value without threads of its own: whoever owns it drives it. The native host steps it on
//! one thread of its own; in wasm the calling request does.

use std::sync::Arc;
use std::time::SystemTime;

use sterna_kernels::Isa;

use crate::error::EngineError;
use crate::forward::Forward;
use crate::kv::{KvCache, KvShape};
use crate::model::Model;
use crate::options::EngineOptions;
use crate::request::{
    Delivery, EngineStats, GenerationId, ModelInfo, Request, Submitted, clamp_u32,
};
use crate::scheduler::{Gate, Limits, Scheduler};
use crate::team::Team;

/// A model, its caches and its queue.
pub struct Engine {
    model: Arc<Model>,
    forward: Forward,
    kv: KvCache,
    scheduler: Scheduler,
    options: EngineOptions,
    limits: Limits,
    gate: Gate,
    created: u64,
}

impl Engine {
    /// An idle engine. Runs the kernels' self-test first.
    ///
    /// # Errors
    /// `Unavailable` where a kernel of the chosen ISA differs from scalar, an option is out of
    /// range, or threads cannot be started.
    pub fn new(model: Arc<Model>, options: EngineOptions) -> Result<Engine, EngineError> {
        check_options(&options)?;
        let limits = Limits::new(&model, &options)?;
        let max_tokens = options.max_sequences + options.prefill_chunk;
        Ok(Engine {
            forward: forward(&model, &options, max_tokens)?,
            kv: KvCache::new(
                KvShape::of(&model.config, options.kv_type),
                options.max_sequences,
            )
            .with_limit(limits.most_kv_blocks()),
            scheduler: Scheduler::new(limits),
            gate: Gate::new(Arc::clone(&model), limits.context),
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
            kv_type: self.options.kv_type.name().to_string(),
            head_type: self.model.weights.head().type_name().to_string(),
            isa: self.forward.isa_name().to_string(),
            max_sequences: clamp_u32(self.options.max_sequences),
            embedding_size: clamp_u32(self.model.config.hidden_size),
            generates: self.model.config.embedding.pooling.is_none(),
            reasoning_tags: self.model.template.reasoning_tags(),
            call_form: self.model.template.call_form(),
            fingerprint: self.model.fingerprint.clone(),
        }
    }

    /// The checks of requests, for threads that need no engine.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Check, render, tokenise and queue a request. A prompt of token ids costs next to nothing.
    ///
    /// # Errors
    /// `InvalidRequest`, `ContextOverflow`, or `Overloaded` where the queue is full.
    pub fn submit(&mut self, request: Request) -> Result<Submitted, EngineError> {
        let admitted = self.gate.admit(request)?;
        self.scheduler.submit(admitted)
    }

    /// One batch through the model: a token of every decoding sequence and at most `prefill_chunk`
    /// prompt tokens, beside streams within `max_step`. Every event goes to `deliver`. False when
    /// there was nothing to do.
    pub fn step(&mut self, deliver: &mut dyn FnMut(Delivery)) -> bool {
        self.scheduler
            .step(&mut self.forward, &mut self.kv, self.options.isa, deliver)
    }

    /// End a generation in the queue, in prefill or in decode, and free its place and cache at
    /// once. Returns whether it was alive; no further event of it is delivered.
    pub fn cancel(&mut self, id: GenerationId) -> bool {
        self.scheduler.cancel(id, &mut self.kv)
    }

    /// The engine's state and counters.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        EngineStats {
            kv_bytes: self.kv.used_bytes(),
            kv_idle_bytes: self.kv.idle_bytes(),
            kv_allocated_bytes: self.kv.allocated_bytes(),
            kv_reserved_bytes: self.scheduler.reserved_blocks() as u64 * self.block_bytes(),
            kv_limit_bytes: self.limits.most_kv_blocks() as u64 * self.block_bytes(),
            retry_after_ms: self.scheduler.retry_after_ms(),
            ..self.scheduler.stats()
        }
    }

    fn block_bytes(&self) -> u64 {
        KvShape::of(&self.model.config, self.options.kv_type).block_bytes()
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
        && let Some(forward) = Forward::lent(model.clone(), options.isa, max_tokens)
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
