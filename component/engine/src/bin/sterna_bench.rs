//! Measures a model of a named shape, with random weights, and prints JSON: the same program
//! natively and in wasm.
//!
//! `sterna_bench --shape bitnet-2b-4t --head q8_0 --prompt 128 --generate 32 --reps 3 --threads 1
//! --isa avx2`

use std::io::Read;
use std::process::ExitCode;
use std::sync::Arc;

use sterna_engine::bench::{self, BenchOptions};
use sterna_engine::files::LoadOptions;
use sterna_engine::model::Model;
use sterna_engine::optimisations::Optimisations;
use sterna_engine::synthetic::{self, Stored};
use sterna_kernels::{DenseType, GroupCodes, Isa, KvType, TernaryLayout};

const USAGE: &str = "usage: sterna_bench [--shape NAME [--zeros SHARE] [--weights q1_0|q2_0]] [--head f16|q8_0|q6_k|...] [--layout i2_s|trits5] [--depth N] [--prompt N] [--generate N] \
                     [--batch N] [--kv-type f32|f16|int8] [--chunk N] [--reps N] [--threads N] [--isa NAME] [--without NAME,...] [--speculation]\n\
                     --shape - takes a GGUF from standard input, --shape PATH a model's file or directory";

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
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

fn run(arguments: impl Iterator<Item = String>) -> Result<String, String> {
    let Arguments {
        shape,
        head,
        codes,
        layout,
        zeros,
        mut options,
    } = parse(arguments)?;
    let mut model = if shape == "-" {
        from_stdin()?
    } else if shape.contains('/') || shape.ends_with(".gguf") {
        Model::load(shape.as_ref(), &LoadOptions::default(), &mut |_, _| ())
            .map_err(|error| error.to_string())?
    } else {
        let stored = codes.map_or_else(|| Stored::of_shape(&shape, head), Stored::Groups);
        synthetic::sparse_model(&shape, stored, zeros).map_err(|error| error.to_string())?
    };
    if let Some(layout) = layout {
        model.to_layout(layout).map_err(|error| error.to_string())?;
        options.optimisations.trits5 = false;
    }
    #[cfg(feature = "native")]
    model.pack_owned(options.optimisations, options.isa, options.threads);
    let report = bench::run(&Arc::new(model), &options).map_err(|error| error.to_string())?;
    serde_json::to_string_pretty(&report).map_err(|error| error.to_string())
}

struct Arguments {
    shape: String,
    head: DenseType,
    codes: Option<GroupCodes>,
    layout: Option<TernaryLayout>,
    zeros: f64,
    options: BenchOptions,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut shape = "bitnet-2b-4t".to_string();
    let mut head = DenseType::Q8_0;
    let mut zeros = 0.0;
    let mut layout = None;
    let mut codes = None;
    let mut options = BenchOptions::new(Isa::from_env().map_err(|error| error.to_string())?);
    while let Some(name) = arguments.next() {
        if name == "--speculation" {
            options.speculation = true;
            continue;
        }
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
            "--zeros" => {
                zeros = value
                    .parse()
                    .map_err(|_| format!("--zeros {value}: not a number\n{USAGE}"))?;
            }
            "--layout" => {
                let named = TernaryLayout::from_name(&value);
                layout = Some(named.ok_or_else(|| format!("--layout {value}: i2_s or trits5"))?);
            }
            "--weights" => {
                codes = Some(match value.as_str() {
                    "q1_0" => GroupCodes::Binary,
                    "q2_0" => GroupCodes::Ternary,
                    _ => return Err(format!("--weights {value}: q1_0 or q2_0")),
                });
            }
            "--head" => head = dense_type(&value)?,
            "--isa" => options.isa = Isa::from_name(&value).map_err(|error| error.to_string())?,
            "--generate" => options.generate = number()?,
            "--depth" => options.depth = number()?,
            "--prompt" => options.prompt = positive()?,
            "--batch" => options.batch = positive()?,
            "--chunk" => options.prefill_chunk = positive()?,
            "--kv-type" => {
                options.kv_type = KvType::from_name(&value)
                    .ok_or_else(|| format!("--kv-type {value}: f32, f16 or int8"))?;
            }
            "--reps" => options.reps = positive()?,
            "--threads" => options.threads = positive()?,
            "--without" => options.optimisations = Optimisations::without(&value)?,
            _ => return Err(format!("unknown argument {name}\n{USAGE}")),
        }
    }
    Ok(Arguments {
        shape,
        head,
        codes,
        layout,
        zeros,
        options,
    })
}

fn from_stdin() -> Result<Model, String> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot read standard input: {error}"))?;
    Model::from_gguf_bytes("stdin", bytes.into()).map_err(|error| error.to_string())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(arguments: &[&str]) -> String {
        run(arguments.iter().map(ToString::to_string)).expect_err("wrong arguments")
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (arguments, expected) in [
            (&["--prompt", "0"][..], "--prompt: must be at least 1"),
            (&["--zeros", "few"], "--zeros few: not a number"),
            (&["--zeros", "2", "--shape", "tiny"], "no share"),
            (&["--reps", "many"], "--reps many: not a number"),
            (&["--threads"], "usage:"),
            (&["--fast", "1"], "unknown argument --fast"),
            (&["--shape", "cube"], "bitnet-2b-4t"),
            (&["--head", "q2"], "q6_k"),
            (&["--weights", "q4"], "q2_0"),
            (&["--layout", "t6"], "--layout t6: i2_s or trits5"),
            (&["--kv-type", "q4"], "--kv-type q4: f32, f16 or int8"),
            (&["--isa", "sse9"], "scalar"),
            (&["--without", "warp"], "huge-pages"),
        ] {
            let reason = refusal(arguments);
            assert!(reason.contains(expected), "{arguments:?}: {reason}");
        }
    }
}
