//! `sterna synth`: a GGUF file of a known shape with random weights.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;

use anyhow::Context;
use clap::ValueEnum;
use sterna_engine::convert::ConvertError;
use sterna_engine::synthetic::{self, FileOptions, FileType, TableType};
use sterna_kernels::DenseType;

use crate::model_source::byte_bar;
use crate::output::Scratch;
use crate::say;

/// Write a file of random weights
///
/// A GGUF of a known shape, to measure loading and serving with, here or with other programs,
/// without a download. What it generates is noise. Its tokenizer has a token for each byte,
/// ChatML's special tokens and words of no sense; the same shape, types and seed give the same
/// file.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// bonsai-1.7b, bonsai-4b, bonsai-8b, bonsai-tiny, bitnet-2b-4t, bitnet-0.7b, bitnet-3b or tiny
    shape: String,

    /// The type of its matrices; with a scale for each group only for the bonsai shapes
    #[arg(value_enum)]
    r#type: Type,

    /// The file to write
    output: PathBuf,

    /// Type of embedding and head [default: as published files have it: q4_k beside tq1_0 and
    /// tq2_0, f16 beside i2_s, else the type itself]
    #[arg(long, value_enum)]
    head: Option<Head>,

    /// Layers, in place of the shape's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    layers: Option<u16>,

    /// Seed of the weights
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Type {
    /// Binary, a scale for each 128 weights.
    #[value(name = "q1_0")]
    Q1_0,
    /// Ternary in 2 bits, a scale for each 128 weights, as PrismML publishes it under this name.
    #[value(name = "q2_0")]
    Q2_0,
    /// The same with a scale for each 64: llama.cpp's Q2_0.
    #[value(name = "q2_0_g64")]
    Q2_0G64,
    /// Ternary in 2 bits, a scale for each 128 weights, under an id of its own.
    #[value(name = "pq2_0")]
    Pq2_0,
    /// Ternary in 1.6 bits, a scale for each 256 weights.
    #[value(name = "tq1_0")]
    Tq1_0,
    /// Ternary in 2 bits, a scale for each 256 weights.
    #[value(name = "tq2_0")]
    Tq2_0,
    /// Ternary in 2 bits, one scale a matrix: BitNet's files.
    #[value(name = "i2_s")]
    I2S,
    /// Ternary weights as halves.
    #[value(name = "f16")]
    F16,
}

impl From<Type> for FileType {
    fn from(ty: Type) -> Self {
        match ty {
            Type::Q1_0 => FileType::Q1_0,
            Type::Q2_0 => FileType::Q2_0,
            Type::Q2_0G64 => FileType::Q2_0G64,
            Type::Pq2_0 => FileType::Pq2_0,
            Type::Tq1_0 => FileType::Tq1_0,
            Type::Tq2_0 => FileType::Tq2_0,
            Type::I2S => FileType::I2S,
            Type::F16 => FileType::F16,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Head {
    #[value(name = "f32")]
    F32,
    #[value(name = "f16")]
    F16,
    #[value(name = "bf16")]
    Bf16,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q6_k")]
    Q6K,
    #[value(name = "q4_0")]
    Q4_0,
    #[value(name = "q4_k")]
    Q4K,
}

impl From<Head> for TableType {
    fn from(head: Head) -> Self {
        match head {
            Head::F32 => TableType::Dense(DenseType::F32),
            Head::F16 => TableType::Dense(DenseType::F16),
            Head::Bf16 => TableType::Dense(DenseType::Bf16),
            Head::Q8_0 => TableType::Dense(DenseType::Q8_0),
            Head::Q6K => TableType::Dense(DenseType::Q6K),
            Head::Q4_0 => TableType::Q4_0,
            Head::Q4K => TableType::Q4K,
        }
    }
}

/// The unfinished file.
const PART: &str = "model.gguf";

/// Write it.
///
/// # Errors
/// A shape and type that do not go together, or a file that cannot be written; what was there
/// before is then still there.
pub fn main(args: &Args) -> anyhow::Result<()> {
    let options = FileOptions {
        weights: args.r#type.into(),
        table: args.head.map(Into::into),
        layers: args.layers.map(usize::from),
        seed: args.seed,
    };
    let output = args.output.display();
    let scratch = Scratch::beside(&args.output)?;
    let part = scratch.path().join(PART);
    let file = File::create(&part).with_context(|| format!("cannot write {output}"))?;
    let bar = byte_bar("writing");
    let file = BufWriter::with_capacity(1 << 20, file);
    let written = synthetic::write(&args.shape, &options, file, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let n_bytes = written
        .map_err(|error| match error {
            // Named by what was asked for.
            ConvertError::Write { source, .. } => ConvertError::Write {
                path: args.output.clone(),
                source,
            },
            other => other,
        })
        .with_context(|| format!("cannot make a file of {}", args.shape))?;
    scratch.publish(PART, &args.output)?;
    say::line(format_args!("{output}: {:.1} MB", n_bytes as f64 / 1e6));
    Ok(())
}
