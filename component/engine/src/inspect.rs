//! A look at a model before it is loaded: what its files say, whether and how the engine would load
//! it, and what it would take. Headers alone are read, and one matrix of each type.

use std::path::Path;

use sterna_kernels::KvType;

use crate::config::{ModelConfig, SamplingDefaults};
use crate::convert;
use crate::error::LoadError;
use crate::files::plan::{self, Form, Plan, Planned};
use crate::files::survey::{Survey, survey};
use crate::files::{self, LoadOptions, OpenModel};
use crate::forward::PassShape;
use crate::kv::{BLOCK, KvShape};

/// A model that was looked at.
#[derive(Debug)]
pub struct Inspection {
    /// The statements of its files.
    pub survey: Survey,
    /// What the engine makes of them, or why it refuses them.
    pub loadable: Result<Loadable, LoadError>,
}

/// A model that the engine loads.
#[derive(Clone, Debug)]
pub struct Loadable {
    /// Its shape.
    pub config: ModelConfig,
    /// True if the embedding is the output head too.
    pub tied: bool,
    /// Its matrices and tables as they are in memory.
    pub plan: Plan,
    /// Tokens of the vocabulary.
    pub vocab_size: usize,
    /// The token that begins a sequence, with its text.
    pub bos: Option<(u32, String)>,
    /// The tokens that end a generation, with their texts.
    pub ends: Vec<(u32, String)>,
    /// The chat template's source, and why it cannot be used, if it cannot.
    pub template: Option<String>,
    /// See `template`.
    pub template_fault: Option<String>,
    /// True if the template is not the files' own, but stands in for theirs or for none.
    pub template_is_other: bool,
    /// Sampling a request takes where it says nothing.
    pub defaults: SamplingDefaults,
    /// The statements of its files that could not be taken as they are.
    pub warnings: Vec<String>,
    /// Why it cannot be written as a GGUF, and so not be baked, if it cannot.
    pub not_convertible: Option<String>,
}

/// Bytes of a model that runs one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Weights that stay in their mapped files.
    pub mapped_bytes: u64,
    /// Weights in memory of the process's own.
    pub owned_bytes: u64,
    /// Keys and values of the context.
    pub kv_bytes: u64,
    /// Activations, and logits of a token.
    pub buffer_bytes: u64,
}

impl Memory {
    /// All of it: the peak once the model is loaded and the context full.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        let parts = [
            self.mapped_bytes,
            self.owned_bytes,
            self.kv_bytes,
            self.buffer_bytes,
        ];
        parts.into_iter().fold(0, u64::saturating_add)
    }
}

impl Loadable {
    /// The memory for one sequence of `positions` with keys and values in `kv_type`, in passes of
    /// up to `max_tokens` tokens.
    #[must_use]
    pub fn memory(&self, positions: usize, kv_type: KvType, max_tokens: usize) -> Memory {
        let [mapped_bytes, owned_bytes] = self.plan.bytes();
        let blocks = positions.div_ceil(BLOCK) as u64;
        let buffers = PassShape::of(&self.config).buffer_bytes(max_tokens);
        let logits = self.config.vocab_size * size_of::<f32>();
        Memory {
            mapped_bytes,
            owned_bytes,
            kv_bytes: blocks.saturating_mul(KvShape::of(&self.config, kv_type).block_bytes()),
            buffer_bytes: buffers.saturating_add(logits) as u64,
        }
    }
}

impl Loadable {
    /// The matrices and tables as `convert` writes them where no type is asked for.
    #[must_use]
    pub fn converted(&self) -> Plan {
        let mut plan = self.plan.clone();
        for table in &mut plan.tables {
            if let Form::Dense(ty) = table.form {
                *table = Planned {
                    form: Form::Dense(convert::kept_type(ty)),
                    ..*table
                };
            }
        }
        plan
    }
}

/// Look at the model at `path`.
#[must_use]
pub fn inspect(path: &Path, options: &LoadOptions) -> Inspection {
    let survey = survey(path);
    let loadable = files::open(path, options).and_then(|open| loadable(&open, &survey));
    Inspection { survey, loadable }
}

fn loadable(open: &OpenModel, survey: &Survey) -> Result<Loadable, LoadError> {
    let token = |id: u32| {
        let bytes = open.tokenizer.token_bytes(id).unwrap_or_default();
        (id, String::from_utf8_lossy(bytes).into_owned())
    };
    let template = open.template.source();
    let own = survey.template.as_ref().map(|(_, text)| text.as_str());
    Ok(Loadable {
        plan: plan::plan(open)?,
        config: open.config.clone(),
        tied: open.tied,
        vocab_size: open.tokenizer.vocab_size(),
        bos: open.config.bos_token.map(token),
        ends: open.config.eos_tokens.iter().copied().map(token).collect(),
        template: template.map(str::to_owned),
        template_fault: open.template.fault().map(str::to_owned),
        template_is_other: template.is_some() && template != own,
        defaults: open.defaults,
        warnings: open.warnings.clone(),
        not_convertible: convert::check(&open.config)
            .err()
            .map(|error| error.to_string()),
    })
}
