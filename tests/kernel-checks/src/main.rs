//! Runs every check of `sterna_kernels::checks` for every ISA this machine supports, without a test
//! harness: for wasm hosts (`wasmtime run kernel_checks.wasm`) and CPU emulators. Exit code 1 if
//! any check fails.

use sterna_kernels::{Isa, checks};

fn main() {
    let (mut passed, mut failed) = (0, 0);
    for isa in Isa::supported() {
        for check in checks::ALL {
            match (check.run)(isa, checks::cases()) {
                Ok(()) => {
                    passed += 1;
                    println!("ok      {:<11} {}", isa.name(), check.name);
                }
                Err(error) => {
                    failed += 1;
                    println!("FAILED  {:<11} {}: {error}", isa.name(), check.name);
                }
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed > 0 {
        std::process::exit(1);
    }
}
