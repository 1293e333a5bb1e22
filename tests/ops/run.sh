#!/usr/bin/env bash
# Tests a server with a platform's real tools:
# `run.sh PATH-TO-sterna [prometheus|proxy|cgroup ...]`.
#
#   prometheus  promtool checks the page; a real Prometheus scrapes it under load and is asked
#               what it has seen
#   proxy       two replicas behind HAProxy under 50 streams, one gets SIGTERM; again with too
#               short a drain
#   cgroup      a server with half a CPU and 512 MiB: one thread, throttling counted, never killed
#               by the kernel
#
# haproxy and prometheus are Debian's, installed by apt if missing. What cannot be tested here is
# named and skipped. Everything listens on 127.0.0.1, at ports the system chooses. Nothing runs on
# afterwards. `run.sh --install` does nothing else.
set -euo pipefail
[ "$1" = --install ] || sterna=$(realpath "$1")
first=$1
shift
cd "$(dirname "$0")/../.."

for package in haproxy:haproxy prometheus:promtool; do
  command -v "${package#*:}" >/dev/null || scripts/apt.sh ops "${package%:*}" || true # the test that needs it says that it is skipped
done
[ "$first" != --install ] || exit 0
python3 tests/ops/ops.py "$sterna" "$@"
