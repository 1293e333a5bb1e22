//! The kernels' own checks, compiled to wasm with SIMD128, plain and relaxed, and run in wasmtime:
//! both equal scalar bit for bit, and all equal the digest that is pinned for every target.

use sterna::wasm_command;

use crate::support::component;

#[test]
fn simd128_equals_scalar_in_wasmtime() {
    check("kernel_checks.wasm", "simd128");
}

#[test]
fn relaxed_simd_equals_scalar_in_wasmtime() {
    check("kernel_checks-relaxed.wasm", "simd128-relaxed");
}

fn check(name: &str, isa: &str) {
    let output = wasm_command::run(&component(name), &["kernel_checks"], &[]).unwrap();
    let report = String::from_utf8(output.stdout).unwrap();
    println!("{report}");
    assert!(output.success, "{report}");
    for isa in [isa, "scalar"] {
        let golden = format!("ok      {isa:<11} golden");
        assert!(
            report.lines().any(|line| line == golden),
            "{isa} was not checked:\n{report}"
        );
    }
}
