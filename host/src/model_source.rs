//! Finds and loads the model a command was given, or the one inside the binary.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::builder::BoolishValueParser;
use indicatif::{ProgressBar, ProgressStyle};
use sterna_engine::files::LoadOptions;
use sterna_engine::model::Model;
use sterna_engine::optimisations::Optimisations;
use sterna_engine::options::{EngineOptions, MaxStep};
use sterna_engine::placement::Bytes;
use sterna_engine::{files, team};
use sterna_kernels::{Isa, TernaryLayout};

use crate::assets::Assets;
use crate::engine::driven::{EngineSource, LinkedEngines};
use crate::engine::step_limit::StepLimit;
use crate::kv_type::KvTypeArgs;
use crate::memory::{lost_pages, private_copies, weight_pages};
use crate::reading::ReadArgs;
use crate::registry_tools::find_model;
use crate::sandbox::{AppFile, SandboxOptions, SandboxedEngines};

/// The name of the embedded model.
pub const DEMO: &str = "demo";

/// The memory that a loaded model takes, or would like to.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Bytes that are mapped from its file.
    pub mapped_bytes: u64,
    /// Bytes of copies of weights by columns, should its activations turn out to be mostly zeros.
    pub copy_bytes: u64,
}

/// The memory it may take.
#[derive(Clone, Copy, Debug)]
pub struct Granted {
    /// Bytes of keys and values; `None` sets no limit.
    pub kv_bytes: Option<u64>,
    /// True if there is room for the copies.
    pub copies: bool,
}

/// Asked once a model is loaded.
pub type KvBudget<'a> = dyn FnMut(Needs) -> anyhow::Result<Granted> + 'a;

/// No limit: for a command that runs one sequence.
///
/// # Errors
/// None.
pub fn no_kv_budget(_needs: Needs) -> anyhow::Result<Granted> {
    Ok(Granted {
        kv_bytes: None,
        copies: true,
    })
}

/// Which model, and what it may use: shared by the commands that generate.
#[derive(Clone, Debug, clap::Args)]
pub struct ModelArgs {
    /// A GGUF file, a Hugging Face directory, what `sterna bake` wrote (.wasm, .cwasm), or a name
    /// that `sterna pull` takes. Without it: the small demo model inside this program
    #[arg(short, long, env = "STERNA_MODEL", value_name = "PATH")]
    pub model: Option<PathBuf>,

    /// Run a precompiled model (.cwasm) as the machine code it is, with this process's rights. For
    /// files of your own `sterna bake --aot` alone; everything else that is code runs in a sandbox
    #[arg(long, env = "STERNA_ALLOW_PRECOMPILED", value_parser = BoolishValueParser::new())]
    pub allow_precompiled: bool,

    /// The name clients select the model by [default: the file's name without its ending]
    #[arg(long, env = "STERNA_MODEL_NAME", value_name = "ID")]
    pub model_name: Option<String>,

    /// What its files do not say.
    #[command(flatten)]
    pub reading: ReadArgs,

    /// Threads that compute [default: the CPUs this process may use]
    #[arg(short, long, env = "STERNA_THREADS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,

    /// How keys and values are cached.
    #[command(flatten)]
    pub kv_type: KvTypeArgs,

    /// Positions a prompt and its completion may fill [default: as the model says]
    #[arg(short, long, env = "STERNA_CONTEXT", value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    pub context: Option<u32>,

    /// Instruction set of the kernels [default: the best this machine has]; simd128 makes a baked
    /// model use its own
    #[arg(long, env = "STERNA_ISA", value_name = "NAME")]
    pub isa: Option<String>,

    /// Optimisations to switch off, separated by commas: huge-pages, trits5, trits8, skip-zeros,
    /// down-copy, speculation, prefix-cache. They change speed and memory, never what is generated
    /// [default: nothing; under a memory limit, as in a pod, huge-pages, trits5 and down-copy,
    /// which hold copies of a model file's weights]. Of a baked model's, down-copy is never on,
    /// and speculation is in the file
    #[arg(long, env = "STERNA_WITHOUT", value_name = "LIST")]
    pub without: Option<String>,

    /// Bytes one engine may take: of a baked model its whole memory [default: the file's size, that
    /// of its keys and values, and 512 MiB], of a model file the keys and values [default: no
    /// limit]
    #[arg(long, env = "SPIN_MAX_INSTANCE_MEMORY", value_name = "BYTES")]
    pub max_instance_memory: Option<u64>,

    /// The time limit of a step.
    #[command(flatten)]
    pub step_limit: StepLimit,
}

/// The requests that an engine has at a time, and how they get on.
#[derive(Clone, Copy, Debug)]
pub struct Serving {
    /// Sequences generated at the same time.
    pub max_sequences: u16,
    /// Requests that may wait.
    pub max_queue: u16,
    /// The bound of a step with prompt tokens beside running generations, see `MaxStep::of_ms`.
    pub max_step_ms: Option<u32>,
}

impl ModelArgs {
    /// Load the model, for engines that serve so. `kv_budget` is asked once it is loaded
    /// how much memory there is for keys and values, and for copies of weights.
    ///
    /// # Errors
    /// The path is no model, or a damaged one; the chain of messages says where and what to do. Or
    /// the machine does not support the instruction set, or there is no memory for keys and values.
    pub fn engines(
        &self,
        assets: &Assets,
        serving: Serving,
        kv_budget: &mut KvBudget<'_>,
    ) -> anyhow::Result<Arc<dyn EngineSource>> {
        let found = self.model.as_deref().map(find_model).transpose()?;
        let found = ModelArgs {
            model: found,
            ..self.clone()
        };
        found.engines_of_file(assets, serving, kv_budget)
    }

    /// The same, of a path of this machine.
    fn engines_of_file(
        &self,
        assets: &Assets,
        serving: Serving,
        kv_budget: &mut KvBudget<'_>,
    ) -> anyhow::Result<Arc<dyn EngineSource>> {
        if let Some(path) = &self.model {
            files::refuse_special(path)
                .with_context(|| format!("cannot load the model {}", path.display()))?;
            lost_pages::tell_of(path);
        }
        let recognise = |path| AppFile::recognise(path, self.allow_precompiled);
        if let Some(app) = self.model.as_deref().map(recognise).transpose()?.flatten() {
            return self.sandboxed(
                &app,
                serving,
                // Copies by columns of a guest's weights are not made.
                kv_budget(Needs {
                    mapped_bytes: self.model.as_deref().map_or(0, file_bytes),
                    copy_bytes: 0,
                })?
                .kv_bytes,
            );
        }
        let (isa, mut optimisations) = (self.isa()?, self.optimisations()?);
        let mut model = self.load(assets, optimisations.wants_trits8(isa, self.threads()))?;
        for warning in &model.warnings {
            tracing::warn!("the model {}: {warning}", model.id);
        }
        model.pack_owned(optimisations, isa, self.threads());
        let model = Arc::new(model);
        warn_of_slow_layout(&model, isa);
        let needs = Needs {
            mapped_bytes: model.mapped_bytes(),
            copy_bytes: model.down_copy_bytes(isa, optimisations),
        };
        let granted = kv_budget(needs)?;
        if needs.copy_bytes > 0 && !granted.copies {
            tracing::warn!(
                bytes = needs.copy_bytes,
                "too little memory for copies of weights by columns: zeros of the feed-forward network save less (as with --without down-copy)"
            );
            optimisations.down_copy = false;
        }
        if (optimisations.huge_pages || optimisations.trits5) && self.model.is_some() {
            let (model, threads) = (model.clone(), self.threads());
            weight_pages::settle_in_background(move |budget| {
                model.settle(optimisations, isa, threads, budget)
            })?;
        }
        let options = EngineOptions {
            max_sequences: serving.max_sequences.into(),
            max_queue: serving.max_queue.into(),
            max_step: MaxStep::of_ms(serving.max_step_ms),
            max_context: self.context.map(|positions| positions as usize),
            max_kv_bytes: least(granted.kv_bytes, self.max_instance_memory),
            kv_type: self.kv_type.get(),
            threads: self.threads(),
            speculation: optimisations.speculation(),
            prefix_cache: optimisations.prefix_cache,
            optimisations,
            ..EngineOptions::new(isa)
        };
        Ok(Arc::new(LinkedEngines {
            model,
            options,
            step_limit: self.step_limit,
        }))
    }

    fn load(&self, assets: &Assets, trits8: bool) -> anyhow::Result<Model> {
        match &self.model {
            Some(path) => {
                let options = LoadOptions {
                    id: self.model_name.clone(),
                    trits8,
                    ..self.reading.options()
                };
                load(path, &options)
            }
            None if self.reading.options().chat_template.is_some() => {
                bail!(
                    "--chat-template (or STERNA_CHAT_TEMPLATE) needs --model: the demo model's own is fixed"
                )
            }
            None => Model::from_gguf_bytes(
                self.model_name.as_deref().unwrap_or(DEMO),
                Bytes::from_static(assets.demo_model),
            )
            .context("cannot load the embedded demo model"),
        }
    }

    fn sandboxed(
        &self,
        app: &AppFile,
        serving: Serving,
        max_kv_bytes: Option<u64>,
    ) -> anyhow::Result<Arc<dyn EngineSource>> {
        if self.model_name.is_some() {
            bail!(
                "--model-name (or STERNA_MODEL_NAME) has no effect on a baked model; give it to `sterna bake`"
            );
        }
        if let Some(option) = self.reading.first() {
            bail!("{option} has no effect on a baked model; give it to `sterna bake`");
        }
        let optimisations = self.optimisations()?;
        if !optimisations.speculation {
            bail!(
                "--without speculation (or STERNA_WITHOUT) has no effect on a baked model: its engine drafts by itself"
            );
        }
        // The sandbox's own kernels, named as it names them: nothing is lent.
        let own = self
            .isa
            .as_deref()
            .is_some_and(|isa| isa.starts_with("simd128"));
        // What the operator gives it holds the model too, and what else it works with.
        let own_bytes = self.max_instance_memory.map(|bytes| {
            let model_bytes = self.model.as_deref().map_or(0, file_bytes);
            bytes.saturating_sub(model_bytes) / 4 * 3
        });
        let max_kv_bytes = least(max_kv_bytes, own_bytes);
        let options = SandboxOptions {
            isa: if own { None } else { Some(self.isa()?) },
            threads: self.threads(),
            max_sequences: serving.max_sequences.into(),
            max_queue: serving.max_queue.into(),
            max_step_ms: serving.max_step_ms,
            max_context: self.context,
            max_kv_bytes,
            kv_type: self.kv_type.get(),
            max_memory: self
                .max_instance_memory
                .map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
            step_limit: self.step_limit,
            optimisations,
        };
        Ok(Arc::new(SandboxedEngines::new(app, options)?))
    }

    /// Threads asked for, else what the process may use: affinity and cgroup quota, not the cores
    /// in sight.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads.map_or_else(team::default_threads, usize::from)
    }

    fn optimisations(&self) -> anyhow::Result<Optimisations> {
        let (without, model) = (self.without.as_deref(), self.model.as_deref());
        private_copies::optimisations(without, model, private_copies::memory_is_limited)
            .map_err(anyhow::Error::msg)
            .context("--without (or STERNA_WITHOUT)")
    }

    /// The instruction set asked for, else the best there is.
    ///
    /// # Errors
    /// There is none of this name, or this machine does not have it.
    pub(crate) fn isa(&self) -> anyhow::Result<Isa> {
        match &self.isa {
            Some(name) => Isa::from_name(name).context("--isa (or STERNA_ISA)"),
            None => Ok(Isa::detect()),
        }
    }
}

/// A layout that was made for another machine costs speed: say so.
fn warn_of_slow_layout(model: &Model, isa: Isa) {
    let trits5 = TernaryLayout::Trits5;
    if model.weights.has_layout(trits5) && !isa.has_loop_for(trits5) {
        tracing::warn!(
            isa = isa.name(),
            "the model's layout trits5 is slow on this instruction set: `sterna convert --layout i2_s` makes a faster file of it"
        );
    }
}

/// A baked file is mapped whole.
fn file_bytes(path: &Path) -> u64 {
    let file = path.metadata().ok().filter(Metadata::is_file);
    file.map_or(0, |file| file.len())
}

/// The smaller of two limits, where there are any.
fn least(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Load a model from files, with a progress bar where a person watches.
///
/// # Errors
/// As [`Model::load`].
pub fn load(path: &Path, options: &LoadOptions) -> anyhow::Result<Model> {
    let bar = byte_bar("loading");
    let model = Model::load(path, options, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    model.with_context(|| format!("cannot load the model {}", path.display()))
}

/// A progress bar over bytes; it hides itself where stderr is no terminal.
#[must_use]
pub fn byte_bar(verb: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {bar:32} {bytes}/{total_bytes} {eta}");
    let bar = ProgressBar::new(0).with_message(verb);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
