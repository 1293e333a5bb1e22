//! The files inside the binary: the components, built by `make components`, and the demo model.

use sterna::assets::Assets;

#[cfg(components_missing)]
compile_error!(
    "the WebAssembly components are not built: run `make build`, or `scripts/build.sh ci` (they fill target/components; $STERNA_COMPONENTS_DIR names another folder)"
);
#[cfg(components_stale)]
compile_error!("api.cwasm is older than api.wasm: run `make build`, or `scripts/build.sh ci`");

macro_rules! component {
    ($name:literal) => {
        include_bytes!(concat!(env!("STERNA_COMPONENTS_DIR"), "/", $name))
    };
}

/// Everything the commands take from the binary itself.
#[cfg(not(components_missing))]
pub(crate) static ASSETS: Assets = Assets {
    api_wasm: component!("api.wasm"),
    api_cwasm: component!("api.cwasm"),
    api_p3_wasm: component!("api-p3.wasm"),
    engine_wasm: component!("engine.wasm"),
    kernels_stub_wasm: component!("kernels-stub.wasm"),
    engine_relaxed_wasm: component!("engine-relaxed.wasm"),
    config_env_wasm: component!("config-env.wasm"),
    config_spin_wasm: component!("config-spin.wasm"),
    bench_wasm: component!("bench.wasm"),
    bench_relaxed_wasm: component!("bench-relaxed.wasm"),
    demo_model: include_bytes!("../../component/engine/models/demo.gguf"),
};

/// Keeps the compiler to the one message above.
#[cfg(components_missing)]
pub(crate) static ASSETS: Assets = Assets {
    api_wasm: &[],
    api_cwasm: &[],
    api_p3_wasm: &[],
    engine_wasm: &[],
    kernels_stub_wasm: &[],
    engine_relaxed_wasm: &[],
    config_env_wasm: &[],
    config_spin_wasm: &[],
    bench_wasm: &[],
    bench_relaxed_wasm: &[],
    demo_model: &[],
};
