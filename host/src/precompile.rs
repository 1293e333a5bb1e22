//! `sterna-precompile api.wasm api.cwasm`: compile the HTTP component ahead of time.
//!
//! A binary of its own rather than a build script, so that wasmtime is built once and not a second
//! time as a build dependency.

use anyhow::{Context, bail};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to] = arguments.as_slice() else {
        bail!("usage: sterna-precompile COMPONENT.wasm OUT.cwasm");
    };
    let component = std::fs::read(from).with_context(|| format!("cannot read {from}"))?;
    let compiled = sterna::wasm_config::precompile(&component)
        .with_context(|| format!("cannot compile {from}"))?;
    // An unchanged file keeps its time, so that cargo does not link the binary again.
    if is_newer(to, from) && std::fs::read(to).is_ok_and(|present| present == compiled) {
        return Ok(());
    }
    std::fs::write(to, compiled).with_context(|| format!("cannot write {to}"))
}

fn is_newer(file: &str, than: &str) -> bool {
    let modified = |path: &str| std::fs::metadata(path).and_then(|data| data.modified());
    matches!((modified(file), modified(than)), (Ok(file), Ok(than)) if file >= than)
}
