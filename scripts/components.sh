#!/usr/bin/env bash
# Builds the WASI components and puts them into target/components, where the host's build script looks for them.
# A file is replaced only when its bytes changed, so that nothing is rebuilt in vain.
set -euo pipefail
cd "$(dirname "$0")/.."
out=target/components
built=${STERNA_WASM_TARGET_DIR:-target/wasm}
[ "$(scripts/setup.sh; scripts/setup.sh --which)" = debian ] && built=$built-debian
built=$built/wasm32-wasip2/wasm
mkdir -p "$out"

place() { # place BUILT-NAME NAME
  cmp -s "$built/$1" "$out/$2" || cp "$built/$1" "$out/$2"
  printf 'component: %-18s %7d KiB\n' "$2" $(($(stat -c %s "$out/$2") / 1024))
}
scripts/cargo-wasm.sh build -q -p sterna-api-p2 -p sterna-api-p3
place sterna_api_p2.wasm api.wasm
place sterna_api_p3.wasm api-p3.wasm
scripts/cargo-wasm.sh build -q -p sterna-config-env -p sterna-config-spin
place sterna_config_env.wasm config-env.wasm
place sterna_config_spin.wasm config-spin.wasm
scripts/cargo-wasm.sh build -q -p sterna-engine --lib
place sterna_engine.wasm engine.wasm
scripts/cargo-wasm.sh build -q -p sterna-kernels-stub --lib
place sterna_kernels_stub.wasm kernels-stub.wasm
scripts/cargo-wasm.sh build -q -p sterna-engine --bin sterna_bench
place sterna_bench.wasm bench.wasm
scripts/cargo-wasm.sh build -q -p sterna-step-engine
place sterna_step_engine.wasm step-engine.wasm
scripts/cargo-wasm.sh build -q -p sterna-kernels --features checks --example kernel_checks
place examples/kernel_checks.wasm kernel_checks.wasm
