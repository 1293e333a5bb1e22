//! `sterna image`: program, component and model as a container image, without Docker.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};

use crate::image::config::ImageConfig;
use crate::image::{self, ImageFile, Program};
use crate::model_source::byte_bar;
use crate::sandbox::AppFile;

/// Write a container image (an OCI image layout in a tar file) with this program and a model
///
/// The image holds nothing else: /sterna, /app.cwasm or /app.wasm (what `sterna bake` wrote), /model.gguf. `sterna up`, which is its
/// command, serves the first of the latter three that is there. Each file is a layer of its own, the model lowest, so that
/// images that share it are pulled and unpacked once and share its memory on a node. The same files give the same image.
///
/// Then: `sterna push image.tar REGISTRY/NAME:TAG`, `ctr -n k8s.io image import image.tar`, `docker load -i image.tar`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What `sterna bake` wrote: a .cwasm for nodes with the CPU that baked, a .wasm for any
    #[arg(long, value_name = "PATH")]
    app: Option<PathBuf>,

    /// A GGUF file; `sterna convert` writes one that loads in milliseconds
    #[arg(short, long, value_name = "PATH")]
    model: Option<PathBuf>,

    /// The static `sterna` to put in (scripts/static.sh builds one) [default: this program]
    #[arg(long, value_name = "PATH", conflicts_with = "no_host")]
    host: Option<PathBuf>,

    /// Leave the program out: the image then only runs in pods of RuntimeClass sterna, with the node's program
    #[arg(long)]
    no_host: bool,

    /// The containerd shim (scripts/shim.sh builds it), for an image that k8s/shim installs on nodes
    #[arg(long, value_name = "PATH", conflicts_with = "no_host")]
    shim: Option<PathBuf>,

    /// The image's name and tag
    #[arg(short, long, value_name = "NAME:TAG", default_value = "sterna:latest")]
    tag: String,

    /// The file to write
    #[arg(short, long, value_name = "PATH", default_value = "image.tar")]
    output: PathBuf,
}

/// Check the parts and write.
///
/// # Errors
/// A part is not what its option says, or a file cannot be read or written.
pub fn main(args: &Args) -> anyhow::Result<()> {
    let start = Instant::now();
    let (files, image) = plan(args)?;
    let bar = byte_bar("writing");
    let written = image::write(&files, &image, &args.output, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let written = written?;
    for (file, (digest, bytes)) in files.iter().zip(&written.layers) {
        println!(
            "/{:<25} {:>8.1} MB  {digest}",
            file.name,
            *bytes as f64 / 1e6
        );
    }
    println!(
        "{}: {} for linux/{}, {}, in {:.1} s",
        args.output.display(),
        image.name,
        image.architecture,
        written.digest,
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// The layers, lowest first: what is largest and changes least lies below.
fn plan(args: &Args) -> anyhow::Result<(Vec<ImageFile>, ImageConfig)> {
    let mut files = Vec::new();
    if let Some(model) = &args.model {
        check_gguf(model)?;
        files.push(file(model, "model.gguf", 0o644));
    }
    if let Some(app) = &args.app {
        let found = AppFile::recognise(app).with_context(|| {
            format!(
                "--app: {} is no file that `sterna bake` wrote",
                app.display()
            )
        })?;
        let name = if found.is_compiled() {
            "app.cwasm"
        } else {
            "app.wasm"
        };
        // Not executable: it begins as a program does, and the shim would take it for one.
        files.push(file(app, name, 0o644));
    }
    let mut architecture = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    };
    if args.no_host {
        if files.is_empty() {
            bail!("an image without program, component and model is empty: give --app or --model");
        }
    } else {
        let host = match &args.host {
            Some(host) => host.clone(),
            None => std::env::current_exe().context("cannot tell where this program lies")?,
        };
        architecture = Program::read(&host)?.architecture;
        files.push(file(&host, "sterna", 0o755));
        if let Some(shim) = &args.shim {
            if Program::read(shim)?.architecture != architecture {
                bail!(
                    "--shim is for another machine than the program: build both for linux/{architecture}"
                );
            }
            files.push(file(shim, "containerd-shim-sterna-v1", 0o755));
        }
    }
    let image = ImageConfig {
        name: args.tag.clone(),
        architecture,
        has_host: !args.no_host,
    };
    Ok((files, image))
}

fn file(source: &Path, name: &'static str, mode: u32) -> ImageFile {
    ImageFile {
        source: source.to_owned(),
        name,
        mode,
    }
}

fn check_gguf(path: &Path) -> anyhow::Result<()> {
    use std::io::Read;
    let name = path.display();
    if path.is_dir() {
        bail!(
            "--model: {name} is a directory; `sterna convert {name} -o model.gguf` makes a file of it"
        );
    }
    let mut magic = [0; 4];
    std::fs::File::open(path)
        .and_then(|mut file| file.read_exact(&mut magic))
        .with_context(|| format!("--model: cannot read {name}"))?;
    if &magic != b"GGUF" {
        bail!("--model: {name} is no GGUF file (what `sterna bake` wrote goes under --app)");
    }
    Ok(())
}
