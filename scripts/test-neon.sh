#!/usr/bin/env bash
# The NEON kernels (neon, neon-dotprod, neon-i8mm) and the engine on them: natively on an ARM
# machine, else built for aarch64 and run under QEMU's user emulation, on a CPU with i8mm and on two
# without. What equality needs is tested so; what speed needs is not: an emulator's time says
# nothing about a real core's.
#
# Installs what it needs and says so: the Rust target by rustup (or Debian's rustc-web and
# rust-web-src, which build the standard library themselves), the cross linker and qemu-user by apt.
# `test-neon.sh --install` does nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
say() { printf 'test-neon: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
target=aarch64-unknown-linux-gnu
export PROPTEST_CASES="${PROPTEST_CASES:-100}"

# The ISAs that the run with this CPU must have tested, then what to run.
expect() { # NAMES COMMAND...
  local names=$1 output
  shift
  output=$("$@") || { printf '%s\n' "$output"; fail "failed: $*"; }
  printf '%s\n' "$output"
  for name in $names; do
    grep -qE "^ok +$name +golden" <<<"$output" || fail "the run did not test $name: $*"
  done
}

if [ "$(uname -m)" = aarch64 ]; then
  [ "${1:-}" != --install ] || exit 0
  cargo build --profile ci -p sterna-kernel-checks
  expect neon target/ci/kernel_checks
  exit 0
fi

need=()
command -v qemu-aarch64 >/dev/null || need+=(qemu-user)
command -v aarch64-linux-gnu-gcc >/dev/null || need+=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross)
[ ${#need[@]} = 0 ] || scripts/apt.sh test-neon "${need[@]}"

have_rustup_target() { [ -d "$(rustc --print target-libdir --target "$target" 2>/dev/null || true)" ]; }
have_debian() { [ -x /usr/bin/rustc ] && [ -d /usr/lib/rustlib/src/rust ]; }
if ! have_rustup_target && command -v rustup >/dev/null; then
  say "adding the Rust target $target with rustup"
  timeout 300 rustup target add "$target" >&2 || say "rustup could not add it"
fi
have_rustup_target || have_debian || scripts/apt.sh test-neon rustc-web rust-web-src

# Static, since there is no aarch64 loader here; a target directory of its own keeps these flags
# from the other builds.
[ "${1:-}" != --install ] || exit 0

export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS='-Ctarget-feature=+crt-static'
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER='qemu-aarch64 -cpu max'
export CARGO_TARGET_DIR=target/aarch64
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
std=()
if ! have_rustup_target; then
  say "building the standard library with Debian's compiler"
  export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=target/aarch64-debian
  std=("-Zbuild-std=std,panic_abort")
fi

cargo build ${CI:+--locked} --profile ci --target "$target" "${std[@]}" -p sterna-kernel-checks
# Lints that scripts/lint.sh cannot run on another machine (clippy comes with rustup's toolchain
# alone).
if [ ${#std[@]} = 0 ]; then
  cargo clippy ${CI:+--locked} --profile ci --target "$target" -p sterna-kernels --features checks --all-targets -- -D warnings
fi
checks=$CARGO_TARGET_DIR/$target/ci/kernel_checks
# One after the other: all features; sdot but no smmla (Graviton 2); neither (Graviton 1).
expect "neon-i8mm neon-dotprod neon scalar" qemu-aarch64 -cpu max "$checks"
PROPTEST_CASES=10 expect "neon-dotprod neon" qemu-aarch64 -cpu neoverse-n1 "$checks"
PROPTEST_CASES=10 expect "neon" qemu-aarch64 -cpu cortex-a72 "$checks"
# The engine too: models and expected tokens that the other machines' tests compare with.
cargo test ${CI:+--locked} --profile ci --target "$target" "${std[@]}" -p sterna-engine --features native --test engine -- fixtures:: demo::
