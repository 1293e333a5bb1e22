//! `sterna compose`: the HTTP component and the engine component as one `.wasm` file.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions, PackageId, plug};

use crate::assets::Assets;

/// Write the whole server as one WebAssembly component
///
/// The result imports WASI 0.2 only, and reads its model from the preopened directory /model, for example:
/// wasmtime serve -Scli --dir path/to/model::/model app.wasm
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file to write
    #[arg(short, long, value_name = "PATH")]
    output: PathBuf,
}

/// Compose and write.
///
/// # Errors
/// The file cannot be written, or the components do not fit each other.
pub fn main(args: &Args, assets: &Assets) -> anyhow::Result<()> {
    let app = compose(assets.api_wasm, assets.engine_wasm)?;
    std::fs::write(&args.output, app)
        .with_context(|| format!("cannot write {}", args.output.display()))
}

/// The component that exports what `api` exports and whose `engine` import is `engine`'s export.
///
/// # Errors
/// `engine` exports nothing that `api` imports, or either is no component.
pub fn compose(api: &[u8], engine: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut graph = CompositionGraph::new();
    let api = register(&mut graph, "sterna:api", api)?;
    let engine = register(&mut graph, "sterna:engine", engine)?;
    plug(&mut graph, vec![engine], api)
        .context("the engine component does not fit the HTTP component")?;
    graph
        .encode(EncodeOptions::default())
        .context("cannot write the composed component")
}

fn register(graph: &mut CompositionGraph, name: &str, bytes: &[u8]) -> anyhow::Result<PackageId> {
    let package = Package::from_bytes(name, None, bytes.to_vec(), graph.types_mut())
        .map_err(|error| anyhow!("{name} is no component: {error:#}"))?;
    graph
        .register_package(package)
        .with_context(|| name.to_owned())
}
