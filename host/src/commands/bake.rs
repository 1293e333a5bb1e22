//! `sterna bake`: a model and the server around it as one `.wasm` file, with the model already
//! loaded.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use indicatif::ProgressBar;
use sterna_engine::convert::{ConvertOptions, convert};
use sterna_engine::files;
use sterna_engine::files::LoadOptions;
use sterna_engine::matrix::{Matrix, Table};
use sterna_engine::model::Model;
use sterna_engine::weights::Layer;
use sterna_kernels::{DenseType, GroupCodes, TernaryLayout};

use crate::assets::Assets;
use crate::commands::compose::{KERNELS_STUB, Target, compose};
use crate::head_type::HeadType;
use crate::late_data::{LateData, module_with_memory};
use crate::layout_type::LayoutType;
use crate::memory::lost_pages;
use crate::model_source::{DEMO, byte_bar};
use crate::output::Scratch;
use crate::pre_init::pre_initialise;
use crate::sandbox::mark_engine;
use crate::{say, wasm_config};

/// Write a model and its server as one WebAssembly component, with the model already loaded
///
/// The result imports nothing but WASI, reads no file, and answers its first request without any
/// start-up work. Serve it with any WASI 0.2 HTTP runtime, for example: wasmtime serve -Scli
/// app.wasm (`--spin` writes one for Spin alone, `--wasi 0.3` one for runtimes of that level.)
/// `sterna serve app.wasm` serves it too, and lends it this machine's kernels and threads.
///
/// A WebAssembly module holds 1 GiB at most. Where a model is larger, choose a smaller head or
/// `--layout trits5` (BitNet), `--layout trits8` (Bonsai), or serve its file with
/// `sterna serve --model`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A GGUF file or a Hugging Face directory. Without it: the small demo model inside this
    /// program
    #[arg(short, long, env = "STERNA_MODEL", value_name = "PATH")]
    model: Option<PathBuf>,

    /// The name clients select the model by [default: the file's name without its ending]
    #[arg(long, env = "STERNA_MODEL_NAME", value_name = "ID")]
    model_name: Option<String>,

    /// The file to write
    #[arg(short, long, value_name = "PATH", default_value = "app.wasm")]
    output: PathBuf,

    /// Storage type of embedding and output head [default: as the source has them, else f16]
    #[arg(long, value_enum)]
    head: Option<HeadType>,

    /// Layout of ternary matrices [default: as the source has them, else 2 bits]. trits5 and trits8
    /// are a sixth smaller and slower in WebAssembly: for a model that does not fit otherwise
    #[arg(long, value_enum)]
    layout: Option<LayoutType>,

    /// Also compile the engine for this machine's CPU, into a file beside it that ends with .cwasm:
    /// `sterna serve` starts it in milliseconds, whatever its size
    #[arg(long)]
    aot: bool,

    #[command(flatten)]
    target: Target,
}

/// A core module of a component, and a component in a component, may be this large: the limit of
/// every runtime and tool on wasmparser.
const MODULE_BYTES: u64 = 1 << 30;
/// The size of a baked engine without the model's file: code, the tokenizer's tables.
const ENGINE_BYTES: u64 = 32 << 20;

/// Bake and write.
///
/// # Errors
/// The model cannot be read or is too large, or a file cannot be written; what was there before is
/// then still there.
pub fn main(args: &Args, assets: &Assets) -> anyhow::Result<()> {
    let start = Instant::now();
    // Beside the output: the disk that has room for it, and a rename away from its place.
    let scratch = Scratch::beside(&args.output)?;
    if let Some(model) = &args.model {
        lost_pages::tell_of(model);
    }
    let gguf = prepare(args, assets, scratch.path())?;
    check_size(&gguf)?;

    let step = Step::start("loading it inside the engine component");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let engine = args.target.engine(assets);
    let loaded = runtime.block_on(pre_initialise(engine, &gguf, &id(args)))?;
    let data = LateData::of(loaded.memory());
    let engine = mark_engine(loaded.component.clone());
    let module = module_with_memory(&engine)?;
    let baked = data.put_into(&engine, module)?;
    if baked.n_bytes() > MODULE_BYTES {
        return Err(too_large(&gguf, baked.n_bytes()));
    }
    step.end("loaded it inside the engine component", baked.n_bytes());
    // Its room is needed no more.
    std::fs::remove_file(&gguf)?;

    let step = Step::start("composing it with the HTTP component");
    let providers = [
        (KERNELS_STUB, assets.kernels_stub_wasm),
        ("sterna:engine", engine.as_slice()),
        args.target.config(assets),
    ];
    let app = compose(args.target.api(assets), &providers)?;
    let app = data.put_into(&app, module)?;
    scratch.write_with(&args.output, |file| app.write(file))?;
    let app_bytes = app.n_bytes();
    step.end("composed it with the HTTP component", app_bytes);

    if args.aot {
        let step = Step::start("compiling it ahead of time");
        let file = scratch.path().join("engine.wasm");
        scratch.write_with(&file, |out| baked.write(out))?;
        // The compiler takes all of it in memory: once is enough.
        drop((app, baked, data));
        drop(loaded);
        let compiled = wasm_config::precompile_engine(&std::fs::read(file)?)?;
        let path = args.output.with_extension("cwasm");
        scratch.write(&compiled, &path)?;
        step.end("compiled it ahead of time", compiled.len() as u64);
        say::line(format_args!(
            "{}: {}",
            path.display(),
            size(compiled.len() as u64)
        ));
    }
    say::line(format_args!(
        "{}: {} in {:.1} s",
        args.output.display(),
        size(app_bytes),
        start.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// The model as one GGUF in the kernels' own layouts: the component then reads it to its final
/// place, and leaves no freed heap behind.
fn prepare(args: &Args, assets: &Assets, scratch: &Path) -> anyhow::Result<PathBuf> {
    let demo = scratch.join("demo.gguf");
    let source = match &args.model {
        Some(path) => path,
        None => {
            std::fs::write(&demo, assets.demo_model)
                .with_context(|| format!("cannot write {}", demo.display()))?;
            &demo
        }
    };
    let options = ConvertOptions {
        head: args.head.map(Into::into),
        layout: args.layout.and_then(LayoutType::one_scale),
        groups: args.layout.and_then(LayoutType::groups),
        ..ConvertOptions::default()
    };
    let start = Instant::now();
    let bar = byte_bar("converting");
    let gguf = scratch.join("model.gguf");
    let converted = convert(source, &gguf, &options, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let converted =
        converted.with_context(|| format!("cannot read the model {}", source.display()))?;
    for note in converted.notes {
        say::note(note);
    }
    print_step("converted the model", converted.n_bytes, start);
    Ok(gguf)
}

/// The name clients select the model by.
fn id(args: &Args) -> String {
    match (&args.model_name, &args.model) {
        (Some(name), _) => name.clone(),
        (None, Some(path)) => files::stem(path),
        (None, None) => DEMO.to_owned(),
    }
}

/// Refuse what cannot be baked before the slow part begins.
fn check_size(gguf: &Path) -> anyhow::Result<()> {
    let needed = gguf.metadata()?.len() + ENGINE_BYTES;
    if needed > MODULE_BYTES {
        return Err(too_large(gguf, needed));
    }
    Ok(())
}

/// The size, the limit, and the forms in which it would fit.
fn too_large(gguf: &Path, needed: u64) -> anyhow::Error {
    let model = Model::load(gguf, &LoadOptions::default(), &mut |_, _| ());
    let remedy = model.map_or_else(|_| String::new(), |model| remedy(&model, needed));
    anyhow!(
        "the model takes {} as a component, and a WebAssembly module holds {} at most: {remedy}or serve its \
         file with `sterna serve --model`, which has no such limit",
        size(needed),
        size(MODULE_BYTES)
    )
}

/// What to do about a model that needs so many bytes as it is.
fn remedy(model: &Model, needed: u64) -> String {
    if let Some(smallest) = in_trits8(model, needed) {
        return if smallest <= MODULE_BYTES {
            format!("choose --layout trits8 ({}), ", size(smallest))
        } else {
            format!(
                "its smallest layout, trits8, takes {}; choose a smaller model, ",
                size(smallest)
            )
        };
    }
    let heads = smaller_forms(model, needed);
    if heads.is_empty() {
        "no head type makes it small enough, with either layout, ".into()
    } else {
        format!("choose {}, ", heads.join(" or "))
    }
}

/// The bytes that a model of group-scaled matrices needs with ternary ones in trits8; `None` of
/// other models.
fn in_trits8(model: &Model, needed: u64) -> Option<u64> {
    let weights = &model.weights;
    let tables = [Some(&weights.embedding), weights.head.as_ref()];
    let tables = tables
        .into_iter()
        .flatten()
        .filter_map(|table| match table {
            Table::Grouped(grouped) => Some(grouped),
            Table::Dense(_) => None,
        });
    let matrices = weights.layers.iter().flat_map(Layer::matrices);
    let matrices = matrices.filter_map(|matrix| match matrix {
        Matrix::Grouped(grouped) => Some(grouped),
        Matrix::Ternary(_) => None,
    });
    let mut smallest = None;
    for grouped in tables.chain(matrices) {
        let smaller = match grouped.shape().codes() {
            GroupCodes::Ternary => grouped
                .shape()
                .with_codes(GroupCodes::Trits8)
                .packed_bytes(),
            GroupCodes::Binary | GroupCodes::Trits8 => grouped.bytes().len(),
        };
        let saved = grouped.bytes().len() - smaller;
        smallest = Some(smallest.unwrap_or(needed) - saved as u64);
    }
    smallest
}

/// The options that would make it fit, with the sizes they give.
fn smaller_forms(model: &Model, needed: u64) -> Vec<String> {
    let weights = &model.weights;
    let tables = || {
        [Some(&weights.embedding), weights.head.as_ref()]
            .into_iter()
            .flatten()
    };
    let present: usize = tables().map(|table| table.bytes().len()).sum();
    let linears = || weights.layers.iter().flat_map(Layer::linears);
    let packed: usize = linears().map(|linear| linear.packed().len()).sum();
    let trits5: usize = linears()
        .map(|linear| TernaryLayout::Trits5.bytes(linear.rows(), linear.cols()))
        .sum();
    let saved = packed.saturating_sub(trits5) as u64;
    let heads = [HeadType::F16, HeadType::Q8_0, HeadType::Q6K].into_iter();
    let heads = heads.filter_map(|head| {
        let bytes = tables()
            .map(|table| {
                let [rows, cols] = table.shape();
                Some(rows * DenseType::from(head).row_bytes(cols)?)
            })
            .sum::<Option<usize>>()?;
        let needed = needed - present as u64 + bytes as u64;
        let name = head.to_possible_value()?.get_name().to_owned();
        if needed <= MODULE_BYTES {
            Some(format!("--head {name} ({})", size(needed)))
        } else {
            let needed = needed - saved;
            (needed <= MODULE_BYTES)
                .then(|| format!("--head {name} --layout trits5 ({})", size(needed)))
        }
    });
    heads.collect()
}

fn size(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "for reading")]
    let megabytes = bytes as f64 / 1e6;
    format!("{megabytes:.1} MB")
}

/// A part of the work, with a spinner where a person watches, and one line when it is done.
struct Step {
    spinner: ProgressBar,
    start: Instant,
}

impl Step {
    fn start(what: &'static str) -> Self {
        let spinner = ProgressBar::new_spinner().with_message(what);
        spinner.enable_steady_tick(Duration::from_millis(100));
        Step {
            spinner,
            start: Instant::now(),
        }
    }

    fn end(self, what: &str, n_bytes: u64) {
        self.spinner.finish_and_clear();
        print_step(what, n_bytes, self.start);
    }
}

fn print_step(what: &str, n_bytes: u64, start: Instant) {
    say::line(format_args!(
        "{what:<40} {:>10} {:>7.1} s",
        size(n_bytes),
        start.elapsed().as_secs_f64()
    ));
}

#[cfg(test)]
mod tests {
    use sterna_engine::config::ModelConfig;
    use sterna_engine::convert::save;
    use sterna_engine::synthetic::{self, Stored};

    use super::*;

    #[test]
    fn what_is_too_large_is_told_the_heads_that_fit() {
        let folder = tempfile::tempdir().unwrap();
        let gguf = folder.path().join("tiny.gguf");
        let options = ConvertOptions {
            head: Some(DenseType::F32),
            ..ConvertOptions::default()
        };
        let model = synthetic::model("tiny", DenseType::F32).unwrap();
        save(&model, &gguf, &options, &mut |_, _| ()).unwrap();
        // A table of 512 x 256: f32 takes 524 288 bytes, f16 half of that, q8_0 139 264.
        let over = |bytes| too_large(&gguf, MODULE_BYTES + bytes).to_string();
        let message = over(262_144);
        assert!(message.contains("1074.0 MB as a component"), "{message}");
        assert!(message.contains("holds 1073.7 MB at most"), "{message}");
        assert!(
            message.contains("choose --head f16 (1073.7 MB) or --head q8_0"),
            "{message}"
        );
        let message = over(300_000);
        assert!(
            message.contains("--head f16 --layout trits5 (") && message.contains("--head q8_0 ("),
            "{message}"
        );
        let tied = synthetic::shape("bonsai-1.7b").map(|config| ModelConfig {
            vocab_size: 512,
            n_layers: 1,
            ..config
        });
        let stored = Stored::Groups(GroupCodes::Ternary);
        let model = synthetic::from_config("t", tied.unwrap(), true, stored, 1).unwrap();
        let [two_bits, trits8] = [2.125, 1.75].map(|bits| {
            // Norms are no matrices.
            (f64::from(u32::try_from(model.parameters()).unwrap()) * bits / 8.0) as u64
        });
        let saved = in_trits8(&model, MODULE_BYTES)
            .unwrap()
            .abs_diff(MODULE_BYTES);
        assert!(saved.abs_diff(two_bits - trits8) < 10_000, "{saved}");
        let fits = remedy(&model, MODULE_BYTES + saved);
        assert_eq!(fits, "choose --layout trits8 (1073.7 MB), ");
        let too_large = remedy(&model, 2 * MODULE_BYTES);
        assert!(
            too_large.contains("smallest layout, trits8, takes 21"),
            "{too_large}"
        );
        let message = over(524_288);
        assert!(
            message.contains("no head type makes it small enough"),
            "{message}"
        );
        assert!(message.contains("sterna serve --model"), "{message}");
    }
}
