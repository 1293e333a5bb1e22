#!/usr/bin/env bash
# Builds `sterna` as one static program, for images and nodes that hold no other file: `static.sh [release|ci]` prints its path.
# Only the last step differs from scripts/build.sh: the crates, and with them wasmtime, are the same, linked against the
# C library's archive (Debian: libc6-dev has it).
#
# `ARCH=arm64` (or amd64) builds for that machine, here, into target/static-bin/arm64: cargo and a cross linker compile, and QEMU's
# user emulation runs one step, in which api.wasm becomes machine code: the wasmtime in there compiles for its own machine alone.
# The first time costs a whole build of wasmtime. It installs what it needs, by rustup and apt, and says so.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${1:-release}
case $(uname -m) in x86_64) here=amd64 ;; aarch64) here=arm64 ;; *) here=$(uname -m) ;; esac
arch=${ARCH:-$here}

if [ "$arch" = "$here" ]; then
  scripts/build.sh "$profile" >&2
  mkdir -p target/static-bin
  cargo rustc --profile "$profile" -p sterna --bin sterna -- -C target-feature=+crt-static -C strip=symbols >&2
  cp "target/$profile/sterna" target/static-bin/sterna.new
  mv target/static-bin/sterna.new target/static-bin/sterna
  # Others expect the ordinary one in that place.
  cargo build --profile "$profile" -p sterna --bin sterna >&2
  echo "$PWD/target/static-bin/sterna"
  exit 0
fi

fail() { echo "static: $*" >&2; exit 1; }
case $arch in
  arm64) machine=aarch64 package=aarch64 libc=libc6-dev-arm64-cross ;;
  amd64) machine=x86_64 package=x86-64 libc=libc6-dev-amd64-cross ;;
  *) fail "ARCH is '$arch'; it may be amd64 or arm64" ;;
esac
target=$machine-unknown-linux-gnu linker=$machine-linux-gnu-gcc qemu=qemu-$machine
missing=()
command -v "$linker" >/dev/null || missing+=("gcc-$package-linux-gnu")
[ -e "/usr/$machine-linux-gnu/lib/libc.a" ] || missing+=("$libc")
command -v "$qemu" >/dev/null || missing+=(qemu-user)
if [ ${#missing[@]} -gt 0 ]; then
  echo "static: installing by apt: ${missing[*]}" >&2
  command -v apt-get >/dev/null || fail "there is no apt-get here; install a cross linker for $machine, its static C library, and $qemu"
  sudo=(); [ "$(id -u)" = 0 ] || sudo=(sudo)
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
fi
if [ ! -d "$(rustc --print target-libdir --target "$target" 2>/dev/null || true)" ]; then
  command -v rustup >/dev/null || fail "the Rust target $target is missing, and there is no rustup to add it"
  echo "static: adding the Rust target $target with rustup" >&2
  rustup target add "$target" >&2
fi

scripts/components.sh >&2
# The same components, but for what is machine code.
components=$PWD/target/components-$arch
mkdir -p "$components" "target/static-bin/$arch"
for file in target/components/*.wasm; do
  cmp -s "$file" "$components/${file##*/}" || cp "$file" "$components/"
done
upper=$(tr 'a-z-' 'A-Z_' <<<"$target")
export "CARGO_TARGET_${upper}_LINKER=$linker" "CARGO_TARGET_${upper}_RUSTFLAGS=-Ctarget-feature=+crt-static"
export CARGO_TARGET_DIR=target/$machine STERNA_COMPONENTS_DIR=$components
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
build=(cargo rustc ${CI:+--locked} --profile "$profile" --target "$target" -p sterna)
"${build[@]}" --bin sterna-precompile >&2
"$qemu" "target/$machine/$target/$profile/sterna-precompile" "$components/api.wasm" "$components/api.cwasm"
"${build[@]}" --bin sterna -- -C strip=symbols >&2
cp "target/$machine/$target/$profile/sterna" "target/static-bin/$arch/sterna.new"
mv "target/static-bin/$arch/sterna.new" "target/static-bin/$arch/sterna"
echo "$PWD/target/static-bin/$arch/sterna"
