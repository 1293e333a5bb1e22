//! `containerd-shim-sterna-v1`: what containerd starts for pods whose RuntimeClass names the
//! handler `sterna`.
//!
//! The shim makes the container (namespaces, cgroups, root filesystem) as any shim on
//! containerd-shim-wasm does, and then turns its first process into the **node's** `sterna`, the
//! file beside the shim, which the container itself does not have: `execveat` of a descriptor
//! opened before there was a container. `sterna up` serves what the image or a volume holds, and
//! wasmtime, the kernels and the drain are those of every other form.
//!
//! Why not link the server into the shim: a shim process stays for the life of each pod, and is a
//! tenth of the size without it; the container's environment is the process's own rather than a
//! list that the code must remember to read; a crash in the server cannot take the shim's state
//! along; and wasmtime is built once, with one set of features.
//!
//! Containers with an ordinary program (`pause`, sidecars) run as they do under runc;
//! containerd-shim-wasm sees to that.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod command;
mod node_program;

use anyhow::Result;
use containerd_shim_wasm::sandbox::Sandbox;
use containerd_shim_wasm::sandbox::context::RuntimeContext;
use containerd_shim_wasm::shim::{Cli, Config, Shim, Version, version};

struct SternaShim;

impl Shim for SternaShim {
    type Sandbox = SternaSandbox;

    fn name() -> &'static str {
        "sterna"
    }

    fn version() -> Version {
        version!()
    }

    /// None: a model travels through gRPC and pipes as a wasm layer, about 9 ms per MB, and as a
    /// plain file not at all.
    fn supported_layers_types() -> &'static [&'static str] {
        &[]
    }
}

#[derive(Default)]
struct SternaSandbox;

impl Sandbox for SternaSandbox {
    /// Yes to everything that is no program: a refusal here would reach only containerd's log,
    /// while [`run_wasi`](Sandbox::run_wasi) writes to the container's.
    async fn can_handle(&self, _: &impl RuntimeContext) -> Result<()> {
        Ok(())
    }

    /// Called in the container's first process, inside its namespaces; returns only on failure.
    async fn run_wasi(&self, container: &impl RuntimeContext) -> Result<i32> {
        let failed = command::of(container.args(), container.envs())
            .and_then(|command| node_program::become_it(&command));
        if let Err(error) = failed {
            eprintln!("containerd-shim-sterna-v1: {error:#}");
        }
        Ok(1)
    }
}

fn main() {
    node_program::open();
    SternaShim::run(Config {
        default_log_level: "error".into(),
        ..Config::default()
    });
}
