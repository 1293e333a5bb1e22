//! `sterna bench`: tokens a second of a model's shape on this machine, natively or in wasm, beside
//! the machine's limits.
//!
//! Weights are random and made in memory: speed depends on the shape alone, and nothing is
//! downloaded.

mod table;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::ValueEnum;
use sterna_engine::bench::{self, BenchOptions, BenchReport};
use sterna_engine::files::LoadOptions;
use sterna_engine::model::Model;
use sterna_engine::optimisations::Optimisations;
use sterna_engine::placement::Bytes;
use sterna_engine::synthetic::{self, Stored};
use sterna_engine::team;
use sterna_kernels::{DenseType, GroupCodes, Isa, TernaryLayout};

use crate::assets::Assets;
use crate::commands::compose::{KERNELS_STUB, compose};
use crate::head_type::kernel_head;
use crate::kv_type::KvTypeArgs;
use crate::layout_type::one_scale_layout;
use crate::model_source::{DEMO, load};
use crate::reading::ReadArgs;
use crate::registry_tools::find_model;
use crate::wasm_command;

/// The instruction sets of the engine as wasm.
const SIMD128: &str = "simd128";
const RELAXED: &str = "simd128-relaxed";

/// Types of group-scaled weights, as GGUF names them.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum GroupType {
    #[value(name = "q1_0")]
    Q1_0,
    #[value(name = "q2_0")]
    Q2_0,
}

impl GroupType {
    fn codes(self) -> GroupCodes {
        match self {
            GroupType::Q1_0 => GroupCodes::Binary,
            GroupType::Q2_0 => GroupCodes::Ternary,
        }
    }
}

/// Measure tokens per second
///
/// Random weights of a known shape are made in memory; the median, slowest and fastest of the
/// repetitions are shown, as shares of the read bandwidth and int8 peak that are measured in
/// between. `--isa simd128` and `--isa simd128-relaxed` measure the engine as WebAssembly.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// bitnet-2b-4t, bitnet-0.7b, bitnet-3b, llama3-8b-1.58 (2b, 0.7b, 3b, 8b), bonsai-1.7b,
    /// bonsai-4b, bonsai-8b, bonsai-tiny or tiny; demo is the trained model inside this program,
    /// whose head is what it is
    #[arg(long, value_name = "NAME", default_value = "bitnet-2b-4t")]
    shape: String,

    /// Measure this model instead: a GGUF file or a Hugging Face directory
    #[arg(short, long, value_name = "PATH", conflicts_with_all = ["shape", "head", "weights"])]
    model: Option<PathBuf>,

    /// What its files do not say.
    #[command(flatten)]
    reading: ReadArgs,

    /// Every matrix in groups of 128 with a scale each, binary or ternary [default: q2_0 for the
    /// bonsai shapes, one scale a matrix for the others]
    #[arg(long, value_enum)]
    weights: Option<GroupType>,

    /// Storage type of embedding and output head, where --weights does not say it
    #[arg(long, value_name = "TYPE", default_value = "q8_0", value_parser = kernel_head())]
    head: DenseType,

    /// Layout of the layers' matrices where they have one scale [default: i2_s, or as the model has
    /// them]; `--without trits8` keeps those with a scale for each group in two bits
    #[arg(long, value_name = "LAYOUT", value_parser = one_scale_layout())]
    layout: Option<TernaryLayout>,

    /// Share of the feed-forward activations that are exactly zero [default: as random weights have
    /// it, about one half]
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = 0.0,
        hide_default_value = true
    )]
    zeros: f64,

    /// Prompt tokens
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    prompt: u32,

    /// Positions that are cached before the prompt, with made-up keys and values
    #[arg(long, value_name = "N", default_value_t = 0)]
    depth: u32,

    /// Tokens to generate
    #[arg(long, value_name = "N", default_value_t = 32)]
    generate: u32,

    /// Sequences generated at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,

    /// How keys and values are cached.
    #[command(flatten)]
    kv_type: KvTypeArgs,

    /// Prompt tokens a pass [default: 256 with AMX, else 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    chunk: Option<u32>,

    /// Measured repetitions
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    reps: u32,

    /// Threads [default: the CPUs this process may use; wasm has one]
    #[arg(short, long, env = "STERNA_THREADS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,

    /// Instruction set of the kernels [default: the best this machine has]
    #[arg(long, env = "STERNA_ISA", value_name = "NAME")]
    isa: Option<String>,

    /// Also compare completions with and without drafts, of a text that repeats and of one that
    /// does not
    #[arg(long)]
    speculation: bool,

    /// Optimisations to switch off, separated by commas: huge-pages, trits5, trits8, skip-zeros,
    /// down-copy, speculation
    #[arg(long, value_name = "LIST", default_value = "")]
    without: String,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Write the benchmark as a WASI command and measure nothing, with `--isa simd128` or
    /// `simd128-relaxed`; then, for example,
    /// `wasmtime run bench.wasm --shape bitnet-2b-4t --head q6_k` prints JSON
    #[arg(short, long, value_name = "PATH", requires = "isa")]
    output: Option<PathBuf>,
}

/// Measure and print.
///
/// # Errors
/// An unknown shape, instruction set or optimisation, or memory that does not suffice.
pub fn main(args: &Args, assets: &'static Assets) -> anyhow::Result<()> {
    if let Some(path) = &args.output {
        return write_wasm(args.isa.as_deref(), path, assets);
    }
    let report = match args.isa.as_deref() {
        Some(SIMD128) => in_wasm(args, SIMD128, assets.bench_wasm, assets.demo_model)?,
        Some(RELAXED) => in_wasm(args, RELAXED, assets.bench_relaxed_wasm, assets.demo_model)?,
        isa => native(args, isa, assets.demo_model)?,
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", table::Table(&report));
    }
    Ok(())
}

/// Write the benchmark as a component that imports nothing but WASI. It is linked with the engine,
/// and so imports kernels, which it never asks for.
fn write_wasm(isa: Option<&str>, path: &Path, assets: &Assets) -> anyhow::Result<()> {
    let bench = match isa {
        Some(SIMD128) => assets.bench_wasm,
        Some(RELAXED) => assets.bench_relaxed_wasm,
        _ => bail!("--output: only --isa {SIMD128} and {RELAXED} are WebAssembly"),
    };
    let stub = (KERNELS_STUB, assets.kernels_stub_wasm);
    let closed = compose(("sterna:bench", bench), &[stub])?;
    std::fs::write(path, closed).with_context(|| format!("cannot write {}", path.display()))
}

fn native(args: &Args, isa: Option<&str>, demo: &'static [u8]) -> anyhow::Result<BenchReport> {
    let isa = isa.map_or_else(|| Ok(Isa::detect()), Isa::from_name)?;
    let threads = args.threads.map_or_else(team::default_threads, usize::from);
    let mut optimisations = args.optimisations()?;
    let mut model = if let Some(path) = &args.model {
        let options = LoadOptions {
            trits8: optimisations.wants_trits8(isa, threads),
            ..args.reading.options()
        };
        load(&find_model(path)?, &options)?
    } else if args.shape == DEMO {
        Model::from_gguf_bytes(DEMO, Bytes::from_static(demo))?
    } else {
        let stored = || Stored::of_shape(&args.shape, args.head);
        let stored = args
            .weights
            .map_or_else(stored, |weights| Stored::Groups(weights.codes()));
        synthetic::sparse_model(&args.shape, stored, args.zeros)?
    };
    if let Some(layout) = args.layout {
        if model.weights.is_grouped() {
            bail!("{GROUPED}");
        }
        model.to_layout(layout)?;
        optimisations.trits5 = false;
    }
    model.pack_owned(optimisations, isa, threads);
    let options = BenchOptions {
        prompt: args.prompt as usize,
        depth: args.depth as usize,
        generate: args.generate as usize,
        batch: args.batch as usize,
        prefill_chunk: args
            .chunk
            .map_or_else(|| isa.prefill_chunk(), |chunk| chunk as usize),
        reps: args.reps as usize,
        threads,
        optimisations,
        kv_type: args.kv_type.get(),
        speculation: args.speculation,
        ..BenchOptions::new(isa)
    };
    Ok(bench::run(&Arc::new(model), &options)?)
}

/// Run the benchmark as a WASI command; it prints its report as JSON. What it cannot know of the
/// machine is measured here, right after it.
fn in_wasm(args: &Args, isa: &str, bench_wasm: &[u8], demo: &[u8]) -> anyhow::Result<BenchReport> {
    if args.threads.is_some_and(|threads| threads > 1) {
        bail!("--threads: WebAssembly has one thread; leave it out with --isa {isa}");
    }
    if args.model.is_some() {
        bail!("--model: WebAssembly sees no files here; leave out --isa {isa}");
    }
    args.optimisations()?;
    let head = args.head.name().to_owned();
    let [prompt, depth, generate, batch, reps] = [
        args.prompt,
        args.depth,
        args.generate,
        args.batch,
        args.reps,
    ]
    .map(|n| n.to_string());
    let (shape, stdin) = if args.shape == DEMO {
        ("-", demo)
    } else {
        (&*args.shape, &[][..])
    };
    let zeros = args.zeros.to_string();
    #[rustfmt::skip]
    let mut command = vec![
        "sterna_bench", "--shape", shape, "--head", &head, "--isa", isa, "--prompt", &prompt, "--depth", &depth,
        "--generate", &generate, "--batch", &batch, "--reps", &reps, "--without", &args.without,
        "--zeros", &zeros, "--kv-type", args.kv_type.get().name(),
    ];
    let weights = args.weights.and_then(|weights| weights.to_possible_value());
    if let Some(weights) = &weights {
        command.extend(["--weights", weights.get_name()]);
    }
    let chunk = args.chunk.map(|chunk| chunk.to_string());
    if let Some(chunk) = &chunk {
        command.extend(["--chunk", chunk]);
    }
    if let Some(layout) = args.layout {
        let stored = || Stored::of_shape(&args.shape, args.head);
        if args.weights.is_some() || matches!(stored(), Stored::Groups(_)) {
            bail!("{GROUPED}");
        }
        command.extend(["--layout", layout.name()]);
    }
    if args.speculation {
        command.push("--speculation");
    }
    let output = wasm_command::run(bench_wasm, &command, stdin)?;
    if !output.success {
        // It has said why on stderr.
        bail!("the benchmark failed");
    }
    let mut report: BenchReport =
        serde_json::from_slice(&output.stdout).context("the benchmark printed no report")?;
    report.set_limits(bench::machine(Isa::detect(), 1, args.reps as usize)?);
    Ok(report)
}

impl Args {
    fn optimisations(&self) -> anyhow::Result<Optimisations> {
        Optimisations::without(&self.without)
            .map_err(anyhow::Error::msg)
            .context("--without")
    }
}

/// Why `--layout` is refused.
const GROUPED: &str =
    "--layout: these matrices have a scale for each group; leave it out, or take --without trits8";
