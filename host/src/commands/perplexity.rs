//! `sterna perplexity`: how well a model predicts a text.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use sterna_engine::files::LoadOptions;
use sterna_engine::model::Model;
use sterna_engine::optimisations::Optimisations;
use sterna_engine::perplexity::{Cut, PerplexityOptions, perplexity};
use sterna_engine::placement::Bytes;
use sterna_kernels::Isa;

use crate::assets::Assets;
use crate::kv_type::KvTypeArgs;
use crate::machine::Machine;
use crate::memory::lost_pages;
use crate::model_source::{DEMO, load};
use crate::reading::ReadArgs;
use crate::registry_tools::find_model;
use crate::say;

/// Measure how well a model predicts a text
///
/// Prints the mean negative log likelihood of its tokens in nats, and the perplexity, which is e to
/// the power of it. A text longer than the context is cut; figures of different cuts are not
/// comparable. `--cut windows` is what transformers' documentation does, with its `max_length` as
/// --context and its `stride`: every token is scored once, but for the first of a window that no
/// earlier one overlaps. `--cut halves` is llama.cpp's llama-perplexity with -c as --context: the
/// second half of each window is scored, and the end of the text that fills none is left out.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The text, UTF-8; `-` reads it from stdin
    #[arg(value_name = "FILE")]
    text: PathBuf,

    /// A GGUF file or a Hugging Face directory [default: the demo model inside this program]
    #[arg(short, long, env = "STERNA_MODEL", value_name = "PATH")]
    model: Option<PathBuf>,

    /// What its files do not say.
    #[command(flatten)]
    reading: ReadArgs,

    /// Tokens of a window [default: 512, or the model's context if that is shorter]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    context: Option<u32>,

    /// How keys and values are cached.
    #[command(flatten)]
    kv_type: KvTypeArgs,

    /// How a text longer than the context is cut
    #[arg(long, value_enum, default_value_t = How::Windows)]
    cut: How,

    /// Tokens from a window's beginning to the next one's, with `--cut windows`; fewer give every
    /// token more context, and take longer [default: the context]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    stride: Option<u32>,

    /// Leave out the tokens that the model's tokenizer puts around a text
    #[arg(long)]
    no_special: bool,

    /// Threads that compute [default: the CPUs this process may use]
    #[arg(short, long, env = "STERNA_THREADS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,

    /// Instruction set of the kernels [default: the best this machine has]
    #[arg(long, env = "STERNA_ISA", value_name = "NAME")]
    isa: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// See [`Cut`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum How {
    /// As transformers' documentation
    Windows,
    /// As llama.cpp's llama-perplexity
    Halves,
}

/// Tokens of a window where nothing is said: llama.cpp's default.
const CONTEXT: usize = 512;

/// The largest text: hundreds of times WikiText-2's.
const MAX_TEXT_BYTES: u64 = 256 << 20;

/// Load, measure, print.
///
/// # Errors
/// The model or the text cannot be read, an option is out of range, or the text too short.
pub fn main(args: &Args, assets: &'static Assets) -> anyhow::Result<()> {
    let isa = match &args.isa {
        Some(name) => Isa::from_name(name).context("--isa (or STERNA_ISA)")?,
        None => Isa::detect(),
    };
    if args.stride.is_some() && args.cut == How::Halves {
        bail!("--stride is for --cut windows: leave it out");
    }
    let text = read(&args.text).with_context(|| format!("cannot read {}", args.text.display()))?;
    let threads = Machine::of(isa, args.threads).threads;
    let optimisations = Optimisations::ALL;
    let mut model = match &args.model {
        Some(path) => {
            let path = find_model(path)?;
            lost_pages::tell_of(&path);
            let options = LoadOptions {
                trits8: optimisations.wants_trits8(isa, threads),
                ..args.reading.options()
            };
            load(&path, &options)?
        }
        None => Model::from_gguf_bytes(DEMO, Bytes::from_static(assets.demo_model))
            .context("cannot load the demo model")?,
    };
    model.pack_owned(optimisations, isa, threads);
    let model = Arc::new(model);
    let context = args
        .context
        .map_or_else(|| CONTEXT.min(model.config.context_length), |n| n as usize);
    let stride = match args.cut {
        How::Windows => Some(args.stride.map_or(context, |n| n as usize)),
        How::Halves => None,
    };
    let tokens = model.tokenize(&text, !args.no_special)?;
    let options = PerplexityOptions {
        context,
        cut: stride.map_or(Cut::Halves, |stride| Cut::Windows { stride }),
        kv_type: args.kv_type.get(),
        isa,
        threads,
    };
    let bar = token_bar();
    let start = Instant::now();
    let measured = perplexity(&model, &tokens, &options, &mut |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let measured = measured?;
    let seconds = start.elapsed().as_secs_f64();
    let value = measured.perplexity();
    if args.json {
        let cut = args.cut.to_possible_value();
        say::line(format_args!(
            "{:#}",
            json!({
                "model": model.id,
                "context": context,
                "cut": cut.as_ref().map(|cut| cut.get_name()),
                "stride": stride,
                "tokens": measured.tokens,
                "windows": measured.windows,
                "scored_tokens": measured.scored,
                "mean_nll": measured.mean_nll,
                "mean_nll_standard_error": measured.standard_error,
                "perplexity": value,
                "isa": isa.name(),
                "threads": threads,
                "seconds": seconds,
            })
        ));
        return Ok(());
    }
    say::line(format_args!(
        "perplexity {value:.4} +/- {:.4}, mean negative log likelihood {:.6} nats",
        value * measured.standard_error,
        measured.mean_nll
    ));
    say::line(format_args!(
        "{} of {} tokens scored, in {} windows of {context}; {seconds:.1} s",
        measured.scored, measured.tokens, measured.windows
    ));
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        sterna_engine::files::refuse_special(path)?;
        Box::new(std::fs::File::open(path)?)
    };
    input.take(MAX_TEXT_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_TEXT_BYTES {
        bail!(
            "it is larger than {} MiB: give a part of it",
            MAX_TEXT_BYTES >> 20
        );
    }
    Ok(text)
}

/// A progress bar over tokens; it hides itself where stderr is no terminal.
fn token_bar() -> ProgressBar {
    let bar = ProgressBar::new(0).with_message("scoring");
    match ProgressStyle::with_template("{msg} {bar:32} {pos}/{len} tokens {eta}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
