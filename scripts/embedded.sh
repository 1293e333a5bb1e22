#!/usr/bin/env bash
# What the `sterna` program has inside it, into target/components: `embedded.sh [release|ci]`.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${1:-release}
scripts/components.sh
# api.wasm is compiled ahead of time by the very wasmtime that will run it, so that `sterna serve`
# starts at once.
cargo build ${CI:+--locked} --profile "$profile" -p sterna --bin sterna-precompile
"target/$profile/sterna-precompile" target/components/api.wasm target/components/api.cwasm
