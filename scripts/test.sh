#!/usr/bin/env bash
# Everything CI runs: build, lint, unit, property and end-to-end tests, and real clients, proxies
# and container runtimes against the built programs. `test.sh --quick`: build, lint, unit and
# property tests. After the build, steps run in two lanes side by side; all of them run, whatever
# fails, and their output lies in target/test-logs.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lanes.sh
. scripts/natives.sh
# The engine is a cdylib too, and cargo gives the files of such a crate one name whatever its
# features: those of the host's build and of the tests' would replace each other, step after step.
# This puts a hash into the name, as in cargo-wasm.sh.
export __CARGO_DEFAULT_LIB_METADATA=sterna
begin_steps

unit_tests() {
  step unit scripts/cargo-test.sh "${natives[@]}"
  step host-unit scripts/cargo-test.sh -p sterna --lib --bins
}

# What the steps need and the machine lacks, while the compiler is busy.
install_tools() {
  step install-lint scripts/lint.sh --install
  step install-shim scripts/shim.sh --install
  step install-clients tests/clients/run.sh --install
  step install-browser tests/browser/run.sh --install
  step install-ops tests/ops/run.sh --install
  step install-k8s scripts/k8s.sh --install
  step install-push scripts/push-test.sh --install
  step install-pods scripts/pods.sh install
  step install-neon scripts/test-neon.sh --install
}

rust_lane() {
  step e2e scripts/cargo-test.sh --retry -p sterna --test e2e
  unit_tests
  # Its own step, so that its time is not taken for the tests'.
  step wasmtime scripts/wasmtime.sh
  step portable scripts/cargo-test.sh --retry -p sterna --test portable
  step avx512 scripts/test-avx512.sh
  step lint scripts/lint.sh
}

# Against the programs as users have them.
product_lane() {
  step clients tests/clients/run.sh target/ci/sterna
  step browser tests/browser/run.sh target/ci/sterna
  step ops tests/ops/run.sh target/ci/sterna
  step k8s scripts/k8s.sh target/ci/sterna
  step compare python3 tests/scripts/test_compare.py
  step speed-plot python3 tests/scripts/test_speed_plot.py
  step load python3 tests/scripts/test_load.py target/ci/sterna
  step cross python3 tests/scripts/test_cross.py
  step scripts python3 tests/scripts/test_lanes.py
  step push-unit scripts/cargo-test.sh -p sterna-push
  step push-build cargo build --profile ci -p sterna-push
  step pull python3 tests/scripts/test_pull.py target/ci/sterna
  step push scripts/push-test.sh target/ci/sterna target/ci/sterna-push
  step pods env PROFILE=ci scripts/pods.sh test
  step fuzz scripts/fuzz.sh 12
  step neon scripts/test-neon.sh
}

if [ "${1:-}" = --quick ]; then
  step build scripts/build.sh ci
  step lint scripts/lint.sh
  unit_tests
  end_steps
  exit
fi

scripts/setup.sh
install_tools &
installing=$!
scripts/build.sh ci
scripts/components.sh --tests
wait "$installing"
rust_lane &
other=$!
product_lane
# A lane that ended early has not run all its steps.
wait "$other" || echo "a lane ended early" >>"$logs/failed"
end_steps
