//! The kernels' own checks, compiled to wasm with SIMD128 and run in wasmtime: SIMD128 equals scalar bit for bit, and both
//! equal the digest that is pinned for every target.

use std::path::PathBuf;

use sterna::wasm_command;

#[test]
fn simd128_equals_scalar_in_wasmtime() {
    let components = std::env::var_os("STERNA_COMPONENTS_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/components"),
        PathBuf::from,
    );
    let path = components.join("kernel_checks.wasm");
    let wasm = std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `make components`", path.display()));
    let output = wasm_command::run(&wasm, &["kernel_checks"]).unwrap();
    let report = String::from_utf8(output.stdout).unwrap();
    println!("{report}");
    assert!(output.success, "{report}");
    for isa in ["simd128", "scalar"] {
        assert!(
            report.lines().any(|line| line.starts_with("ok")
                && line.contains(isa)
                && line.contains("golden")),
            "{isa} was not checked:\n{report}"
        );
    }
}
