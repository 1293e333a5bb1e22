#!/usr/bin/env bash
# Installs Debian packages for another script: `apt.sh WHO PACKAGE...`, as root or by sudo. Says
# what it does. Where it cannot, it says why and fails; whether that is a fault or a reason to skip
# is the caller's to say.
set -euo pipefail
who=$1
shift
say() { printf '%s: %s\n' "$who" "$*" >&2; }
command -v apt-get >/dev/null || { say "missing: $*; there is no apt-get here to install them"; exit 1; }
sudo=()
if [ "$(id -u)" != 0 ]; then
  # Nobody may be there to type a password.
  if [ -t 0 ]; then ask=(sudo); else ask=(sudo -n); fi
  { command -v sudo && "${ask[@]}" true; } >/dev/null || { say "missing: $*; installing them needs root (apt-get install $*)"; exit 1; }
  sudo=("${ask[@]}")
fi
# Two steps may want something at a time; apt itself would not wait for its lists.
exec 9>"${TMPDIR:-/tmp}/sterna-apt.lock"
flock 9
say "installing by apt: $*"
# A server that comes in a package must not start by itself: what is tested is what a script starts.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap '"${sudo[@]}" rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
  "${sudo[@]}" chmod +x "$policy"
fi
"${sudo[@]}" apt-get update -qq -o DPkg::Lock::Timeout=600 >&2 9>&-
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o DPkg::Lock::Timeout=600 --no-install-recommends "$@" >/dev/null 9>&-
