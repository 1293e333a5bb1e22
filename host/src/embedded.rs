//! The files inside the binary: the components, built by `make components`, and the demo model.

use sterna::assets::Assets;

macro_rules! component {
    ($name:literal) => {
        // The compiler shows the next line where a file is missing.
        include_bytes!(concat!(env!("STERNA_COMPONENTS_DIR"), "/", $name)) // Remedy: `make build`
    };
}

/// Everything the commands take from the binary itself.
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
