//! `sterna bake`: a model and the server around it as one `.wasm` file, with the model already
//! loaded.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use clap::ValueEnum;
use indicatif::ProgressBar;
use sterna_engine::convert::{ConvertOptions, convert};
use sterna_engine::files;
use sterna_engine::files::LoadOptions;
use sterna_engine::group_scaled::GroupedWeights;
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
use crate::reading::ReadArgs;
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

    #[command(flatten)]
    reading: ReadArgs,

    /// The name clients select the model by [default: the file's name without its ending]
    #[arg(long, env = "STERNA_MODEL_NAME", value_name = "ID")]
    model_name: Option<String>,

    /// The file to write
    #[arg(short, long, value_name = "PATH", default_value = "app.wasm")]
    output: PathBuf,

    /// Storage type of embedding and output head [default: as the source has them, else f16]
    #[arg(long, value_enum)]
    head: Option<HeadType>,

    /// Layout of ternary matrices [default: as the source has them, else 2 bits; of those with a
    /// scale for each group as many in trits8 as must be for all to fit]. trits5 and trits8 are a
    /// sixth smaller and slower in WebAssembly: for a model that does not fit otherwise
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
/// More than the padding between a model's tensors.
const PADDING_BYTES: u64 = 1 << 16;
/// The size of a baked engine without the model's file: code, the tokenizer's tables.
const ENGINE_BYTES: u64 = 32 << 20;

/// Bake and write.
///
/// # Errors
/// The model cannot be read or is too large, or a file cannot be written; what was there before is
/// then still there.
pub fn main(args: &Args, assets: &Assets) -> anyhow::Result<()> {
    let start = Instant::now();
    if args.aot && args.output.extension().is_some_and(|end| end == "cwasm") {
        bail!(
            "--output: with --aot, {} is the name of the compiled engine; give the component another ending",
            args.output.display()
        );
    }
    // Beside the output: the disk that has room for it, and a rename away from its place.
    let scratch = Scratch::beside(&args.output)?;
    if let Some(model) = &args.model {
        lost_pages::tell_of(model);
    }
    let gguf = prepare(args, assets, scratch.path())?;
    if args.layout.is_none() {
        make_fit(&gguf, scratch.path(), MODULE_BYTES - ENGINE_BYTES)?;
    }
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
        load: args.reading.options(),
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
        converted.with_context(|| format!("cannot convert the model {}", source.display()))?;
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

/// Where the file is larger than `room`, and fits if some matrices are in trits8: those are packed
/// so. They are as few as may be, since two bits are faster in WebAssembly.
fn make_fit(gguf: &Path, scratch: &Path, room: u64) -> anyhow::Result<()> {
    let excess = gguf.metadata()?.len().saturating_sub(room);
    if excess == 0 {
        return Ok(());
    }
    let model = Model::load(gguf, &LoadOptions::default(), &mut |_, _| ())?;
    let (matrices, tables) = saved_by_layouts(&model);
    // Padding between tensors may change.
    let to_save = excess + PADDING_BYTES;
    if !model.weights.is_grouped() || matrices + tables < to_save {
        return Ok(());
    }
    drop(model);
    let start = Instant::now();
    let smaller = scratch.join("smaller.gguf");
    let options = ConvertOptions {
        save_by_trits8: to_save,
        ..ConvertOptions::default()
    };
    let converted = convert(gguf, &smaller, &options, &mut |_, _| ())
        .with_context(|| format!("cannot convert the model {}", gguf.display()))?;
    std::fs::rename(&smaller, gguf)?;
    print_step(
        "packed some of it as trits8, to fit",
        converted.n_bytes,
        start,
    );
    Ok(())
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
    let forms = smaller_forms(model, needed);
    let fit = forms.iter().filter(|(_, bytes)| *bytes <= MODULE_BYTES);
    let fit: Vec<String> = fit
        .map(|(options, bytes)| format!("{options} ({})", size(*bytes)))
        .collect();
    if !fit.is_empty() {
        return format!("choose {}, ", fit.join(" or "));
    }
    let smallest = forms.iter().min_by_key(|(_, bytes)| bytes);
    smallest.map_or_else(
        || "it has no smaller form; choose a smaller model, ".into(),
        |(options, bytes)| {
            format!(
                "its smallest form, {options}, takes {}; choose a smaller model, ",
                size(*bytes)
            )
        },
    )
}

/// Options that make it smaller, with the bytes that it needs then. A layout is only named where
/// the head alone is not enough.
fn smaller_forms(model: &Model, needed: u64) -> Vec<(String, u64)> {
    let weights = &model.weights;
    let tables = || {
        [Some(&weights.embedding), weights.head.as_ref()]
            .into_iter()
            .flatten()
    };
    let layout = if weights.is_grouped() {
        "trits8"
    } else {
        "trits5"
    };
    let (matrices_saved, tables_saved) = saved_by_layouts(model);
    let mut forms = Vec::new();
    let smallest = needed - matrices_saved - tables_saved;
    if smallest < needed {
        forms.push((format!("--layout {layout}"), smallest));
    }
    let present: usize = tables().map(|table| table.bytes().len()).sum();
    for head in [HeadType::F16, HeadType::Q8_0, HeadType::Q6K] {
        let bytes = tables()
            .map(|table| {
                let [rows, cols] = table.shape();
                Some(rows * DenseType::from(head).row_bytes(cols)?)
            })
            .sum::<Option<usize>>();
        let (Some(bytes), Some(name)) = (bytes, head.to_possible_value()) else {
            continue;
        };
        if bytes >= present {
            continue;
        }
        let (name, needed) = (name.get_name(), needed - (present - bytes) as u64);
        forms.push(if needed <= MODULE_BYTES || matrices_saved == 0 {
            (format!("--head {name}"), needed)
        } else {
            let both = format!("--head {name} --layout {layout}");
            (both, needed - matrices_saved)
        });
    }
    forms
}

/// Bytes that the densest layout saves of all linears, and of embedding and head.
fn saved_by_layouts(model: &Model) -> (u64, u64) {
    let weights = &model.weights;
    let matrices = weights.layers.iter().flat_map(Layer::matrices);
    let tables = [Some(&weights.embedding), weights.head.as_ref()];
    let of_table = |table: &Table| match table {
        Table::Grouped(grouped) => saved_in_trits8(grouped),
        Table::Dense(_) => 0,
    };
    (
        matrices.map(saved_by_layout).sum(),
        tables.into_iter().flatten().map(of_table).sum(),
    )
}

/// Bytes that a matrix's densest layout saves.
fn saved_by_layout(matrix: &Matrix) -> u64 {
    match matrix {
        Matrix::Grouped(grouped) => saved_in_trits8(grouped),
        Matrix::Ternary(linear) => {
            let trits5 = TernaryLayout::Trits5.bytes(linear.rows(), linear.cols());
            linear.packed().len().saturating_sub(trits5) as u64
        }
    }
}

/// Bytes that trits8 saves; none of binary codes.
fn saved_in_trits8(grouped: &GroupedWeights) -> u64 {
    let shape = grouped.shape();
    let trits8 = match shape.codes() {
        GroupCodes::Ternary => shape.with_codes(GroupCodes::Trits8).packed_bytes(),
        GroupCodes::Binary | GroupCodes::Trits8 => grouped.bytes().len(),
    };
    (grouped.bytes().len() - trits8) as u64
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
        let forms = smaller_forms(&model, MODULE_BYTES);
        assert_eq!(forms.len(), 1, "every head is larger than a table of codes");
        let saved = MODULE_BYTES - forms[0].1;
        assert!(saved.abs_diff(two_bits - trits8) < 10_000, "{saved}");
        let fits = remedy(&model, MODULE_BYTES + saved);
        assert_eq!(fits, "choose --layout trits8 (1073.7 MB), ");
        let too_large = remedy(&model, 2 * MODULE_BYTES);
        assert!(
            too_large.contains("smallest form, --layout trits8, takes 21"),
            "{too_large}"
        );
        let message = over(524_288);
        assert!(
            message.contains("its smallest form, --head q6_k --layout trits5, takes 107"),
            "{message}"
        );
        assert!(message.contains("sterna serve --model"), "{message}");
    }

    #[test]
    fn only_as_much_is_packed_in_trits8_as_must_be() {
        let config = synthetic::shape("bonsai-1.7b").map(|config| ModelConfig {
            vocab_size: 512,
            n_layers: 2,
            ..config
        });
        let stored = Stored::Groups(GroupCodes::Ternary);
        let model = synthetic::from_config("t", config.unwrap(), true, stored, 1).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let gguf = folder.path().join("model.gguf");
        save(&model, &gguf, &ConvertOptions::default(), &mut |_, _| ()).unwrap();
        let load = || Model::load(&gguf, &LoadOptions::default(), &mut |_, _| ()).unwrap();
        let len = || gguf.metadata().unwrap().len();
        let two_bits = len();
        // It fits; or it would not in trits8 either.
        for room in [two_bits, two_bits / 2] {
            make_fit(&gguf, folder.path(), room).unwrap();
            assert_eq!(len(), two_bits);
        }
        make_fit(&gguf, folder.path(), two_bits - 1_000_000).unwrap();
        assert!(
            (two_bits - 3_000_000..two_bits - 1_000_000).contains(&len()),
            "{two_bits} became {}",
            len()
        );
        let packed = load();
        assert!(packed.weights.has_codes(GroupCodes::Trits8));
        assert!(packed.weights.has_codes(GroupCodes::Ternary));
        let (mut expected, mut actual) = (vec![0.0; 2048], vec![0.0; 2048]);
        for row in [0, 17, 511] {
            model.weights.embedding.view().row(row, &mut expected);
            packed.weights.embedding.view().row(row, &mut actual);
            assert_eq!(actual, expected);
        }
        assert!(std::fs::read_dir(folder.path()).unwrap().count() == 1);
    }

    #[test]
    fn a_head_of_numbers_beside_codes_is_what_to_make_smaller() {
        let config = synthetic::shape("bonsai-1.7b").map(|config| ModelConfig {
            vocab_size: 512,
            n_layers: 1,
            ..config
        });
        let stored = |codes| {
            let mut model = synthetic::from_config(
                "t",
                config.clone().unwrap(),
                true,
                Stored::Groups(codes),
                1,
            )
            .unwrap();
            let table = synthetic::model("tiny", DenseType::F32).unwrap();
            model.weights.embedding = table.weights.embedding.clone();
            model
        };
        // A table of 512 x 256 numbers.
        let binary = remedy(&stored(GroupCodes::Binary), MODULE_BYTES + 262_144);
        assert!(
            binary.starts_with("choose --head f16 (1073.7 MB) or --head q8_0"),
            "{binary}"
        );
        assert!(!binary.contains("layout"), "{binary}");
        let none = remedy(&stored(GroupCodes::Binary), MODULE_BYTES + (1 << 20));
        assert!(
            none.contains("smallest form, --head q6_k, takes 107"),
            "{none}"
        );
        let both = remedy(&stored(GroupCodes::Ternary), MODULE_BYTES + (2 << 20));
        assert!(both.contains("--layout trits8 ("), "{both}");
    }
}
