//! `sterna image`: program, component and model as a container image, without Docker.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};
use sterna_engine::files::{self, LoadOptions};
use sterna_engine::model::Model;

use crate::image::config::ImageConfig;
use crate::image::{self, ImageFile, Platform, Program};
use crate::model_source::byte_bar;
use crate::sandbox::AppFile;
use crate::say;

/// Write a container image (an OCI image layout in a tar file) with this program and a model
///
/// The image holds nothing else: /sterna, /app.cwasm or /app.wasm (what `sterna bake` wrote),
/// /model.gguf. `sterna up`, which is its command, serves the first of the latter three that is
/// there. Each file is a layer of its own, the model lowest, so that images that share it are
/// pulled and unpacked once and share its memory on a node. The same files give the same image.
///
/// Then: `sterna push image.tar REGISTRY/NAME:TAG`, `ctr -n k8s.io image import image.tar`,
/// `docker load -i image.tar`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A file of `sterna bake`: a .cwasm for nodes with the CPU that baked, a .wasm for any
    #[arg(long, value_name = "PATH")]
    app: Option<PathBuf>,

    /// A GGUF file; `sterna convert` writes one that loads in milliseconds
    #[arg(short, long, value_name = "PATH")]
    model: Option<PathBuf>,

    /// The static `sterna` to put in (scripts/static.sh builds one) [default: this program]. Once
    /// for each kind of machine makes an image for all of them, in which they share the model
    #[arg(long, value_name = "PATH", conflicts_with = "no_host")]
    host: Vec<PathBuf>,

    /// Leave the program out: the image then only runs in pods of RuntimeClass sterna, with the
    /// node's program
    #[arg(long)]
    no_host: bool,

    /// The containerd shim (scripts/shim.sh builds it), for an image that k8s/shim installs on
    /// nodes; once for each --host
    #[arg(long, value_name = "PATH", conflicts_with = "no_host")]
    shim: Vec<PathBuf>,

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
    let parts = args.app.iter().chain(&args.model);
    for part in parts.chain(&args.host).chain(&args.shim) {
        files::refuse_special(part)?;
    }
    let (shared, platforms) = plan(args)?;
    let bar = byte_bar("writing");
    let written = image::write(
        &args.tag,
        &shared,
        &platforms,
        &args.output,
        &mut |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        },
    );
    bar.finish_and_clear();
    let written = written?;
    let own = platforms.iter().flat_map(|platform| &platform.files);
    for (file, (digest, bytes)) in shared.iter().chain(own).zip(&written.layers) {
        say::line(format_args!(
            "/{:<25} {:>8.1} MB  {digest}",
            file.name,
            *bytes as f64 / 1e6
        ));
    }
    let machines: Vec<String> = platforms
        .iter()
        .map(|platform| format!("linux/{}", platform.config.architecture))
        .collect();
    say::line(format_args!(
        "{}: {} for {}, {}, in {:.1} s",
        args.output.display(),
        args.tag,
        machines.join(" and "),
        written.digest,
        start.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// The layers all machines share, lowest first (what is largest and changes least lies below), and
/// each kind's own.
fn plan(args: &Args) -> anyhow::Result<(Vec<ImageFile>, Vec<Platform>)> {
    let mut shared = Vec::new();
    if let Some(model) = &args.model {
        check_gguf(model)?;
        shared.push(file(model, "model.gguf", 0o644));
    }
    if let Some(app) = &args.app {
        // An image that is made is no run yet: whoever starts a pod of it says that word.
        let found = AppFile::recognise(app, true)
            .context("--app")?
            .with_context(|| {
                format!(
                    "--app: {} is no file that `sterna bake` wrote",
                    app.display()
                )
            })?;
        found.check().context("--app")?;
        let name = if found.is_compiled() {
            if args.host.len() > 1 {
                bail!(
                    "--app: {} is machine code for one kind of machine, and the image is for several: give the .wasm",
                    app.display()
                );
            }
            "app.cwasm"
        } else {
            "app.wasm"
        };
        // Not executable: it begins as a program does, and the shim would take it for one.
        shared.push(file(app, name, 0o644));
    }
    if args.no_host {
        if shared.is_empty() {
            bail!("an image without program, component and model is empty: give --app or --model");
        }
        let config = ImageConfig {
            architecture: match std::env::consts::ARCH {
                "aarch64" => "arm64",
                _ => "amd64",
            },
            has_host: false,
        };
        let files = Vec::new();
        return Ok((shared, vec![Platform { config, files }]));
    }
    let mut hosts = args.host.clone();
    if hosts.is_empty() {
        hosts.push(std::env::current_exe().context("cannot tell where this program lies")?);
    }
    let mut platforms: Vec<Platform> = Vec::new();
    for host in hosts {
        let architecture = Program::read(&host)?.architecture;
        if platforms
            .iter()
            .any(|other| other.config.architecture == architecture)
        {
            bail!(
                "--host: two programs are for linux/{architecture}; an image has one for each kind of machine"
            );
        }
        let config = ImageConfig {
            architecture,
            has_host: true,
        };
        let files = vec![file(&host, "sterna", 0o755)];
        platforms.push(Platform { config, files });
    }
    for shim in &args.shim {
        let architecture = Program::read(shim)?.architecture;
        let platform = platforms
            .iter_mut()
            .find(|platform| platform.config.architecture == architecture);
        let Some(platform) = platform else {
            bail!(
                "--shim is for another machine than the program: build both for linux/{architecture}"
            );
        };
        platform
            .files
            .push(file(shim, "containerd-shim-sterna-v1", 0o755));
    }
    Ok((shared, platforms))
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
    // Better here than on a node; and under the name it has there, beside no other part of it.
    let folder = tempfile::tempdir().context("cannot make a temporary directory")?;
    let alone = folder.path().join("model.gguf");
    std::fs::canonicalize(path)
        .and_then(|path| std::os::unix::fs::symlink(path, &alone))
        .with_context(|| format!("--model: cannot link to {name}"))?;
    Model::load(&alone, &LoadOptions::default(), &mut |_, _| ())
        .with_context(|| format!("--model: {name} cannot be served from an image"))?;
    Ok(())
}
