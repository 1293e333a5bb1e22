#!/usr/bin/env bash
# Coverage-guided fuzzing of what parses: `scripts/fuzz.sh [SECONDS [TARGET...]]`, 60 s each of all
# targets by default.
#
# libFuzzer comes with the crate libfuzzer-sys, and the flags below make a stable compiler count
# branches, so neither a nightly one nor cargo-fuzz is needed. Inputs that reach new code stay in
# target/fuzz/corpus, where the next run starts; one that fails is written to target/fuzz/failures,
# and its path is printed: give that path to the target's program.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/natives.sh
seconds=${1:-60}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(gguf inspect huggingface embedding pull tokenizer sentencepiece template request)
command -v c++ >/dev/null || scripts/apt.sh fuzz g++ || { echo "fuzz: libFuzzer needs a C++ compiler" >&2; exit 1; }

cargo build --profile ci "${natives[@]}" --example seeds --example mutations
target/ci/examples/seeds target/fuzz/seeds
# The same damaged models every time, and what became of them.
target/ci/examples/mutations target/fuzz/seeds 3000 1200

host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
# The target is named so that the flags go to what runs and not to build scripts, which do not link
# libFuzzer.
cargo build --profile ci --target "$host" --target-dir target/fuzz -p sterna-fuzz "${targets[@]/#/--bin=}"
bin=target/fuzz/$host/ci
mkdir -p target/fuzz/failures
for target in "${targets[@]}"; do
  mkdir -p "target/fuzz/corpus/$target"
  echo "fuzz: $target for $seconds s"
  # Memory: twice what a good file of this size takes would already be a fault; time: no input may
  # hold a server up.
  "$bin/$target" "target/fuzz/corpus/$target" "target/fuzz/seeds/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 \
    -malloc_limit_mb=512 -max_len=65536 -print_final_stats=1 -artifact_prefix="target/fuzz/failures/$target-" >"target/fuzz/$target.log" 2>&1 \
    || { tail -40 "target/fuzz/$target.log"; echo "fuzz: $target failed; the whole log is target/fuzz/$target.log" >&2; exit 1; }
  grep -E 'DONE|stat::(number_of_executed_units|peak_rss_mb)' "target/fuzz/$target.log"
done
