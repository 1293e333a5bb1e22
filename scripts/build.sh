#!/usr/bin/env bash
# Builds the `sterna` binary with its components inside: `scripts/build.sh [release|ci]`.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${1:-release}
scripts/embedded.sh "$profile"
cargo build ${CI:+--locked} --profile "$profile" -p sterna --bin sterna
