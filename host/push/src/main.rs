//! `sterna-push image.tar REGISTRY/NAME:TAG`: upload an image that `sterna image` wrote.
//! `sterna push` is the same.
//!
//! A program of its own, so that TLS and an HTTP client are not part of the process that serves.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod layout;
mod upload;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

/// Upload an image that `sterna image` wrote to a registry
///
/// Layers that the registry has already are not sent again. Credentials are those of
/// `docker login`, or STERNA_REGISTRY_USER and STERNA_REGISTRY_PASSWORD.
#[derive(Debug, Parser)]
#[command(name = "sterna push", version, max_term_width = 100)]
struct Args {
    /// The image: an OCI image layout in a tar file
    #[arg(value_name = "IMAGE.tar")]
    image: PathBuf,

    /// Destination, such as registry.example/team/llm:1
    #[arg(value_name = "REGISTRY/NAME:TAG")]
    reference: String,

    /// Speak HTTP without TLS, for a registry on this machine
    #[arg(long)]
    plain_http: bool,
}

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
    sterna_push::install_tls();
    let image = layout::Image::open(&args.image)
        .with_context(|| format!("cannot push {}", args.image.display()))?;
    let reference = args
        .reference
        .parse()
        .with_context(|| format!("{} names no place in a registry", args.reference))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(upload::upload(&image, &reference, args.plain_http))
}
