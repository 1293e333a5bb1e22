//! `sterna push`: hands over to `sterna-push`, the program beside this one.

use std::ffi::OsString;

use crate::registry_tools::become_program;

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
    arguments: Vec<OsString>,
}

/// Become `sterna-push`.
///
/// # Errors
/// It is not there.
pub fn main(args: &Args) -> anyhow::Result<()> {
    become_program("sterna-push", &args.arguments)
}
