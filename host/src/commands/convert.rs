//! `sterna convert`: a model in any format we read, as a GGUF that loads in milliseconds.

use std::path::PathBuf;

use anyhow::Context;
use sterna_engine::convert::{ConvertError, ConvertOptions, convert};

use crate::head_type::HeadType;
use crate::layout_type::LayoutType;
use crate::memory::lost_pages;
use crate::model_source::byte_bar;
use crate::output::Scratch;
use crate::reading::ReadArgs;
use crate::say;

/// Write a model as a GGUF file
///
/// BitNet's linears become I2_S (2 bits a weight), as bitnet.cpp's tools read it. `--layout trits5`
/// stores the same weights in 1.67 bits each, for Sterna alone: a cache of a standard file, from
/// which `--layout i2_s` makes one again. Matrices with a scale for each group (Bonsai, TriLM)
/// become tiles, which Sterna alone reads too: ternary ones in 2 bits, or in 1.625 with `--layout
/// trits8`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A GGUF file or a Hugging Face directory
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

    /// `general.name` of the file [default: the source's]
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,

    /// `general.license` of the file [default: the source's]
    #[arg(long, value_name = "TEXT")]
    license: Option<String>,

    #[command(flatten)]
    reading: ReadArgs,
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
        name: args.name.clone(),
        license: args.license.clone(),
        load: args.reading.options(),
        ..ConvertOptions::default()
    };
    lost_pages::tell_of(&args.model);
    let scratch = Scratch::beside(&args.output)?;
    let bar = byte_bar("converting");
    let part = scratch.path().join(PART);
    let report = convert(&args.model, &part, &options, &mut |done, total| {
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
    say::line(format_args!(
        "{}: {:.1} MB",
        args.output.display(),
        report.n_bytes as f64 / 1e6
    ));
    Ok(())
}
