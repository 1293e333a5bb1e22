#!/usr/bin/env bash
# Formatting and lints, for the host and for what only builds as wasm.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
# The host apart from the rest: together they would share features, and its dependencies would be
# checked twice.
cargo clippy --profile ci -p sterna --all-targets -- -D warnings
cargo clippy --profile ci -p sterna-push --all-targets -- -D warnings
if command -v protoc >/dev/null && [ -e /usr/include/seccomp.h ]; then
  cargo clippy --profile ci -p sterna-shim --all-targets -- -D warnings
else echo "lint: the shim was not linted: protoc or libseccomp's headers are not installed (scripts/shim.sh installs them)"; fi
cargo clippy --profile ci -p sterna-kernels -p sterna-kernel-checks -p sterna-engine -p sterna-api -p sterna-config -p sterna-http-rules --all-targets \
  --features sterna-kernels/checks,sterna-engine/native -- -D warnings
cargo clippy --profile ci -p sterna-fuzz --all-targets -- -D warnings
scripts/cargo-wasm.sh clippy -p sterna-kernels --features relaxed-simd -- -D warnings
scripts/cargo-wasm.sh clippy -p sterna-api -p sterna-api-p2 -p sterna-api-p3 -p sterna-engine -p sterna-config-env -p sterna-config-spin -p sterna-step-engine -p sterna-hostile-engine --lib -- -D warnings
# kernels/ does not keep to it yet.
scripts/columns.py ./*.md ./*.toml Makefile Dockerfile component docs host k8s scripts tests wit
scripts/imports.py component/engine/src component/api/src component/config/src host/src
echo "lint: docs/dependencies.md against the manifests"
python3 tests/scripts/test_dependencies.py
if command -v shellcheck >/dev/null || scripts/apt.sh lint shellcheck; then
  shellcheck -x scripts/*.sh tests/*/*.sh k8s/shim/install.sh .ci/run
else echo "lint: shellcheck is not installed; shell scripts were not linted"; fi
