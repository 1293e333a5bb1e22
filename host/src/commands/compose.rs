//! `sterna compose`: the HTTP component and the engine component as one `.wasm` file.

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions, NodeId, PackageId};

use crate::assets::Assets;
use crate::output::Scratch;

/// Write the whole server as one WebAssembly component
///
/// The result imports nothing but WASI, and reads its model from the preopened directory /model,
/// for example: wasmtime serve -Scli --dir path/to/model::/model app.wasm
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file to write
    #[arg(short, long, value_name = "PATH")]
    output: PathBuf,

    /// An engine component to use instead of the built-in one; it exports sterna:inference/engine
    #[arg(long, value_name = "PATH", conflicts_with = "relaxed_simd")]
    engine: Option<PathBuf>,

    #[command(flatten)]
    target: Target,
}

/// The runtimes a component is written for.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// Write it for Spin: what an operator sets (API key, limits) comes from Spin's variables
    /// instead of the environment. Only Spin serves the result
    #[arg(long)]
    spin: bool,

    /// The version of WASI it is served by. Runtimes of 0.3 (Spin 4.1, wasmtime 47) give one
    /// instance many requests, several at a time, which then share a batch
    #[arg(long, value_enum, value_name = "VERSION", default_value_t)]
    wasi: Wasi,

    /// Use the engine with relaxed SIMD: faster, with the same tokens. Only runtimes that have
    /// relaxed SIMD load the result: wasmtime, Spin and browsers do
    #[arg(long)]
    relaxed_simd: bool,
}

/// A version of WASI's HTTP interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Wasi {
    /// Every runtime.
    #[default]
    #[value(name = "0.2")]
    V0_2,
    /// New ones only.
    #[value(name = "0.3")]
    V0_3,
}

impl Target {
    /// The HTTP component.
    #[must_use]
    pub fn api(&self, assets: &Assets) -> Part<'static> {
        match self.wasi {
            Wasi::V0_2 => ("sterna:api", assets.api_wasm),
            Wasi::V0_3 => ("sterna:api-p3", assets.api_p3_wasm),
        }
    }

    /// The engine component.
    #[must_use]
    pub fn engine(&self, assets: &Assets) -> &'static [u8] {
        if self.relaxed_simd {
            assets.engine_relaxed_wasm
        } else {
            assets.engine_wasm
        }
    }

    /// The component that provides settings.
    #[must_use]
    pub fn config(&self, assets: &Assets) -> Part<'static> {
        if self.spin {
            ("sterna:config-spin", assets.config_spin_wasm)
        } else {
            ("sterna:config-env", assets.config_env_wasm)
        }
    }
}

/// Closes the engine's import of kernels; an engine need not have one.
pub const KERNELS_STUB: &str = "sterna:kernels-stub";

/// A component, and a name for messages.
pub type Part<'a> = (&'static str, &'a [u8]);

/// Compose and write.
///
/// # Errors
/// The file cannot be written, or the components do not fit each other.
pub fn main(args: &Args, assets: &Assets) -> anyhow::Result<()> {
    let own = match &args.engine {
        Some(path) => {
            Some(std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?)
        }
        None => None,
    };
    let providers = [
        (KERNELS_STUB, assets.kernels_stub_wasm),
        (
            "sterna:engine",
            own.as_deref().unwrap_or_else(|| args.target.engine(assets)),
        ),
        args.target.config(assets),
    ];
    let app = compose(args.target.api(assets), &providers)?;
    Scratch::beside(&args.output)?.write(&app, &args.output)
}

/// The component that exports what `consumer` exports. Its imports, and those of each provider, are
/// the exports of the providers that come before; what none of them exports stays an import. Each
/// part is embedded verbatim.
///
/// # Errors
/// A provider exports nothing that a later part imports, or one of them is no component.
pub fn compose(consumer: Part<'_>, providers: &[Part<'_>]) -> anyhow::Result<Vec<u8>> {
    let mut graph = CompositionGraph::new();
    let mut placed: Vec<Placed> = Vec::new();
    for part in providers.iter().chain([&consumer]) {
        let package = register(&mut graph, *part)?;
        let instance = graph.instantiate(package);
        connect(&mut graph, &mut placed, package, instance)
            .with_context(|| format!("cannot connect {}", part.0))?;
        placed.push(Placed {
            name: part.0,
            package,
            instance,
            used: false,
        });
    }
    let Some(consumer) = placed.pop() else {
        bail!("nothing to compose");
    };
    for idle in placed.iter().filter(|provider| !provider.used) {
        if idle.name != KERNELS_STUB {
            bail!("{} provides nothing that the others import", idle.name);
        }
        graph.remove_node(idle.instance);
        graph.unregister_package(idle.package);
    }
    let exports: Vec<String> = graph.types()[graph[consumer.package].ty()]
        .exports
        .keys()
        .cloned()
        .collect();
    for name in exports {
        let export = graph.alias_instance_export(consumer.instance, &name)?;
        graph.export(export, &name)?;
    }
    graph
        .encode(EncodeOptions::default())
        .context("cannot write the composed component")
}

/// A component in the graph.
struct Placed {
    name: &'static str,
    package: PackageId,
    instance: NodeId,
    used: bool,
}

/// Satisfy the imports of a new instance from what is placed.
fn connect(
    graph: &mut CompositionGraph,
    placed: &mut [Placed],
    package: PackageId,
    instance: NodeId,
) -> anyhow::Result<()> {
    let imports: Vec<String> = graph.types()[graph[package].ty()]
        .imports
        .keys()
        .cloned()
        .collect();
    for name in imports {
        let provider = placed.iter_mut().find(|provider| {
            let exports = &graph.types()[graph[provider.package].ty()].exports;
            exports.contains_key(&name)
        });
        if let Some(provider) = provider {
            let export = graph.alias_instance_export(provider.instance, &name)?;
            graph.set_instantiation_argument(instance, &name, export)?;
            provider.used = true;
        }
    }
    Ok(())
}

fn register(graph: &mut CompositionGraph, (name, bytes): Part<'_>) -> anyhow::Result<PackageId> {
    let package = Package::from_bytes(name, None, bytes.to_vec(), graph.types_mut())
        .map_err(|error| anyhow!("{name} is no component: {error:#}"))?;
    graph
        .register_package(package)
        .with_context(|| name.to_owned())
}
