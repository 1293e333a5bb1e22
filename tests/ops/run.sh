#!/usr/bin/env bash
# What a platform does to a server, with the real things: `run.sh PATH-TO-sterna [prometheus|proxy|cgroup ...]`.
#
#   prometheus  promtool checks the page; a real Prometheus scrapes it under load and is asked what it has seen
#   proxy       two replicas behind HAProxy under 50 streams, one gets SIGTERM; again with too short a drain
#   cgroup      a server with half a CPU and 512 MiB: one thread, throttling counted, never killed by the kernel
#
# haproxy and prometheus are Debian's, installed by apt if missing. What cannot be tested here is named and skipped.
# Everything listens on 127.0.0.1, at ports the system chooses. Nothing runs on afterwards.
set -euo pipefail
sterna=$(realpath "$1")
shift
cd "$(dirname "$0")/../.."

install() { # install PACKAGE PROGRAM: makes the program available if that is possible here
  command -v "$2" >/dev/null && return
  if ! command -v apt-get >/dev/null; then echo "ops: $2 is missing, and there is no apt-get to install it"; return; fi
  if [ "$(id -u)" != 0 ]; then echo "ops: $2 is missing, and installing it needs root (apt-get install $1)"; return; fi
  echo "ops: installing $1 by apt"
  # Its own service must not start: this is about our processes.
  printf '#!/bin/sh\nexit 101\n' > "$scratch/policy-rc.d"
  chmod +x "$scratch/policy-rc.d"
  local policy=
  [ -e /usr/sbin/policy-rc.d ] || { cp "$scratch/policy-rc.d" /usr/sbin/policy-rc.d && policy=mine; }
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >/dev/null; } ||
    echo "ops: apt-get install $1 failed"
  [ -z "$policy" ] || rm -f /usr/sbin/policy-rc.d
}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
install haproxy haproxy
install prometheus promtool
python3 tests/ops/ops.py "$sterna" "$@"
