#!/usr/bin/env bash
# Building for another machine than this one: sourced by static.sh and shim.sh for what differs, and
# run by Dockerfile for what it installs (by rustup and apt, saying so): a cross linker, its static
# C library, the Rust target, and QEMU's user emulation.
#
# $ARCH says for what: amd64 or arm64, this machine unless set. What a script gets from here:
#   arch         what is built for
#   for_target   cargo's arguments for that
#   built        the folder in which cargo leaves programs, but for the profile
#   out          the folder in which this project's scripts leave them: target/static-bin, for
#                another machine with its name below that
#   machine      the GNU name of the other machine; empty where programs are for this one
# shellcheck disable=SC2034
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case $(uname -m) in x86_64) here=amd64 ;; aarch64) here=arm64 ;; *) here=$(uname -m) ;; esac
arch=${ARCH:-$here}
machine='' for_target=() built=target out=target/static-bin

if [ "$arch" != "$here" ]; then
  case $arch in
    arm64) machine=aarch64 package=aarch64 libc=libc6-dev-arm64-cross ;;
    amd64) machine=x86_64 package=x86-64 libc=libc6-dev-amd64-cross ;;
    *) echo "cross: ARCH is '$arch'; it may be amd64 or arm64" >&2; exit 1 ;;
  esac
  target=$machine-unknown-linux-gnu linker=$machine-linux-gnu-gcc
  missing=()
  command -v "$linker" >/dev/null || missing+=("gcc-$package-linux-gnu")
  [ -e "/usr/$machine-linux-gnu/lib/libc.a" ] || missing+=("$libc")
  command -v "qemu-$machine" >/dev/null || missing+=(qemu-user)
  [ ${#missing[@]} = 0 ] || scripts/apt.sh cross "${missing[@]}"
  if [ ! -d "$(rustc --print target-libdir --target "$target" 2>/dev/null || true)" ]; then
    command -v rustup >/dev/null || { echo "cross: the Rust target $target is missing, and there is no rustup to add it" >&2; exit 1; }
    echo "cross: adding the Rust target $target with rustup" >&2
    rustup target add "$target" >&2
  fi
  for_target=(--target "$target") built=target/$machine/$target out=target/static-bin/$arch
  # A folder of their own keeps these flags from the other builds.
  upper=$(tr 'a-z-' 'A-Z_' <<<"$target")
  export "CARGO_TARGET_${upper}_LINKER=$linker" "CARGO_TARGET_${upper}_RUSTFLAGS=-Ctarget-feature=+crt-static"
  export CARGO_TARGET_DIR=target/$machine
  unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
fi
