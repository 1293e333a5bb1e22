#!/usr/bin/env bash
# Formatting and lints, for the host and for what only builds as wasm. All run, whichever fails.
# `lint.sh --install` installs shellcheck, and does nothing else.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
command -v shellcheck >/dev/null || scripts/apt.sh lint shellcheck ||
  echo "lint: shellcheck is not installed; shell scripts are skipped"
[ "${1:-}" != --install ] || exit 0
failed=()
check() { "$@" || failed+=("$*"); }

check cargo fmt --all --check
# Everything native at once: together the packages share features, and so each dependency is checked
# once. tests/wasmtime is left out, which would bring another wasmtime for its twenty lines.
others=(--exclude sterna-test-wasmtime)
for wasm in sterna-api-p2 sterna-api-p3 sterna-config-env sterna-config-spin sterna-kernels-stub sterna-step-engine sterna-hostile-engine; do
  others+=(--exclude "$wasm")
done
if ! command -v protoc >/dev/null || [ ! -e /usr/include/seccomp.h ]; then
  echo "lint: the shim is skipped: protoc or libseccomp's headers are not installed (scripts/shim.sh installs them)"
  others+=(--exclude sterna-shim)
fi
check cargo clippy ${CI:+--locked} --profile ci --workspace "${others[@]}" --all-targets \
  --features sterna-kernels/checks,sterna-engine/native -- -D warnings
check scripts/cargo-wasm.sh clippy -p sterna-kernels --features relaxed-simd -- -D warnings
check scripts/cargo-wasm.sh clippy -p sterna-api -p sterna-api-p2 -p sterna-api-p3 -p sterna-engine -p sterna-config-env \
  -p sterna-config-spin -p sterna-step-engine -p sterna-hostile-engine --lib -- -D warnings
check scripts/columns.py ./*.md ./*.toml Makefile Dockerfile clients component docs host k8s kernels scripts tests wit
check scripts/imports.py component/engine/src component/api/src component/config/src host/src kernels/src
check python3 tests/scripts/test_dependencies.py
! command -v shellcheck >/dev/null || check shellcheck -x scripts/*.sh tests/*/*.sh k8s/shim/install.sh .ci/run

[ ${#failed[@]} = 0 ] || { printf 'lint: failed: %s\n' "${failed[@]}" >&2; exit 1; }
