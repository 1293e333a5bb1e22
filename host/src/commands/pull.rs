//! `sterna pull`: hands over to `sterna-pull`, the program beside this one.

use std::ffi::OsString;

use crate::registry_tools::become_program;

/// Download a model from Hugging Face, a web server or a registry
///
/// Interrupted downloads go on where they stopped, digests are compared, and what is here already
/// is not fetched again. `sterna pull --help` lists the options, `sterna pull --list` what is here.
/// `serve`, `run`, `bake` and the commands that look at models take the same names as --model.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// As `sterna-pull` takes them: ORG/NAME[:FILE], https://ADDRESS or oci://REGISTRY/NAME:TAG
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "OPTIONS"
    )]
    arguments: Vec<OsString>,
}

/// Become `sterna-pull`.
///
/// # Errors
/// It is not there.
pub fn main(args: &Args) -> anyhow::Result<()> {
    become_program("sterna-pull", &args.arguments)
}
