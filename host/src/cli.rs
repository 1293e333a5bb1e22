//! The command line: every command and option, with help that is enough to use them.

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::assets::Assets;
use crate::blank;
use crate::commands::{
    bake, bench, compose, convert, doctor, image, inspect, perplexity, pull, push, run, serve,
    synth, up,
};
use crate::{resource_limits, say};

/// Serve 1-bit and ternary (1.58-bit) language models on ordinary CPUs.
///
/// `sterna serve` without a model serves a small demo model at http://127.0.0.1:8080.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Args>),
    Up(up::Args),
    Run(run::Args),
    Inspect(inspect::Args),
    Doctor(doctor::Args),
    Perplexity(perplexity::Args),
    Bench(bench::Args),
    Convert(convert::Args),
    Synth(synth::Args),
    Compose(compose::Args),
    Bake(bake::Args),
    Image(image::Args),
    Push(push::Args),
    Pull(pull::Args),
}

/// Do what the command line asks. Errors go to stderr as one chain: what failed, why, what to do.
#[must_use]
pub fn run(assets: &'static Assets) -> ExitCode {
    if let Err(error) = blank::refuse_variables(std::env::vars_os()) {
        return failure(&error);
    }
    let mut command = Cli::command();
    let matches = command.get_matches_mut();
    if let Err(error) = blank::refuse_options(&command, &matches) {
        return failure(&error);
    }
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    // A command that answers a question by its exit code, as `inspect`, ends with false for no.
    let done = |result: anyhow::Result<()>| result.map(|()| true);
    let result = resource_limits::prepare().and_then(|()| match cli.command {
        Command::Inspect(args) => inspect::main(&args),
        Command::Doctor(args) => doctor::main(&args, assets),
        Command::Perplexity(args) => done(perplexity::main(&args, assets)),
        Command::Serve(args) => done(serve::main(&args, assets)),
        Command::Up(args) => done(up::main(&args, assets)),
        Command::Run(args) => done(run::main(&args, assets)),
        Command::Bench(args) => done(bench::main(&args, assets)),
        Command::Convert(args) => done(convert::main(&args)),
        Command::Synth(args) => done(synth::main(&args)),
        Command::Compose(args) => done(compose::main(&args, assets)),
        Command::Image(args) => done(image::main(&args)),
        Command::Push(args) => done(push::main(&args)),
        Command::Pull(args) => done(pull::main(&args)),
        Command::Bake(args) => done(bake::main(&args, assets)),
    });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => failure(&error),
    }
}

fn failure(error: &anyhow::Error) -> ExitCode {
    say::error(error);
    ExitCode::FAILURE
}
