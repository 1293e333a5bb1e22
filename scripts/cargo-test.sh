#!/usr/bin/env bash
# cargo test in profile ci: `cargo-test.sh [--retry] ARGUMENTS...`, cargo's own. All failures are
# reported. With `--retry` the tests that failed run once more, and are shown as FLAKY if they pass
# then: for tests that start servers and wait for them with deadlines, where a machine that starves
# a server past one is no fault of the server.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
retry=
if [ "${1:-}" = --retry ]; then retry=1; shift; fi
output=$(mktemp)
trap 'rm -f "$output"' EXIT

run() { timeout 1500 cargo test ${CI:+--locked} --profile ci --no-fail-fast "${arguments[@]}" "$@" 2>&1 | tee "$output"; }

arguments=("$@")
# Examples are compiled by the lints.
case " $* " in *" --test "* | *" --lib "*) ;; *) arguments+=(--tests) ;; esac
run && exit 0
[ -n "$retry" ] || exit 1
mapfile -t failed < <(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$output")
# Nothing by name: it did not build, or a whole program ended early.
[ ${#failed[@]} -gt 0 ] || exit 1
echo "cargo-test: a second try for: ${failed[*]}"
run -- --exact "${failed[@]}" || exit 1
echo "FLAKY, passed the second time: ${failed[*]}"
