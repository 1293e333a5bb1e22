#!/usr/bin/env bash
# The kernel checks with AVX-512 VNNI: on this CPU where it has it, else on an emulated one (a
# minute or two).
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(uname -m)" != x86_64 ]; then echo "test-avx512: skipped, this is no x86-64 machine"; exit 0; fi
build=(cargo build --profile ci -p sterna-kernel-checks)
checks=target/ci/kernel_checks
if ! grep -qw avx512_vnni /proc/cpuinfo; then
  # Static, since the emulated machine has no dynamic loader; a target directory of its own keeps
  # these flags from the other builds.
  target=x86_64-unknown-linux-gnu
  export RUSTFLAGS='-C target-feature=+crt-static' CARGO_TARGET_DIR=target/static
  build+=(--target "$target")
  checks=target/static/$target/ci/kernel_checks
fi
"${build[@]}"
EXPECT=avx512vnni PROPTEST_CASES="${PROPTEST_CASES:-100}" tests/emulated/avx512.sh "$checks"
