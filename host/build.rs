//! Tells the crate its target, and where the built components lie. The files themselves are the
//! compiler's to watch (src/embedded.rs): a new one links the program again, and the library, which
//! `sterna-precompile` needs before one of them is there, stays as it is.

use std::path::PathBuf;

fn main() {
    let manifest = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let folder = match std::env::var_os("STERNA_COMPONENTS_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => manifest.join("../target/components"),
    };
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=STERNA_COMPONENTS_DIR");
    println!(
        "cargo::rustc-env=STERNA_COMPONENTS_DIR={}",
        folder.display()
    );
    println!(
        "cargo::rustc-env=STERNA_TARGET={}",
        std::env::var("TARGET").unwrap_or_default()
    );
}
