//! An engine's use of its machine: what its owner chooses when it is made, and the defaults.

use std::time::Duration;

use sterna_kernels::{Isa, KvType};

use crate::optimisations::Optimisations;
use crate::team;

/// An engine's use of its machine.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Sequences that are generated at the same time, at least 1. Default 8.
    pub max_sequences: usize,
    /// Requests that may wait; a further one is `Overloaded`. Default 64.
    pub max_queue: usize,
    /// Prompt tokens one step takes in at most, over all sequences. At least 1, default
    /// `Isa::prefill_chunk`.
    pub prefill_chunk: usize,
    /// The bound of a step that takes in prompt tokens while streams run: what a decoding sequence
    /// may wait for between two of its tokens. Default: `MaxStep::Auto`.
    pub max_step: MaxStep,
    /// Positions of a sequence at most, where the model's own context is too long for this machine.
    pub max_context: Option<usize>,
    /// Bytes all keys and values may take together, kept ones included. A request waits until
    /// there is room for its prompt, and where what is generated needs more, the last one that
    /// began waits again; `None` sets no limit (`max_sequences` times the context sets one).
    pub max_kv_bytes: Option<u64>,
    /// Keep keys and values, within `max_kv_bytes`, for prompts that begin alike. The tokens
    /// generated are the same. Default: yes.
    pub prefix_cache: bool,
    /// The type that keys and values are cached in. Default `f16`.
    pub kv_type: KvType,
    /// The drafting of tokens. Default: as many as pay; the tokens generated are the same.
    pub speculation: Speculation,
    /// Threads that compute; ignored without the feature `native`. Default:
    /// `team::default_threads`.
    pub threads: usize,
    /// The instruction set; where the host lends its kernels, the one for what is not lent.
    pub isa: Isa,
    /// The optimisations that are on. Default: everything.
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
            max_step: MaxStep::Auto,
            max_context: None,
            max_kv_bytes: None,
            prefix_cache: true,
            kv_type: KvType::default(),
            speculation: Speculation::Adaptive,
            threads: team::default_threads(),
            isa,
            optimisations: Optimisations::ALL,
            #[cfg(target_arch = "wasm32")]
            borrow_kernels: false,
        }
    }
}

/// The bound of a step that takes in prompt tokens while streams run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxStep {
    /// Twice what a step of the streams alone takes.
    Auto,
    /// So long, as far as prompts can go on then.
    Limit(Duration),
    /// None: as many prompt tokens as without streams.
    Off,
}

impl MaxStep {
    /// As an option in milliseconds has it: 0 sets no bound.
    #[must_use]
    pub fn of_ms(ms: Option<u32>) -> Self {
        match ms {
            None => MaxStep::Auto,
            Some(0) => MaxStep::Off,
            Some(ms) => MaxStep::Limit(Duration::from_millis(ms.into())),
        }
    }
}

/// The drafting of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speculation {
    /// One token of each sequence a step.
    Off,
    /// As many as are expected to pay.
    Adaptive,
    /// So many whenever there is a draft, whether it pays or not: for tests and measurements.
    Always(usize),
}

impl Optimisations {
    /// The drafting of an engine with these.
    #[must_use]
    pub fn speculation(self) -> Speculation {
        if self.speculation {
            Speculation::Adaptive
        } else {
            Speculation::Off
        }
    }
}
