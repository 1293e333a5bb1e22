#!/usr/bin/env bash
# Prints the path of a `wasmtime` 48 that has `serve`, for the tests of the portable form: the one
# $WASMTIME names, the one on PATH, the one in target/tools, or one that cargo installs there now
# (some minutes). `wasmtime.sh --find` installs nothing.
#
# It is built apart from our own binaries: its features (`run`, `serve`) ask wasmtime for more than
# the host does, so in the workspace it would build wasmtime a second time all the same. Optimised
# little, since that is quicker; the code it generates is not affected.
set -euo pipefail
cd "$(dirname "$0")/.."
version=48.0.8
tools=$PWD/target/tools

fits() { # fits PROGRAM: right version, and able to serve; a build without help texts only shows that by its strings
  [[ "$("$1" --version 2>/dev/null)" == "wasmtime ${version%%.*}."* ]] && grep -aq 'Serving HTTP' "$(command -v "$1")"
}

if [ -n "${WASMTIME:-}" ]; then
  fits "$WASMTIME" || { echo "wasmtime: \$WASMTIME ($WASMTIME) is no wasmtime ${version%%.*} with 'serve'" >&2; exit 1; }
  echo "$WASMTIME"
  exit 0
fi
for program in "$(command -v wasmtime || true)" "$tools/bin/wasmtime"; do
  if [ -n "$program" ] && fits "$program"; then
    echo "$program"
    exit 0
  fi
done
if [ "${1:-}" = --find ]; then
  echo "wasmtime: none of version ${version%%.*} found; scripts/wasmtime.sh installs one" >&2
  exit 1
fi

echo "wasmtime: installing wasmtime-cli $version into target/tools" >&2
# Flags meant for our own builds do not belong here.
env -u RUSTFLAGS CARGO_TARGET_DIR="$tools/build" \
  cargo install --quiet --locked wasmtime-cli --version "$version" --root "$tools" --no-default-features \
  --features run,serve,compile,cranelift,component-model,component-model-async,pooling-allocator,parallel-compilation,wasi-http \
  --config profile.release.opt-level=1 --config profile.release.lto=false \
  --config profile.release.codegen-units=16 --config profile.release.debug=0 >&2
rm -rf "$tools/build"
echo "$tools/bin/wasmtime"
