//! The configuration of wasmtime, in one place: code compiled ahead of time only loads into an
//! engine with the same settings.

use std::time::Duration;

use anyhow::Context;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::sandbox::seal;

/// Linear memory one instance of the HTTP component may use.
pub const INSTANCE_MEMORY_BYTES: usize = 64 << 20;

/// The time a busy guest keeps its thread before others get a turn.
pub const EPOCH: Duration = Duration::from_millis(5);

/// Compile a component for the oldest CPU of this architecture, so that the result runs on all of
/// them.
///
/// # Errors
/// Bytes that are no component.
pub fn precompile(component: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut config = base();
    config
        .target(env!("STERNA_TARGET"))
        .map_err(anyhow::Error::from)?;
    Ok(Engine::new(&config)?.precompile_component(component)?)
}

/// An engine for at most `instances` HTTP components at a time. Pages of finished instances are
/// reused.
///
/// # Errors
/// The machine gives no address space or no executable memory.
pub fn serving_engine(instances: u32) -> anyhow::Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORES_PER_COMPONENT))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(CORES_PER_COMPONENT))
        .total_stacks(instances)
        .max_memory_size(INSTANCE_MEMORY_BYTES)
        .max_unused_warm_slots(instances.min(64))
        .linear_memory_keep_resident(256 << 10)
        .table_keep_resident(16 << 10);
    let mut config = base();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    match Engine::new(&config) {
        Ok(engine) => Ok(engine),
        Err(error) => {
            tracing::warn!(
                error = sterna_errors::chain(error.as_ref()),
                "no pooling allocator: instances are allocated one by one, and the HTTP component is compiled anew for that"
            );
            frugal_engine()
        }
    }
}

/// An engine whose instances take no more address space than they use. A pool reserves 4 GiB for
/// each, and so does a single instance by default, since code needs no bounds checks then;
/// `ulimit -v` and some sandboxes forbid that.
fn frugal_engine() -> anyhow::Result<Engine> {
    let mut config = base();
    config
        .memory_reservation(0)
        .memory_reservation_for_growth(1 << 20)
        .memory_guard_size(0);
    Engine::new(&config)
        .map_err(anyhow::Error::from)
        .context("cannot start wasmtime")
}

/// Compile a baked engine for this machine's CPU: its kernels are worth every instruction the CPU
/// has. The result fits [`sandbox_engine`] on CPUs that have at least these, and is refused
/// elsewhere. It ends with a seal, by which damage is found.
///
/// # Errors
/// Bytes that are no component.
pub fn precompile_engine(component: &[u8]) -> anyhow::Result<Vec<u8>> {
    seal(sandbox_engine()?.precompile_component(component)?)
}

/// An engine for one baked engine. No pool: it would have room for the largest model. Interruption,
/// since what somebody baked may loop for ever. No features that a baked engine does not use:
/// memories beyond 4 GiB, or several.
///
/// # Errors
/// The machine gives no executable memory.
pub fn sandbox_engine() -> anyhow::Result<Engine> {
    let mut config = base();
    config.wasm_memory64(false).wasm_multi_memory(false);
    Ok(Engine::new(&config)?)
}

/// An engine for a command that runs once and as fast as this machine can: no pool, no
/// interruption.
///
/// # Errors
/// The machine gives no executable memory.
pub fn command_engine() -> anyhow::Result<Engine> {
    let mut config = base();
    config.epoch_interruption(false);
    Ok(Engine::new(&config)?)
}

/// A component built from Rust is three core modules: itself, and two shims of its imports.
const CORES_PER_COMPONENT: u32 = 4;

fn base() -> Config {
    let mut config = Config::new();
    config.wasm_component_model(true).epoch_interruption(true);
    config
}
