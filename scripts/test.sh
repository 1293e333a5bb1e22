#!/usr/bin/env bash
# Everything CI runs: build, lint, unit, property and end-to-end tests, and the official OpenAI
# client against a running server.
set -euo pipefail
cd "$(dirname "$0")/.."
step() { printf '\n== %s (%d s so far)\n' "$*" "$SECONDS"; }

step "build"
scripts/build.sh ci
scripts/components.sh --tests
step "lint"
scripts/lint.sh
step "unit, property and end-to-end tests"
if command -v cargo-nextest >/dev/null; then
  run_tests() { cargo nextest run --cargo-profile ci --no-fail-fast "$@"; }
else
  echo "cargo-nextest is not installed (cargo install cargo-nextest): using cargo test, which is slower"
  run_tests() { cargo test --profile ci --no-fail-fast "$@"; }
fi
# Tests of servers get a second try, by nextest's own means where it is (.config/nextest.toml has
# the reason).
run_server_tests() {
  run_tests "$@" || {
    ! command -v cargo-nextest >/dev/null || return 1
    echo "FLAKY or wrong: a test of servers failed, see above; trying all of them once more"
    run_tests "$@"
  }
}
# The host apart from the rest: together they would share features, and wasmtime would be built a
# second time for that.
run_tests -p sterna-kernels -p sterna-engine -p sterna-api -p sterna-config -p sterna-http-rules -p sterna-errors --features sterna-kernels/checks,sterna-engine/native
run_tests -p sterna --lib --bins
run_server_tests -p sterna --test e2e
run_tests -p sterna-push
step "what parses, fuzzed for some seconds each"
scripts/fuzz.sh 12
step "the comparison with peers, with programs that only claim to measure"
python3 tests/scripts/test_compare.py
step "builds for another machine, with tools that only write down how they were called"
python3 tests/scripts/test_cross.py
step "the portable form under wasmtime serve"
WASMTIME=$(scripts/wasmtime.sh)
export WASMTIME
"$WASMTIME" --version
run_server_tests -p sterna --test portable
step "AVX-512 kernels"
scripts/test-avx512.sh
step "NEON kernels"
scripts/test-neon.sh
step "the openai package against a running server"
tests/clients/run.sh target/ci/sterna
step "the chat page in a browser"
tests/browser/run.sh target/ci/sterna
step "signals for a platform: Prometheus, a proxy, a control group"
tests/ops/run.sh target/ci/sterna
step "Kubernetes manifests"
scripts/k8s.sh target/ci/sterna
step "images pushed to a registry"
cargo build --profile ci -p sterna-push
scripts/push-test.sh target/ci/sterna target/ci/sterna-push
step "three pods as a kubelet starts them"
PROFILE=ci scripts/pods.sh test
step "done"
