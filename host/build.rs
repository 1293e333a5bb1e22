//! Tells the crate where the built components lie, and whether they are there and in step.
//!
//! The binary embeds them (src/embedded.rs). The library does not, so that `sterna-precompile`,
//! which makes one of them, can be built first; hence a missing file is reported there and not
//! here.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The files that `make build` leaves in the components' folder.
const EMBEDDED: [&str; 10] = [
    "api.wasm",
    "api.cwasm",
    "api-p3.wasm",
    "engine.wasm",
    "kernels-stub.wasm",
    "engine-relaxed.wasm",
    "config-env.wasm",
    "config-spin.wasm",
    "bench.wasm",
    "bench-relaxed.wasm",
];

fn main() {
    let manifest = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let folder = match std::env::var_os("STERNA_COMPONENTS_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => manifest.join("../target/components"),
    };
    println!("cargo::rerun-if-env-changed=STERNA_COMPONENTS_DIR");
    println!(
        "cargo::rustc-env=STERNA_COMPONENTS_DIR={}",
        folder.display()
    );
    println!(
        "cargo::rustc-env=STERNA_TARGET={}",
        std::env::var("TARGET").unwrap_or_default()
    );
    println!("cargo::rustc-check-cfg=cfg(components_missing, components_stale)");
    for name in EMBEDDED {
        println!("cargo::rerun-if-changed={}", folder.join(name).display());
    }
    if EMBEDDED.iter().any(|name| !folder.join(name).is_file()) {
        println!("cargo::rustc-cfg=components_missing");
    } else if modified(&folder.join("api.cwasm")) < modified(&folder.join("api.wasm")) {
        println!("cargo::rustc-cfg=components_stale");
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|data| data.modified()).ok()
}
