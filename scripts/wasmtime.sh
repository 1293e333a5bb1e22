#!/usr/bin/env bash
# Prints the path of a `wasmtime` 48 that has `serve`, for the tests of the portable form: the one
# $WASMTIME names, the one on PATH, or the one of tests/wasmtime, built now.
set -euo pipefail
cd "$(dirname "$0")/.."
version=48.0.8

fits() { # fits PROGRAM: right version, and able to serve; a build without help texts only shows that by its strings
  [[ "$("$1" --version 2>/dev/null)" == "wasmtime ${version%%.*}."* ]] && grep -aq 'Serving HTTP' "$(command -v "$1")"
}

if [ -n "${WASMTIME:-}" ]; then
  fits "$WASMTIME" || { echo "wasmtime: \$WASMTIME ($WASMTIME) is no wasmtime ${version%%.*} with 'serve'" >&2; exit 1; }
  echo "$WASMTIME"
  exit 0
fi
found=$(command -v wasmtime || true)
if [ -n "$found" ] && fits "$found"; then
  echo "$found"
  exit 0
fi
echo "wasmtime: building wasmtime-cli $version (tests/wasmtime)" >&2
cargo build ${CI:+--locked} --profile ci -p sterna-test-wasmtime >&2
echo "$PWD/target/ci/wasmtime"
