//! `sterna bake`: a model and the server around it as one `.wasm` file, with the model already
//! loaded.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use indicatif::ProgressBar;
use sterna_engine::convert::{ConvertOptions, convert};
use sterna_engine::files;
use sterna_engine::files::LoadOptions;
use sterna_engine::files::plan::Plan;
use sterna_engine::model::Model;
use sterna_kernels::DenseType;

use crate::assets::Assets;
use crate::baked_size::{self, ENGINE_BYTES, MODULE_BYTES, size};
use crate::commands::compose::{KERNELS_STUB, Target, compose};
use crate::head_type::kernel_head;
use crate::late_data::{LateData, module_with_memory};
use crate::layout_type::LayoutType;
use crate::memory::lost_pages;
use crate::model_source::{DEMO, byte_bar};
use crate::output::Scratch;
use crate::pre_init::pre_initialise;
use crate::reading::ReadArgs;
use crate::registry_tools::find_model;
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
    /// A GGUF file, a Hugging Face directory, or a name that `sterna pull` takes. Without it: the
    /// small demo model inside this program
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
    #[arg(long, value_name = "TYPE", value_parser = kernel_head())]
    head: Option<DenseType>,

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
    let model = args.model.as_deref().map(find_model).transpose()?;
    if let Some(model) = &model {
        lost_pages::tell_of(model);
    }
    let gguf = prepare(args, model.as_deref(), assets, scratch.path())?;
    if args.layout.is_none() {
        make_fit(&gguf, scratch.path(), MODULE_BYTES - ENGINE_BYTES)?;
    }
    check_size(&gguf)?;

    let step = Step::start("loading it inside the engine component");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let engine = args.target.engine(assets);
    let loaded = runtime.block_on(pre_initialise(engine, &gguf, &id(args, model.as_deref())))?;
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
fn prepare(
    args: &Args,
    model: Option<&Path>,
    assets: &Assets,
    scratch: &Path,
) -> anyhow::Result<PathBuf> {
    let demo = scratch.join("demo.gguf");
    let source = match model {
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
fn id(args: &Args, model: Option<&Path>) -> String {
    match (&args.model_name, model) {
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
    let Some(to_save) = baked_size::saved_by_packing(&Plan::of(&model.weights), excess) else {
        return Ok(());
    };
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
    let plan = model.map(|model| Plan::of(&model.weights)).ok();
    anyhow!(baked_size::too_large(plan.as_ref(), needed))
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
    use sterna_kernels::GroupCodes;

    use super::*;

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
}
