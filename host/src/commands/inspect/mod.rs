//! `sterna inspect`: what a model is, whether it loads, and what it would take, without loading it.

mod json;
mod table;

use std::path::{Path, PathBuf};

use anyhow::Context;
use sterna_engine::files::plan::{Form, Plan, Planned};
use sterna_engine::files::{self, LoadOptions};
use sterna_engine::inspect::{Inspection, Loadable, Memory, inspect};
use sterna_engine::optimisations::Optimisations;
use sterna_kernels::{Isa, KvType, TernaryLayout};

use crate::baked_size::{self, ENGINE_BYTES, MODULE_BYTES};
use crate::kv_type::KvTypeArgs;
use crate::machine::Machine;
use crate::memory::{lost_pages, private_copies};
use crate::reading::ReadArgs;
use crate::registry_tools::find_model;
use crate::say;

/// Say what a model is, and what it would take to run it
///
/// Architecture and shapes, types of tensors, scales, tokenizer, tokens that end an answer, chat
/// template, memory, whether it bakes, the kernels that run it and the fastest they could be on
/// this machine. Headers are read, weights are not: a file of gigabytes takes milliseconds. A file
/// that cannot be loaded is described as far as it can be read; the exit code is then 1.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A GGUF file, a Hugging Face directory, or a name that `sterna pull` takes
    #[arg(value_name = "FILE|DIR")]
    model: PathBuf,

    /// What its files do not say.
    #[command(flatten)]
    reading: ReadArgs,

    /// Positions that memory is counted for [default: the model's context]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    context: Option<u32>,

    /// How keys and values would be cached.
    #[command(flatten)]
    kv_type: KvTypeArgs,

    /// Also print the chat template
    #[arg(long)]
    template: bool,

    /// Do not measure how fast this machine reads memory (half a second, 256 MiB)
    #[arg(long)]
    no_measure: bool,

    /// Threads that would compute [default: the CPUs this process may use]
    #[arg(short, long, env = "STERNA_THREADS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,

    /// Instruction set of the kernels [default: the best this machine has]
    #[arg(long, env = "STERNA_ISA", value_name = "NAME")]
    isa: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Lines of the chat template that are shown without `--template`.
const TEMPLATE_LINES: usize = 3;

/// Everything that is printed.
struct Report<'a> {
    args: &'a Args,
    path: PathBuf,
    inspection: Inspection,
    /// Of a model that loads.
    use_: Option<Use>,
}

/// What a model would take here.
struct Use {
    positions: usize,
    kv_type: KvType,
    memory: Memory,
    baking: Baking,
    isa: Isa,
    threads: usize,
    /// Bytes that a generated token reads, without keys and values.
    token_bytes: u64,
    /// 1e9 bytes a second that this machine's threads read.
    read_gb_per_s: Option<f64>,
    warnings: Vec<String>,
}

/// Whether `sterna bake` takes it.
enum Baking {
    /// In so many bytes, about.
    Fits(u64),
    /// With some matrices in trits8, as it does by itself; so many bytes without.
    Packed(u64),
    /// With these options alone, if there are any.
    TooLarge(u64, Vec<(String, u64)>),
    /// It cannot be converted.
    Never(String),
}

/// Look and print. False where the model cannot be loaded.
///
/// # Errors
/// The instruction set is none of this machine, or its speed cannot be measured.
pub fn main(args: &Args) -> anyhow::Result<bool> {
    let path = find_model(&args.model)?;
    files::refuse_special(&path).with_context(|| format!("cannot look at {}", path.display()))?;
    lost_pages::tell_of(&path);
    let isa = match &args.isa {
        Some(name) => Isa::from_name(name).context("--isa (or STERNA_ISA)")?,
        None => Isa::detect(),
    };
    let machine = Machine::of(isa, args.threads);
    let limited = private_copies::memory_is_limited;
    let optimisations =
        private_copies::optimisations(None, Some(&path), limited).map_err(anyhow::Error::msg)?;
    let options = LoadOptions {
        trits8: optimisations.wants_trits8(isa, machine.threads),
        ..args.reading.options()
    };
    let inspection = inspect(&path, &options);
    let use_ = match &inspection.loadable {
        Ok(model) => Some(use_of(
            args,
            &path,
            model,
            &inspection,
            &machine,
            optimisations,
        )?),
        Err(_) => None,
    };
    let report = Report {
        args,
        path,
        inspection,
        use_,
    };
    if args.json {
        say::line(format_args!("{:#}", json::of(&report)));
    } else {
        say::line(table::Table(&report));
    }
    Ok(report.use_.is_some())
}

fn use_of(
    args: &Args,
    path: &Path,
    model: &Loadable,
    inspection: &Inspection,
    machine: &Machine,
    optimisations: Optimisations,
) -> anyhow::Result<Use> {
    let (isa, threads) = (machine.isa, machine.threads);
    let positions = args
        .context
        .map_or(model.config.context_length, |n| n as usize);
    let memory = model.memory(positions, args.kv_type.get(), isa.prefill_chunk());
    let trits5 = optimisations.wants_trits5(isa, threads);
    let token_bytes = model
        .plan
        .streamed()
        .map(|planned| token_bytes(planned, trits5))
        .sum();
    let read_gb_per_s = if args.no_measure {
        None
    } else {
        Some(machine.read_gb_per_s()?)
    };
    Ok(Use {
        positions,
        kv_type: args.kv_type.get(),
        memory,
        baking: baking(model, inspection.survey.header_bytes),
        isa,
        threads,
        token_bytes,
        read_gb_per_s,
        warnings: warnings(path, model, machine, memory, positions),
    })
}

/// Bytes of a matrix as it is read once the server has settled.
fn token_bytes(planned: &Planned, trits5: bool) -> u64 {
    let form = match planned.form {
        Form::Ternary(TernaryLayout::I2S) if trits5 => Form::Ternary(TernaryLayout::Trits5),
        form => form,
    };
    form.bytes(planned.shape)
}

/// As `sterna bake` decides once it has converted the model.
fn baking(model: &Loadable, header_bytes: u64) -> Baking {
    if let Some(reason) = &model.not_convertible {
        return Baking::Never(reason.clone());
    }
    let plan: Plan = model.converted();
    let bytes: u64 = plan.all().map(Planned::bytes).sum();
    let needed = bytes + header_bytes + ENGINE_BYTES;
    if needed <= MODULE_BYTES {
        return Baking::Fits(needed);
    }
    if baked_size::saved_by_packing(&plan, needed - MODULE_BYTES).is_some() {
        return Baking::Packed(needed);
    }
    let mut forms = baked_size::smaller_forms(&plan, needed);
    forms.retain(|(_, bytes)| *bytes <= MODULE_BYTES);
    Baking::TooLarge(needed, forms)
}

fn warnings(
    path: &Path,
    model: &Loadable,
    machine: &Machine,
    memory: Memory,
    positions: usize,
) -> Vec<String> {
    let mut warnings = model.warnings.clone();
    let has = |form| {
        model
            .plan
            .matrices
            .iter()
            .any(|planned| planned.form == form)
    };
    let trits5 = TernaryLayout::Trits5;
    if has(Form::Ternary(trits5)) && !machine.isa.has_loop_for(trits5) {
        warnings.push(format!(
            "layout trits5 is slow on {}: `sterna convert --layout i2_s` makes a faster file of it",
            machine.isa.name()
        ));
    }
    if memory.owned_bytes > 0 && model.not_convertible.is_none() {
        warnings.push(format!(
            "{} of weights are packed anew at each start: `sterna convert {} -o FILE.gguf` writes a \
             file that is used where it lies",
            baked_size::size(memory.owned_bytes),
            path.display()
        ));
    }
    if positions > model.config.context_length {
        warnings.push(format!(
            "--context {positions} is more than the {} positions that the model was made for",
            model.config.context_length
        ));
    }
    if let Some(limit) = machine.memory_bytes()
        && memory.peak_bytes() > limit
    {
        warnings.push(format!(
            "{positions} positions need {}, and there are {}: a smaller --context of `serve` needs \
             less",
            baked_size::size(memory.peak_bytes()),
            baked_size::size(limit)
        ));
    }
    if model.template.is_none() && model.config.embedding.pooling.is_none() {
        warnings.push(
            "it has no chat template: chat requests are refused, completions are served".into(),
        );
    }
    warnings
}

/// Tokens a second that reading the weights allows; `None` where it was not measured.
fn tokens_per_s(use_: &Use) -> Option<f64> {
    #[allow(clippy::cast_precision_loss, reason = "for reading")]
    let bytes = use_.token_bytes.max(1) as f64;
    Some(use_.read_gb_per_s? * 1e9 / bytes)
}
