//! `wasmtime run`, `compile` and `serve` as wasmtime-cli's library has them.

use clap::Parser;
use wasmtime_cli::commands::{CompileCommand, RunCommand, ServeCommand};

/// The commands that the tests use.
#[derive(Parser)]
#[command(name = "wasmtime", version)]
enum Wasmtime {
    /// Run a module or a component.
    Run(RunCommand),
    /// Compile one ahead of time.
    Compile(CompileCommand),
    /// Serve a component of `wasi:http`.
    Serve(ServeCommand),
}

fn main() -> impl std::process::Termination {
    match Wasmtime::parse() {
        Wasmtime::Run(command) => command.execute(),
        Wasmtime::Compile(command) => command.execute(),
        Wasmtime::Serve(command) => command.execute(),
    }
}
