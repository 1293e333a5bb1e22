#!/usr/bin/env bash
# Builds the WASI components and puts them into target/components, where the host's build script
# looks for them: `components.sh [--tests]`, those of the tests alone with the option.
# A file is replaced only when its bytes changed, so that nothing is rebuilt in vain.
set -euo pipefail
cd "$(dirname "$0")/.."
out=target/components
plain=${STERNA_WASM_TARGET_DIR:-target/wasm}
relaxed=$plain-relaxed
scripts/setup.sh
way=$(scripts/setup.sh --which)
mkdir -p "$out"

# build FOLDER ARGUMENTS...: cargo's arguments. What has relaxed SIMD has a folder of its own: cargo
# gives a program one name whatever its features, and would take the one for the other.
build() { STERNA_WASM_TARGET_DIR=$1 scripts/cargo-wasm.sh build -q "${@:2}"; }

place() { # place FOLDER BUILT-NAME NAME
  local from=$1
  if [ "$way" = debian ]; then from=$from-debian; fi
  from=$from/wasm32-wasip2/wasm/$2
  if ! cmp -s "$from" "$out/$3"; then
    # What embedded.sh compiled from the one of before.
    rm -f "$out/${3%.wasm}.cwasm"
    cp "$from" "$out/$3"
  fi
  printf 'component: %-27s %7d KiB\n' "$3" $(($(stat -c %s "$out/$3") / 1024))
}

# One call of cargo for each folder, so that the cores share its links.
shipped() {
  build "$plain" -p sterna-api-p2 -p sterna-api-p3 -p sterna-config-env -p sterna-config-spin \
    -p sterna-engine -p sterna-kernels-stub
  place "$plain" sterna_api_p2.wasm api.wasm
  place "$plain" sterna_api_p3.wasm api-p3.wasm
  place "$plain" sterna_config_env.wasm config-env.wasm
  place "$plain" sterna_config_spin.wasm config-spin.wasm
  place "$plain" sterna_engine.wasm engine.wasm
  place "$plain" sterna_bench.wasm bench.wasm
  place "$plain" sterna_kernels_stub.wasm kernels-stub.wasm
  build "$relaxed" -p sterna-engine --features relaxed-simd
  place "$relaxed" sterna_engine.wasm engine-relaxed.wasm
  place "$relaxed" sterna_bench.wasm bench-relaxed.wasm
}

for_tests() {
  build "$plain" -p sterna-step-engine -p sterna-hostile-engine -p sterna-kernel-checks
  place "$plain" sterna_step_engine.wasm step-engine.wasm
  place "$plain" sterna_hostile_engine.wasm hostile-engine.wasm
  place "$plain" kernel_checks.wasm kernel_checks.wasm
  build "$relaxed" -p sterna-kernel-checks --features relaxed-simd
  place "$relaxed" kernel_checks.wasm kernel_checks-relaxed.wasm
}

case "${1:-}" in
  "") shipped ;;
  --tests) for_tests ;;
  *) echo "components: usage: components.sh [--tests]" >&2; exit 2 ;;
esac
