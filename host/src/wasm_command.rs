//! Runs a WASI command (a component that exports `wasi:cli/run`) to its end: benchmarks and kernel
//! checks in wasm.

use anyhow::bail;
use wasmtime::Store;
use wasmtime::component::{Component, Linker};
use wasmtime_wasi::p2::bindings::Command;
use wasmtime_wasi::p2::pipe::{MemoryInputPipe, MemoryOutputPipe};
use wasmtime_wasi::{I32Exit, WasiCtx};

use crate::guest_wasi::{CommandState, add_command_to_linker};
use crate::sandbox::lend_nothing;
use crate::wasm_config;

/// The number of bytes a command may print before it traps.
const OUTPUT_BYTES: usize = 1 << 20;

/// The exit status and output of a command.
pub struct Output {
    /// True if it ended with exit code 0.
    pub success: bool,
    /// Its standard output.
    pub stdout: Vec<u8>,
}

/// Run `wasm` with `args`, the first of which is its name, and `stdin`. It sees no files, no
/// network and no environment; its standard error is ours. Not for asynchronous callers.
///
/// # Errors
/// Bytes that are no command, or a trap.
pub fn run(wasm: &[u8], args: &[&str], stdin: &[u8]) -> anyhow::Result<Output> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run_async(wasm, args, stdin))
}

async fn run_async(wasm: &[u8], args: &[&str], stdin: &[u8]) -> anyhow::Result<Output> {
    let stdout = MemoryOutputPipe::new(OUTPUT_BYTES);
    let wasi = WasiCtx::builder()
        .args(args)
        .stdin(MemoryInputPipe::new(stdin.to_vec()))
        .stdout(stdout.clone())
        .inherit_stderr()
        .build();
    let engine = wasm_config::command_engine()?;
    let component = Component::new(&engine, wasm)?;
    let mut linker = Linker::new(&engine);
    add_command_to_linker(&mut linker)?;
    // The benchmark is linked with the engine, whose component it is not.
    lend_nothing(&mut linker, &component)?;
    let mut store = Store::new(&engine, CommandState::new(wasi));
    let command = Command::instantiate_async(&mut store, &component, &linker).await?;
    let success = match command.wasi_cli_run().call_run(&mut store).await {
        Ok(outcome) => outcome.is_ok(),
        Err(trap) => match trap.downcast_ref::<I32Exit>() {
            Some(exit) => exit.0 == 0,
            None => bail!("{:#}", anyhow::Error::from(trap)),
        },
    };
    let stdout = stdout.contents().to_vec();
    Ok(Output { success, stdout })
}
