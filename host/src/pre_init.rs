//! Runs the engine component's `load-model`, and takes what is then in its memory and its globals:
//! an engine that starts with its model loaded.
//!
//! wasmtime-wizer instruments the component and rewrites it; running it is done here, with the
//! wasmtime that serves too. (wizer's own runner would bring a second set of wasmtime features.)
//! wizer sees a memory of zeros, since it would copy a model several times; what is in the memory
//! is put into the result on its way to a file (`late_data`).

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use wasmtime::component::{Component, Instance, Lift, Linker, WasmList};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{FsPerms, WasiCtx};
use wasmtime_wizer::{ComponentInstanceState, Wizer};

use crate::guest_wasi::{CommandState, add_command_to_linker};
use crate::sandbox::lend_nothing;
use crate::wasm_config;

/// The export of `wit/bake.wit`.
const LOAD_MODEL: &str = "load-model";
/// The path at which the component sees the model's folder.
const GUEST_FOLDER: &str = "/model";

/// An engine component that has loaded its model.
pub struct PreInitialised {
    /// The component, without what is in its memory.
    pub component: Vec<u8>,
    store: Store<CommandState>,
    /// All of its memory.
    memory: WasmList<u8>,
}

impl PreInitialised {
    /// What is in the memory of the component's one module that has one.
    #[must_use]
    pub fn memory(&self) -> &[u8] {
        self.memory.as_le_slice(&self.store)
    }
}

/// The engine component with the model in its memory. `gguf` should be as small and as ready to use
/// as it gets: the component reads it whole, and the heap it frees meanwhile would be kept for
/// ever.
///
/// # Errors
/// The component cannot be run, or says why it cannot load the model.
pub async fn pre_initialise(
    engine_wasm: &[u8],
    gguf: &Path,
    id: &str,
) -> anyhow::Result<PreInitialised> {
    // The export stays: without it the component's list of exports would name an absent function.
    let mut wizer = Wizer::new();
    wizer.init_func(LOAD_MODEL).keep_init_func(true);
    let (context, instrumented) = wizer.instrument_component(engine_wasm)?;

    let wasmtime = wasm_config::command_engine()?;
    let component = Component::new(&wasmtime, &instrumented)?;
    drop(instrumented);
    let (mut store, instance) = instantiate(&wasmtime, &component, gguf).await?;
    let load_model = instance
        .get_typed_func::<(&str, &str), (Result<(), String>,)>(&mut store, LOAD_MODEL)
        .map_err(anyhow::Error::from)
        .context("the engine component cannot be baked")?;
    let file = gguf.file_name().unwrap_or_default().to_string_lossy();
    let path = format!("{GUEST_FOLDER}/{file}");
    let (loaded,) = load_model
        .call_async(&mut store, (&path, id))
        .await
        .map_err(anyhow::Error::from)
        .context("the engine component failed while it loaded the model")?;
    loaded.map_err(|reason| anyhow!("the engine component cannot load the model: {reason}"))?;
    let mut state = Snapshot {
        store,
        instance,
        memories: Vec::new(),
    };
    let component = wizer.snapshot_component(&context, &mut state).await?;
    let Ok([memory]) = <[_; 1]>::try_from(state.memories) else {
        bail!("the engine component cannot be baked: it has more than one memory, or none");
    };
    Ok(PreInitialised {
        component,
        store: state.store,
        memory,
    })
}

async fn instantiate(
    wasmtime: &Engine,
    component: &Component,
    gguf: &Path,
) -> anyhow::Result<(Store<CommandState>, Instance)> {
    let Some(folder) = gguf.parent() else {
        bail!("{} has no folder", gguf.display());
    };
    let wasi = WasiCtx::builder()
        .inherit_stderr()
        .allow_blocking_current_thread(true)
        .preopened_dir(folder, GUEST_FOLDER, FsPerms::ReadOnly)
        .map_err(anyhow::Error::from)
        .with_context(|| format!("cannot open {}", folder.display()))?
        .build();
    let mut store = Store::new(wasmtime, CommandState::new(wasi));
    // The snapshot is read as one list of bytes, which the default takes for an attack on the host.
    store.set_hostcall_fuel(usize::MAX);
    let mut linker = Linker::new(wasmtime);
    add_command_to_linker(&mut linker)?;
    // The engine asks for kernels only when it runs.
    lend_nothing(&mut linker, component)?;
    let instance = linker.instantiate_async(&mut store, component).await?;
    Ok((store, instance))
}

/// The instance as wizer looks into it: through functions that `instrument_component` added.
struct Snapshot {
    store: Store<CommandState>,
    instance: Instance,
    /// Every memory that wizer asked for.
    memories: Vec<WasmList<u8>>,
}

impl Snapshot {
    async fn call<R: Lift + Send + Sync + 'static>(&mut self, interface: &str, func: &str) -> R {
        let added = "wizer added it";
        let interface = self
            .instance
            .get_export_index(&mut self.store, None, interface)
            .expect(added);
        let func = self
            .instance
            .get_export_index(&mut self.store, Some(&interface), func)
            .expect(added);
        let func = self
            .instance
            .get_typed_func::<(), (R,)>(&mut self.store, func)
            .expect(added);
        let (value,) = func
            .call_async(&mut self.store, ())
            .await
            .expect("it reads a global or names a memory");
        value
    }
}

impl ComponentInstanceState for Snapshot {
    async fn call_func_ret_list_u8(
        &mut self,
        instance: &str,
        func: &str,
        contents: impl FnOnce(&[u8]) + Send,
    ) {
        let bytes: WasmList<u8> = self.call(instance, func).await;
        // Pages that nobody writes to are none.
        contents(&vec![0; bytes.len()]);
        self.memories.push(bytes);
    }

    async fn call_func_ret_s32(&mut self, instance: &str, func: &str) -> i32 {
        self.call(instance, func).await
    }

    async fn call_func_ret_s64(&mut self, instance: &str, func: &str) -> i64 {
        self.call(instance, func).await
    }

    async fn call_func_ret_f32(&mut self, instance: &str, func: &str) -> u32 {
        let value: f32 = self.call(instance, func).await;
        value.to_bits()
    }

    async fn call_func_ret_f64(&mut self, instance: &str, func: &str) -> u64 {
        let value: f64 = self.call(instance, func).await;
        value.to_bits()
    }
}
