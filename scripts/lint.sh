#!/usr/bin/env bash
# Formatting and lints, for the host and for what only builds as wasm.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
cargo clippy --profile ci --workspace --exclude sterna-api --all-targets --features sterna-kernels/checks -- -D warnings
cargo clippy --profile ci -p sterna-api --all-targets -- -D warnings
scripts/cargo-wasm.sh clippy -p sterna-api -p sterna-engine --lib -- -D warnings
if command -v shellcheck >/dev/null; then shellcheck scripts/*.sh .ci/run; else echo "lint: shellcheck is not installed; shell scripts were not linted"; fi
