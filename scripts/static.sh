#!/usr/bin/env bash
# Builds `sterna` as one static program, for images and nodes that hold no other file: `static.sh [release|ci]` prints its path.
# Only the last step differs from scripts/build.sh: the crates, and with them wasmtime, are the same, linked against the
# C library's archive (Debian: libc6-dev has it).
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${1:-release}
scripts/build.sh "$profile" >&2
mkdir -p target/static-bin
cargo rustc --profile "$profile" -p sterna --bin sterna -- -C target-feature=+crt-static -C strip=symbols >&2
cp "target/$profile/sterna" target/static-bin/sterna.new
mv target/static-bin/sterna.new target/static-bin/sterna
# Others expect the ordinary one in that place.
cargo build --profile "$profile" -p sterna --bin sterna >&2
echo "$PWD/target/static-bin/sterna"
