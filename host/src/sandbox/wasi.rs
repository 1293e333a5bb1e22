//! The part of WASI that a baked engine has: clocks, random numbers, a log, and an environment and
//! a file system with nothing in them. No sockets, and nothing to wait for.
//!
//! A wait would hold the engine's thread, and no time limit on the guest's code reaches it there:
//! so `wasi:io/poll` traps where it would wait. An engine computes and returns.

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime::{Result, bail};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::sync::filesystem::types;
use wasmtime_wasi::p2::bindings::sync::io::{error, poll, streams};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, random};
use wasmtime_wasi::random::WasiRandom;

use crate::guest_wasi::add_standard_library_to_linker;

/// Add those interfaces.
///
/// # Errors
/// One of them is there already.
pub(super) fn add_to_linker<T: WasiView + 'static>(linker: &mut Linker<T>) -> Result<()> {
    let l = linker;
    clocks::wall_clock::add_to_linker::<T, WasiClocks>(l, T::clocks)?;
    clocks::monotonic_clock::add_to_linker::<T, WasiClocks>(l, T::clocks)?;
    random::random::add_to_linker::<T, WasiRandom>(l, |t| t.ctx().ctx.random())?;
    cli::stdin::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::stdout::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::stderr::add_to_linker::<T, WasiCli>(l, T::cli)?;
    add_standard_library_to_linker(l)?;
    filesystem::preopens::add_to_linker::<T, WasiFilesystem>(l, T::filesystem)?;
    types::add_to_linker::<T, WasiFilesystem>(l, T::filesystem)?;
    error::add_to_linker::<T, HasTable>(l, |t| t.ctx().table)?;
    streams::add_to_linker::<T, HasTable>(l, |t| t.ctx().table)?;
    poll::add_to_linker::<T, NeverWaits>(l, |t| NoWaiting(t.ctx().table))?;
    Ok(())
}

struct HasTable;

impl HasData for HasTable {
    type Data<'a> = &'a mut ResourceTable;
}

struct NeverWaits;

impl HasData for NeverWaits {
    type Data<'a> = NoWaiting<'a>;
}

/// `wasi:io/poll` on things that never come to be ready.
struct NoWaiting<'a>(&'a mut ResourceTable);

impl poll::Host for NoWaiting<'_> {
    fn poll(&mut self, _: Vec<Resource<DynPollable>>) -> Result<Vec<u32>> {
        bail!("an engine in its sandbox must not wait")
    }
}

impl poll::HostPollable for NoWaiting<'_> {
    fn ready(&mut self, pollable: Resource<DynPollable>) -> Result<bool> {
        poll::HostPollable::ready(self.0, pollable)
    }

    fn block(&mut self, _: Resource<DynPollable>) -> Result<()> {
        bail!("an engine in its sandbox must not wait")
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        poll::HostPollable::drop(self.0, pollable)
    }
}
