//! `sterna bench`: tokens a second of a model's shape on this machine, natively or in wasm.
//!
//! Weights are random and made in memory: speed depends on the shape alone, and nothing is downloaded.

use std::sync::Arc;

use anyhow::{Context, bail};
use serde_json::Value;
use sterna_engine::bench::{self, BenchOptions};
use sterna_engine::{synthetic, team};
use sterna_kernels::{DenseType, Isa};

use crate::assets::Assets;
use crate::head_type::HeadType;
use crate::wasm_command;

/// The instruction sets of the engine as wasm.
const SIMD128: &str = "simd128";
const RELAXED: &str = "simd128-relaxed";

/// Measure tokens per second
///
/// Random weights of a known shape are made in memory; the median, slowest and fastest of the repetitions
/// are shown. `--isa simd128` and `--isa simd128-relaxed` measure the engine as WebAssembly.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// bitnet-2b-4t, bitnet-0.7b, bitnet-3b, llama3-8b-1.58 or tiny
    #[arg(long, value_name = "NAME", default_value = "bitnet-2b-4t")]
    shape: String,

    /// How embedding and output head are stored
    #[arg(long, value_enum, default_value = "q8_0")]
    head: HeadType,

    /// Prompt tokens
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    prompt: u32,

    /// Tokens to generate
    #[arg(long, value_name = "N", default_value_t = 32)]
    generate: u32,

    /// Sequences generated at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,

    /// Measured repetitions
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    reps: u32,

    /// Threads [default: the CPUs this process may use; wasm has one]
    #[arg(short, long, env = "STERNA_THREADS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,

    /// Instruction set of the kernels [default: the best this machine has]
    #[arg(long, env = "STERNA_ISA", value_name = "NAME")]
    isa: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Measure and print.
///
/// # Errors
/// An unknown shape or instruction set, or memory that does not suffice.
pub fn main(args: &Args, assets: &'static Assets) -> anyhow::Result<()> {
    let report = match args.isa.as_deref() {
        Some(SIMD128) => in_wasm(args, SIMD128, assets.bench_wasm)?,
        Some(RELAXED) => in_wasm(args, RELAXED, assets.bench_relaxed_wasm)?,
        isa => native(args, isa)?,
    };
    if args.json {
        println!("{report:#}")
    } else {
        print_table(&report)
    }
    Ok(())
}

fn native(args: &Args, isa: Option<&str>) -> anyhow::Result<Value> {
    let isa = isa.map_or_else(|| Ok(Isa::detect()), Isa::from_name)?;
    let model = synthetic::model(&args.shape, args.head.into())?;
    let options = BenchOptions {
        prompt: args.prompt as usize,
        generate: args.generate as usize,
        batch: args.batch as usize,
        reps: args.reps as usize,
        threads: args.threads.map_or_else(team::default_threads, usize::from),
        ..BenchOptions::new(isa)
    };
    Ok(serde_json::to_value(bench::run(
        &Arc::new(model),
        &options,
    )?)?)
}

/// Run the benchmark as a WASI command; it prints its report as JSON.
fn in_wasm(args: &Args, isa: &str, bench_wasm: &[u8]) -> anyhow::Result<Value> {
    if args.threads.is_some_and(|threads| threads > 1) {
        bail!("--threads: WebAssembly has one thread; leave it out with --isa {isa}");
    }
    let head = DenseType::from(args.head).name().to_owned();
    let [prompt, generate, batch, reps] =
        [args.prompt, args.generate, args.batch, args.reps].map(|number| number.to_string());
    #[rustfmt::skip]
    let command = [
        "sterna_bench", "--shape", &args.shape, "--head", &head, "--isa", isa,
        "--prompt", &prompt, "--generate", &generate, "--batch", &batch, "--reps", &reps,
    ];
    let output = wasm_command::run(bench_wasm, &command)?;
    if !output.success {
        // It has said why on stderr.
        bail!("the benchmark failed");
    }
    serde_json::from_slice(&output.stdout).context("the benchmark printed no report")
}

fn print_table(report: &Value) {
    let text = |key: &str| report[key].as_str().unwrap_or("?").to_owned();
    println!(
        "{} ({:.2} G parameters, head {}) on {}, {} threads, {} at a time",
        text("model"),
        report["parameters"].as_f64().unwrap_or_default() / 1e9,
        text("head"),
        text("isa"),
        report["threads"],
        report["batch"],
    );
    println!(
        "{:<8} {:>10} {:>10} {:>10}  tokens/s",
        "test", "median", "min", "max"
    );
    let row = |name: String, rate: &Value| {
        let figure = |key: &str| rate[key].as_f64().unwrap_or_default();
        println!(
            "{name:<8} {:>10.2} {:>10.2} {:>10.2}",
            figure("median"),
            figure("min"),
            figure("max")
        );
    };
    row(
        format!("pp{}", report["prompt"]),
        &report["prefill_tokens_per_s"],
    );
    if report["decode_tokens_per_s"].is_object() {
        row(
            format!("tg{}", report["generate"]),
            &report["decode_tokens_per_s"],
        );
        println!(
            "decode reads {:.1} MB a token, {:.2} GB/s",
            report["bytes_per_token"].as_f64().unwrap_or_default() / 1e6,
            report["decode_gb_per_s"].as_f64().unwrap_or_default(),
        );
    }
}
