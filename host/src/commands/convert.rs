//! `sterna convert`: a model in any format we read, as a GGUF that loads in milliseconds.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::ValueEnum;
use sterna_engine::convert::{ConvertError, ConvertOptions, convert};
use sterna_engine::files::BlockType;

use crate::baked_size::size;
use crate::head_type::HeadType;
use crate::layout_type::LayoutType;
use crate::memory::lost_pages;
use crate::model_source::byte_bar;
use crate::output::Scratch;
use crate::reading::ReadArgs;
use crate::registry_tools::find_model;
use crate::say;

/// Write a model as a GGUF file
///
/// BitNet's linears become I2_S (2 bits a weight), as bitnet.cpp's tools read it. `--layout trits5`
/// stores the same weights in 1.67 bits each, for Sterna alone: a cache of a standard file, from
/// which `--layout i2_s` makes one again. Matrices with a scale for each group (Bonsai, TriLM)
/// become tiles, which Sterna alone reads too: ternary ones in 2 bits, or in 1.625 with `--layout
/// trits8`.
/// `--type` writes either in a type of llama.cpp's instead. What was written is read back and
/// compared, and each tensor that is not exactly what it was is named with its error.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A GGUF file, a Hugging Face directory, or a name that `sterna pull` takes
    model: PathBuf,

    /// The file to write
    #[arg(short, long, value_name = "PATH")]
    output: PathBuf,

    /// Storage type of embedding and output head [default: as the source has them, else f16]
    #[arg(long, value_enum)]
    head: Option<HeadType>,

    /// Layout of ternary matrices [default: as the source has them, else 2 bits]
    #[arg(long, value_enum)]
    layout: Option<LayoutType>,

    /// Standard type of binary and ternary matrices, in place of a layout of Sterna's own: for
    /// other programs, which read it too. Sterna packs it anew at each start
    #[arg(
        long = "type",
        value_enum,
        value_name = "TYPE",
        conflicts_with = "layout"
    )]
    blocks: Option<StandardType>,

    /// Weights that share a scale, with `--type q2_0`: 128 as in PrismML's files, 64 as in
    /// llama.cpp's [default: 128]
    #[arg(long, value_name = "N", requires = "blocks", value_parser = ["64", "128"])]
    group: Option<String>,

    /// With `--type`: make one scale of several where the source has smaller groups. The model gets
    /// worse; by how much is printed
    #[arg(long, requires = "blocks")]
    requantize: bool,

    /// `general.name` of the file [default: the source's]
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,

    /// `general.license` of the file [default: the source's]
    #[arg(long, value_name = "TEXT")]
    license: Option<String>,

    #[command(flatten)]
    reading: ReadArgs,
}

/// A type of ggml's with a scale for each group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StandardType {
    /// Binary, 1.125 bits a weight, groups of 128
    #[value(name = "q1_0")]
    Q1_0,
    /// Ternary, 2.125 bits a weight in groups of 128, 2.25 in groups of 64
    #[value(name = "q2_0")]
    Q2_0,
    /// Ternary, 1.69 bits a weight, groups of 256
    #[value(name = "tq1_0")]
    Tq1_0,
    /// Ternary, 2.06 bits a weight, groups of 256
    #[value(name = "tq2_0")]
    Tq2_0,
}

impl Args {
    /// The type that is asked for, if one is.
    fn blocks(&self) -> anyhow::Result<Option<BlockType>> {
        if self.group.is_some() && self.blocks != Some(StandardType::Q2_0) {
            bail!("--group: the groups of the other types are of one size; leave it out");
        }
        Ok(self.blocks.map(|ty| match (ty, self.group.as_deref()) {
            (StandardType::Q1_0, _) => BlockType::Q1_0,
            (StandardType::Q2_0, Some("64")) => BlockType::Q2_0G64,
            (StandardType::Q2_0, _) => BlockType::Q2_0G128,
            (StandardType::Tq1_0, _) => BlockType::Tq1_0,
            (StandardType::Tq2_0, _) => BlockType::Tq2_0,
        }))
    }
}

/// The unfinished file.
const PART: &str = "model.gguf";

/// Convert.
///
/// # Errors
/// The source cannot be read, or the file not written; what was there before is then still there.
pub fn main(args: &Args) -> anyhow::Result<()> {
    let options = ConvertOptions {
        head: args.head.map(Into::into),
        layout: args.layout.and_then(LayoutType::one_scale),
        groups: args.layout.and_then(LayoutType::groups),
        blocks: args.blocks()?,
        requantize: args.requantize,
        name: args.name.clone(),
        license: args.license.clone(),
        load: args.reading.options(),
        ..ConvertOptions::default()
    };
    let model = find_model(&args.model)?;
    lost_pages::tell_of(&model);
    let scratch = Scratch::beside(&args.output)?;
    let bar = byte_bar("converting");
    let part = scratch.path().join(PART);
    let report = convert(&model, &part, &options, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let report = report
        .map_err(|error| match error {
            // Named by what was asked for.
            ConvertError::Write { source, .. } => ConvertError::Write {
                path: args.output.clone(),
                source,
            },
            other => other,
        })
        .with_context(|| format!("cannot convert {}", args.model.display()))?;
    scratch.publish(PART, &args.output)?;
    for note in report.notes {
        say::note(note);
    }
    for lossy in &report.lossy {
        say::line(format_args!(
            "{}: {} -> {}, relative error {:.2e} (root mean square), {:.1e} at most",
            lossy.tensor, lossy.from, lossy.to, lossy.relative_error, lossy.largest_error
        ));
    }
    for ty in &report.types {
        say::line(format_args!(
            "{:<28} {:>5}  {:>10}",
            ty.ty,
            ty.tensors,
            size(ty.n_bytes)
        ));
    }
    say::line(format_args!(
        "{}: {}, read back and compared",
        args.output.display(),
        size(report.n_bytes)
    ));
    Ok(())
}
