//! The components embedded in the binary. The library only names them (see build.rs).

/// Files embedded in the binary.
#[derive(Clone, Copy, Debug)]
pub struct Assets {
    /// The HTTP component.
    pub api_wasm: &'static [u8],
    /// The same, compiled ahead of time for the baseline CPU of this architecture.
    pub api_cwasm: &'static [u8],
    /// The HTTP component for WASI 0.3, for composing.
    pub api_p3_wasm: &'static [u8],
    /// The engine as a component, for `sterna bake` and `sterna compose`.
    pub engine_wasm: &'static [u8],
    /// The same with relaxed SIMD.
    pub engine_relaxed_wasm: &'static [u8],
    /// The stub that closes the engine's import `kernels` where nothing is lent.
    pub kernels_stub_wasm: &'static [u8],
    /// Settings from the WASI environment, for composing.
    pub config_env_wasm: &'static [u8],
    /// Settings from Spin's variables, for composing.
    pub config_spin_wasm: &'static [u8],
    /// The benchmark as a WASI command, for `sterna bench --isa simd128`.
    pub bench_wasm: &'static [u8],
    /// The same with relaxed SIMD, for `--isa simd128-relaxed`.
    pub bench_relaxed_wasm: &'static [u8],
    /// The model served where none is named.
    pub demo_model: &'static [u8],
}
