#!/usr/bin/env bash
# Builds `sterna` as one static program, for images and nodes that hold no other file:
# `static.sh [release|ci]` prints its path. Only the last step differs from scripts/build.sh: the
# crates, and with them wasmtime, are the same, linked against the C library's archive (Debian:
# libc6-dev has it).
#
# `ARCH=arm64` (or amd64) builds for that machine, here, into target/static-bin/arm64: cargo and a
# cross linker compile (scripts/cross.sh), and QEMU's user emulation runs one step, in which
# api.wasm becomes machine code: the wasmtime in there compiles for its own machine alone. The first
# time costs a whole build of wasmtime.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${1:-release}
. scripts/cross.sh
cargo=(cargo rustc ${CI:+--locked} --profile "$profile" "${for_target[@]}" -p sterna)

if [ -z "$machine" ]; then
  scripts/embedded.sh "$profile" >&2
else
  scripts/components.sh >&2
  # The same components, but for what is machine code.
  components=$PWD/target/components-$arch
  mkdir -p "$components"
  for file in target/components/*.wasm; do
    cmp -s "$file" "$components/${file##*/}" || cp "$file" "$components/"
  done
  export STERNA_COMPONENTS_DIR=$components
  "${cargo[@]}" --bin sterna-precompile >&2
  "qemu-$machine" "$built/$profile/sterna-precompile" "$components/api.wasm" "$components/api.cwasm"
fi
"${cargo[@]}" --bin sterna-static -- -C target-feature=+crt-static -C strip=symbols >&2
mkdir -p "$out"
cp "$built/$profile/sterna-static" "$out/sterna.new"
mv "$out/sterna.new" "$out/sterna"
echo "$PWD/$out/sterna"
