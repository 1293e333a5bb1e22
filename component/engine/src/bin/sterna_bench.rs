//! Measures a random model of a named shape and prints JSON: the same program natively and in wasm.
//!
//! `sterna_bench --shape bitnet-2b-4t --head q8_0 --prompt 128 --generate 32 --reps 3 --threads 1 --isa avx2`

use std::process::ExitCode;
use std::sync::Arc;

use sterna_engine::bench::{self, BenchOptions};
use sterna_engine::synthetic;
use sterna_kernels::{DenseType, Isa};

const USAGE: &str = "usage: sterna_bench [--shape NAME] [--head f16|q8_0|q6_k|...] [--prompt N] [--generate N] \
                     [--batch N] [--chunk N] [--reps N] [--threads N] [--isa NAME]";

fn main() -> ExitCode {
    match run() {
        Ok(json) => {
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("sterna_bench: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, String> {
    let mut shape = "bitnet-2b-4t".to_string();
    let mut head = DenseType::Q8_0;
    let mut options = BenchOptions::new(Isa::from_env().map_err(|error| error.to_string())?);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or(USAGE)?;
        let number = || {
            value
                .parse::<usize>()
                .map_err(|_| format!("{name} {value}: not a number\n{USAGE}"))
        };
        let positive = || match number()? {
            0 => Err(format!("{name}: must be at least 1")),
            count => Ok(count),
        };
        match name.as_str() {
            "--shape" => shape = value,
            "--head" => head = dense_type(&value)?,
            "--isa" => options.isa = Isa::from_name(&value).map_err(|error| error.to_string())?,
            "--generate" => options.generate = number()?,
            "--prompt" => options.prompt = positive()?,
            "--batch" => options.batch = positive()?,
            "--chunk" => options.prefill_chunk = positive()?,
            "--reps" => options.reps = positive()?,
            "--threads" => options.threads = positive()?,
            _ => return Err(format!("unknown argument {name}\n{USAGE}")),
        }
    }
    let model = synthetic::model(&shape, head).map_err(|error| error.to_string())?;
    let report = bench::run(&Arc::new(model), &options).map_err(|error| error.to_string())?;
    serde_json::to_string_pretty(&report).map_err(|error| error.to_string())
}

fn dense_type(name: &str) -> Result<DenseType, String> {
    let types = [
        DenseType::F32,
        DenseType::F16,
        DenseType::Bf16,
        DenseType::Q8_0,
        DenseType::Q6K,
    ];
    types
        .into_iter()
        .find(|ty| ty.name() == name)
        .ok_or_else(|| {
            let names: Vec<&str> = types.iter().map(|ty| ty.name()).collect();
            format!("--head {name}: one of {}", names.join(", "))
        })
}
