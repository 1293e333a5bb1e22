//! `sterna-pull REF`: download a model into the cache folder. `sterna pull` is the same, and
//! `sterna serve`, `run` and `bake` start it where `--model` names no file of this machine.
//!
//! A program of its own, so that TLS and an HTTP client are not part of the process that serves.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod artifact;
mod cache;
mod download;
mod hub;
mod listing;
mod manifest;
mod path;
mod reference;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use reqwest::Client;

use cache::{Cache, Record, Stored};
use download::{Remote, download};
use reference::{FORMS, Reference};

/// Download a model, or say where it is
///
/// Prints the path of the model. What is in the cache folder is not asked for again, so that it is
/// found offline too; --refresh does. An interrupted download goes on where it stopped. Files are
/// compared with the SHA-256 that Hugging Face or the registry gives for them.
///
/// REF is ORG/NAME of Hugging Face, with @REVISION and :FILE or a part of a file's name, such as
/// :Q2_0, behind it; https://ADDRESS of a GGUF file; or oci://REGISTRY/NAME:TAG, an artifact of the
/// ModelPack specification.
///
/// HF_TOKEN is sent to Hugging Face, HF_ENDPOINT names another server with its interface. A
/// registry gets the credentials of `docker login`, or STERNA_REGISTRY_USER and
/// STERNA_REGISTRY_PASSWORD.
#[derive(Debug, Parser)]
#[command(name = "sterna pull", version, max_term_width = 100)]
struct Args {
    /// The model
    #[arg(value_name = "REF", required_unless_present_any = ["list", "rm"])]
    reference: Option<String>,

    /// List the models that are here
    #[arg(long, conflicts_with = "reference")]
    list: bool,

    /// Remove this model, or what there is of it
    #[arg(long, value_name = "REF", conflicts_with_all = ["reference", "list"])]
    rm: Option<String>,

    /// Ask the server although the model is here, and download what has changed
    #[arg(long)]
    refresh: bool,

    /// The folder of downloaded models [default: sterna/models in XDG_CACHE_HOME or ~/.cache]
    #[arg(long, env = "STERNA_CACHE", value_name = "DIR")]
    cache: Option<PathBuf>,

    /// Speak HTTP without TLS to a registry, for one on this machine
    #[arg(long)]
    plain_http: bool,

    /// End when standard input ends: for the process that waits for the path
    #[arg(long, hide = true)]
    while_stdin: bool,
}

/// Seconds until a server must have taken a connection, and between two of its bytes.
const CONNECT_S: u64 = 10;
const SILENCE_S: u64 = 30;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let cache = Cache::find(args.cache.as_deref())?;
    if args.list {
        return list(&cache);
    }
    if let Some(reference) = &args.rm {
        let reference = Reference::parse(reference)?.to_string();
        let bytes = cache.remove(&reference)?;
        println!("{reference}: removed, {:.1} MB", megabytes(bytes));
        return Ok(());
    }
    let reference = args.reference.as_deref().context(FORMS)?;
    let reference = Reference::parse(reference)?;
    let path = match cache.get(&reference.to_string()).filter(|_| !args.refresh) {
        Some(path) => path,
        None => {
            if args.while_stdin {
                std::thread::spawn(end_with_stdin);
            }
            sterna_push::install_tls();
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?;
            let pulled = runtime.block_on(pull(&cache, &reference, args.plain_http));
            pulled.with_context(|| format!("cannot pull {reference}"))?
        }
    };
    println!("{}", path.display());
    Ok(())
}

/// Who waits for the path is gone. What has come is kept.
fn end_with_stdin() {
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    std::process::exit(1);
}

fn list(cache: &Cache) -> anyhow::Result<()> {
    for listed in cache.list()? {
        let megabytes = megabytes(listed.bytes);
        match listed.record {
            Some(record) => {
                let path = listed.folder.join(&record.model);
                println!(
                    "{}  {megabytes:.1} MB  {}",
                    record.reference,
                    path.display()
                );
            }
            None => println!(
                "(unfinished)  {megabytes:.1} MB  {}",
                listed.folder.display()
            ),
        }
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "for reading")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// A file to come, and its place below the reference's folder.
struct Wanted {
    path: PathBuf,
    remote: Remote,
}

async fn pull(cache: &Cache, reference: &Reference, plain_http: bool) -> anyhow::Result<PathBuf> {
    let client = Client::builder()
        .user_agent(concat!("sterna-pull/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(CONNECT_S))
        .read_timeout(Duration::from_secs(SILENCE_S))
        .build()
        .context("cannot set up TLS")?;
    let (wanted, model, revision) = match reference {
        Reference::Hub(hub) => {
            let repository = hub::Repository::ask(&client, hub).await?;
            let chosen = repository.choose(hub.file.as_deref())?;
            // A directory is named as its repository: that is what the model is called.
            let name = hub.repository.rsplit('/').next().unwrap_or(&hub.repository);
            let place = |file: &str| {
                if chosen.is_directory {
                    Path::new(name).join(file)
                } else {
                    PathBuf::from(file.rsplit('/').next().unwrap_or(file))
                }
            };
            let mut wanted = Vec::new();
            for file in &chosen.files {
                let remote = repository.remote(file)?;
                wanted.push(Wanted {
                    path: place(file),
                    remote,
                });
            }
            let first = wanted.first().map(|first| first.path.clone());
            let model = if chosen.is_directory {
                Some(name.into())
            } else {
                first
            };
            (wanted, model, Some(repository.revision))
        }
        Reference::Url(url) => {
            let name = url.path_segments().and_then(|mut parts| parts.next_back());
            let name = name.filter(|name| path::is_path(name));
            let name = name.context("the address ends with no file's name")?;
            let remote = Remote {
                url: url.to_string(),
                authorization: None,
                bytes: None,
                sha256: None,
            };
            let path = PathBuf::from(name);
            (
                vec![Wanted {
                    path: path.clone(),
                    remote,
                }],
                Some(path),
                None,
            )
        }
        Reference::Artifact(artifact) => {
            let (layers, digest) = artifact::layers(artifact, plain_http).await?;
            let name = artifact.repository().rsplit('/').next().unwrap_or("model");
            ensure!(
                path::is_path(name),
                "{artifact} has no name that a folder can have"
            );
            let ggufs: Vec<PathBuf> = (layers.iter())
                .filter(|layer| layer.path.ends_with(".gguf"))
                .map(|layer| Path::new(name).join(&layer.path))
                .collect();
            let model = match &ggufs[..] {
                [] => PathBuf::from(name),
                // The first of several parts, or the only one.
                [first, ..] => ggufs.iter().min().unwrap_or(first).clone(),
            };
            let wanted = layers.into_iter().map(|layer| Wanted {
                path: Path::new(name).join(layer.path),
                remote: layer.remote,
            });
            (wanted.collect(), Some(model), Some(digest))
        }
    };
    let model = model.context("it has no files")?;
    let folder = cache.folder(&reference.to_string());
    let mut files = Vec::new();
    for Wanted { path, remote } in wanted {
        let to = folder.join(&path);
        let parent = to.parent().unwrap_or(&folder);
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot make {}", parent.display()))?;
        let sha256 = fetch(&client, &remote, &to).await?;
        let bytes = to.metadata()?.len();
        files.push(Stored {
            path,
            bytes,
            sha256,
        });
    }
    cache.put(&Record {
        reference: reference.to_string(),
        revision,
        model,
        files,
    })
}

/// Have one file, with a bar where a person watches.
async fn fetch(client: &Client, remote: &Remote, to: &Path) -> anyhow::Result<String> {
    if to.is_dir() {
        bail!(
            "{} is a folder: remove the model and pull it again",
            to.display()
        );
    }
    let bar = sterna_push::byte_bar(remote.bytes.unwrap_or(0), "downloading");
    let digest = download(client, remote, to, &bar).await;
    bar.finish_and_clear();
    digest
}
