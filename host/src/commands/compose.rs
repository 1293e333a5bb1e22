//! `sterna compose`: the HTTP component and the engine component as one `.wasm` file.

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions, NodeId, PackageId};

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

    #[command(flatten)]
    config: ConfigSource,
}

/// Where the written component is to find what its operator sets.
#[derive(Debug, clap::Args)]
pub struct ConfigSource {
    /// Write it for Spin: what an operator sets (API key, limits) comes from Spin's variables instead of the
    /// environment. Only Spin serves the result
    #[arg(long)]
    spin: bool,
}

impl ConfigSource {
    /// The component that provides settings.
    #[must_use]
    pub fn provider(&self, assets: &Assets) -> Part<'static> {
        if self.spin {
            ("sterna:config-spin", assets.config_spin_wasm)
        } else {
            ("sterna:config-env", assets.config_env_wasm)
        }
    }
}

/// A component, and a name for messages.
pub type Part<'a> = (&'static str, &'a [u8]);

/// Compose and write.
///
/// # Errors
/// The file cannot be written, or the components do not fit each other.
pub fn main(args: &Args, assets: &Assets) -> anyhow::Result<()> {
    let providers = [
        ("sterna:kernels-stub", assets.kernels_stub_wasm),
        ("sterna:engine", assets.engine_wasm),
        args.config.provider(assets),
    ];
    let app = compose(("sterna:api", assets.api_wasm), &providers)?;
    std::fs::write(&args.output, app)
        .with_context(|| format!("cannot write {}", args.output.display()))
}

/// The component that exports what `consumer` exports. Its imports, and those of each provider, are the exports of
/// the providers that come before; what none of them exports stays an import. Each part is embedded verbatim.
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
    if let Some(idle) = placed.iter().find(|provider| !provider.used) {
        bail!("{} provides nothing that the others import", idle.name);
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
