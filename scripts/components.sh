#!/usr/bin/env bash
# Builds the WASI components and puts them into target/components, where the host's build script looks for them.
# A file is replaced only when its bytes changed, so that nothing is rebuilt in vain.
set -euo pipefail
cd "$(dirname "$0")/.."
out=target/components
plain=${STERNA_WASM_TARGET_DIR:-target/wasm}
scripts/setup.sh
way=$(scripts/setup.sh --which)
mkdir -p "$out"

built=$plain
place() { # place BUILT-NAME NAME
  local from=$built
  if [ "$way" = debian ]; then from=$from-debian; fi
  from=$from/wasm32-wasip2/wasm/$1
  cmp -s "$from" "$out/$2" || cp "$from" "$out/$2"
  printf 'component: %-27s %7d KiB\n' "$2" $(($(stat -c %s "$out/$2") / 1024))
}
scripts/cargo-wasm.sh build -q -p sterna-api-p2 -p sterna-api-p3
place sterna_api_p2.wasm api.wasm
place sterna_api_p3.wasm api-p3.wasm
scripts/cargo-wasm.sh build -q -p sterna-config-env -p sterna-config-spin
place sterna_config_env.wasm config-env.wasm
place sterna_config_spin.wasm config-spin.wasm
scripts/cargo-wasm.sh build -q -p sterna-engine --lib --bin sterna_bench
place sterna_engine.wasm engine.wasm
scripts/cargo-wasm.sh build -q -p sterna-kernels-stub --lib
place sterna_kernels_stub.wasm kernels-stub.wasm
place sterna_bench.wasm bench.wasm
scripts/cargo-wasm.sh build -q -p sterna-step-engine
place sterna_step_engine.wasm step-engine.wasm
scripts/cargo-wasm.sh build -q -p sterna-kernels --features checks --example kernel_checks
place examples/kernel_checks.wasm kernel_checks.wasm

# The same with relaxed SIMD, in a folder of its own: cargo gives a cdylib one name whatever its features, and would take
# the one for the other.
built=$plain-relaxed
export STERNA_WASM_TARGET_DIR=$built
scripts/cargo-wasm.sh build -q -p sterna-engine --lib --bin sterna_bench --features relaxed-simd
place sterna_engine.wasm engine-relaxed.wasm
place sterna_bench.wasm bench-relaxed.wasm
scripts/cargo-wasm.sh build -q -p sterna-kernels --features checks,relaxed-simd --example kernel_checks
place examples/kernel_checks.wasm kernel_checks-relaxed.wasm
