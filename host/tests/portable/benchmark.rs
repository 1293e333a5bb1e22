//! The benchmark in a runtime that knows nothing of the engine's interfaces.

use std::process::Command;

use crate::apps::{folder, succeed, wasmtime};
use crate::support::server::{run, sterna};

#[test]
fn runs_as_a_plain_wasi_command() {
    for isa in ["simd128", "simd128-relaxed"] {
        let wasm = folder().join(format!("bench-{isa}.wasm"));
        succeed(sterna().args(["bench", "--isa", isa, "-o"]).arg(&wasm));
        let shape = [
            "--shape",
            "tiny",
            "--isa",
            isa,
            "--prompt",
            "4",
            "--generate",
            "2",
            "--reps",
            "1",
        ];
        let (status, stdout, stderr) =
            run(Command::new(wasmtime()).arg("run").arg(&wasm).args(shape));
        assert!(status.success(), "{stderr}");
        let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(report["isa"], isa, "{report}");
        assert!(
            report["decode"]["tokens_per_s"].as_f64() > Some(0.0),
            "{report}"
        );
    }
}

#[test]
fn is_written_for_webassembly_alone() {
    let wasm = folder().join("bench-native.wasm");
    let (status, _, stderr) = run(sterna().args(["bench", "--isa", "scalar", "-o"]).arg(wasm));
    assert!(!status.success());
    assert!(stderr.contains("--isa simd128"), "{stderr}");
}
