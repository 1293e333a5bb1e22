#!/usr/bin/env bash
# Installs what a build needs and a machine may lack: the wasm32-wasip2 target. Idempotent; says
# what it does.
#
# Two ways, tried in this order:
#   rustup   `rustup target add wasm32-wasip2`, where rustup can download
#   debian   Debian's rustc-web, rust-web-src and wasi-libc build the standard library
#            themselves (-Zbuild-std)
# STERNA_WASM_TOOLCHAIN=rustup|debian insists on one of them. `setup.sh --which` prints the one in
# use and installs nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
target=wasm32-wasip2
state=target/wasm-toolchain
say() { printf 'setup: %s\n' "$*" >&2; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

have_rustup_target() { [ -d "$(rustc --print target-libdir --target "$target" 2>/dev/null || true)" ]; }
have_debian() { [ -x /usr/bin/rustc ] && [ -d /usr/lib/rustlib/src/rust ] && [ -d /usr/lib/wasm32-wasi ]; }
which_way() {
  case "${STERNA_WASM_TOOLCHAIN:-}" in
    rustup) have_rustup_target && echo rustup ;;
    debian) have_debian && echo debian ;;
    "") if have_rustup_target; then echo rustup; elif have_debian; then echo debian; fi ;;
    *) fail "STERNA_WASM_TOOLCHAIN is '$STERNA_WASM_TOOLCHAIN'; it may be rustup or debian" ;;
  esac
}

if [ "${1:-}" = --which ]; then which_way || true; exit 0; fi

command -v cargo >/dev/null || fail "cargo is not on PATH. Install Rust 1.95 or later: https://rustup.rs"

command -v cc >/dev/null || scripts/apt.sh setup gcc libc6-dev || fail "no C linker: install gcc (Debian: apt-get install gcc libc6-dev)"

if [ -z "$(which_way || true)" ]; then
  if [ "${STERNA_WASM_TOOLCHAIN:-rustup}" = rustup ] && command -v rustup >/dev/null; then
    say "adding the Rust target $target with rustup"
    timeout 300 rustup target add "$target" >&2 || say "rustup could not add it"
  fi
  if [ -z "$(which_way || true)" ] && [ "${STERNA_WASM_TOOLCHAIN:-debian}" = debian ]; then
    scripts/apt.sh setup rustc-web rust-web-src wasi-libc || true # the last check has the remedy
  fi
fi
way=$(which_way || true)
[ -n "$way" ] || fail "no $target target. Remedy: 'rustup target add $target', or on Debian 'apt-get install rustc-web rust-web-src wasi-libc'"
mkdir -p target
[ "$(cat "$state" 2>/dev/null || true)" = "$way" ] || { echo "$way" > "$state"; say "$target comes from: $way"; }
