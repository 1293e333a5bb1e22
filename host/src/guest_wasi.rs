//! The parts of WASI 0.2 that guests get: never sockets, and files only for commands.
//!
//! Interfaces are named one by one, since each is compiled for every kind of store that has it.

use wasmtime::Result;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::add_to_linker_proxy_interfaces_async;
use wasmtime_wasi::p2::bindings::{cli, filesystem, random};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

/// The store's data of a component that has WASI and nothing else.
pub(crate) struct CommandState {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl CommandState {
    /// With what `wasi` gives.
    pub(crate) fn new(wasi: WasiCtx) -> Self {
        let table = ResourceTable::new();
        CommandState { wasi, table }
    }
}

impl WasiView for CommandState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// What a component with [`CommandState`] may import: clocks, random numbers, standard streams,
/// arguments, environment, and files.
///
/// # Errors
/// One of them is there already.
pub(crate) fn add_command_to_linker(linker: &mut Linker<CommandState>) -> Result<()> {
    add_proxy_to_linker(linker)?;
    filesystem::preopens::add_to_linker::<_, WasiFilesystem>(linker, CommandState::filesystem)?;
    filesystem::types::add_to_linker::<_, WasiFilesystem>(linker, CommandState::filesystem)
}

/// What an HTTP component may import besides `wasi:http`: the same without files.
///
/// # Errors
/// One of them is there already.
pub(crate) fn add_proxy_to_linker<T: WasiView>(linker: &mut Linker<T>) -> Result<()> {
    add_to_linker_proxy_interfaces_async(linker)?;
    add_standard_library_to_linker(linker)
}

/// What Rust's standard library imports whether it is used or not, besides `wasi:http`'s world
/// `proxy`.
///
/// # Errors
/// One of them is there already.
pub(crate) fn add_standard_library_to_linker<T: WasiView>(linker: &mut Linker<T>) -> Result<()> {
    let l = linker;
    random::insecure::add_to_linker::<T, WasiRandom>(l, |t| t.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<T, WasiRandom>(l, |t| t.ctx().ctx.random())?;
    cli::exit::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::environment::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::terminal_input::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::terminal_output::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::terminal_stdin::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::terminal_stdout::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::terminal_stderr::add_to_linker::<T, WasiCli>(l, T::cli)
}
