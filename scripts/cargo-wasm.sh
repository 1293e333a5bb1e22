#!/usr/bin/env bash
# cargo for wasm32-wasip2, whichever way setup.sh found:
# `scripts/cargo-wasm.sh build -p sterna-api [--lib]`. Output:
# target/wasm/wasm32-wasip2/wasm/*.wasm. SIMD128 is on: every runtime we name has it. Relaxed SIMD
# is the crates' feature `relaxed-simd`, so that both builds share folder and dependencies.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
verb=$1; shift
# Vectors are written by hand (kernels/src/isa). LLVM's own would, in a component with relaxed SIMD,
# hold relaxed_max and relaxed_min, which give other results on other CPUs.
flags="-Ctarget-feature=+simd128 -Cno-vectorize-loops -Cno-vectorize-slp"
export CARGO_TARGET_DIR=target/wasm
# Cargo gives a component's file in deps/ one name whatever its features, and would take the one for
# the other; this (rustc's own build sets it) puts its hash into the name.
export __CARGO_DEFAULT_LIB_METADATA=sterna
# RUSTFLAGS in the environment would replace the target's own flags.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
case "$(scripts/setup.sh --which)" in
  rustup)
    export CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS="$flags"
    exec cargo "$verb" ${CI:+--locked} --target wasm32-wasip2 --profile wasm "$@" ;;
  debian)
    # rust-lld and wasm-component-ld ship with the rustup toolchain, the standard library's source
    # and libc with Debian.
    bin=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin
    [ -x "$bin/wasm-component-ld" ] || { echo "cargo-wasm: $bin/wasm-component-ld is missing; use a rustup toolchain" >&2; exit 1; }
    export PATH="$bin:$bin/gcc-ld:$PATH" RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
    export CARGO_TARGET_DIR=$CARGO_TARGET_DIR-debian
    export CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS="$flags -L/usr/lib/wasm32-wasi -Clinker=wasm-component-ld"
    exec cargo "$verb" ${CI:+--locked} --target wasm32-wasip2 --profile wasm -Zbuild-std=std,panic_abort "$@" ;;
esac
