#!/usr/bin/env bash
# Builds the WASI components and puts them into target/components, where the host's build script
# looks for them: `components.sh [--tests]`, those of the tests alone with the option.
# A file is replaced only when its bytes changed, so that nothing is rebuilt in vain.
set -euo pipefail
cd "$(dirname "$0")/.."
out=target/components
built=target/wasm
scripts/setup.sh
way=$(scripts/setup.sh --which)
if [ "$way" = debian ]; then built=$built-debian; fi
mkdir -p "$out"

build() { scripts/cargo-wasm.sh build -q "$@"; }

# place BUILT-NAME NAME: from cargo's folder, where the next `build` may put another of this name.
place() {
  local from=$built/wasm32-wasip2/wasm/$1
  if ! cmp -s "$from" "$out/$2"; then
    # What embedded.sh compiled from the one of before.
    rm -f "$out/${2%.wasm}.cwasm"
    cp "$from" "$out/$2"
  fi
  printf 'component: %-27s %7d KiB\n' "$2" $(($(stat -c %s "$out/$2") / 1024))
}

# One call of cargo for each set of features, so that the cores share its links.
shipped() {
  build -p sterna-api-p2 -p sterna-api-p3 -p sterna-config-env -p sterna-config-spin \
    -p sterna-engine -p sterna-kernels-stub
  place sterna_api_p2.wasm api.wasm
  place sterna_api_p3.wasm api-p3.wasm
  place sterna_config_env.wasm config-env.wasm
  place sterna_config_spin.wasm config-spin.wasm
  place sterna_engine.wasm engine.wasm
  place sterna_bench.wasm bench.wasm
  place sterna_kernels_stub.wasm kernels-stub.wasm
  build -p sterna-engine --features relaxed-simd
  place sterna_engine.wasm engine-relaxed.wasm
  place sterna_bench.wasm bench-relaxed.wasm
}

for_tests() {
  build -p sterna-step-engine -p sterna-hostile-engine -p sterna-kernel-checks
  place sterna_step_engine.wasm step-engine.wasm
  place sterna_hostile_engine.wasm hostile-engine.wasm
  place kernel_checks.wasm kernel_checks.wasm
  build -p sterna-kernel-checks --features relaxed-simd
  place kernel_checks.wasm kernel_checks-relaxed.wasm
}

case "${1:-}" in
  "") shipped ;;
  --tests) for_tests ;;
  *) echo "components: usage: components.sh [--tests]" >&2; exit 2 ;;
esac
