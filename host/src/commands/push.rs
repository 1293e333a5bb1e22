//! `sterna push`: hands over to `sterna-push`, the program beside this one.
//!
//! A program of its own, because a registry's client brings TLS and an HTTP client along, which
//! have no business in the process that serves, nor in the image.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, anyhow};

/// Upload an image that `sterna image` wrote to a registry
///
/// Layers that the registry has already are not sent again. `sterna push --help` lists the options.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// As `sterna-push` takes them: image.tar REGISTRY/NAME:TAG [--plain-http]
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "OPTIONS"
    )]
    arguments: Vec<std::ffi::OsString>,
}

/// Become `sterna-push`.
///
/// # Errors
/// It is not there.
pub fn main(args: &Args) -> anyhow::Result<()> {
    let own = std::env::current_exe().context("cannot tell where this program lies")?;
    let program = own.with_file_name("sterna-push");
    let error = Command::new(&program).args(&args.arguments).exec();
    Err(anyhow!(error)).with_context(|| {
        format!(
            "cannot start {}: `make image-tools` builds it; put it beside `sterna`",
            program.display()
        )
    })
}
