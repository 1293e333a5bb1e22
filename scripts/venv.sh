#!/usr/bin/env bash
# A Python virtual environment with pinned packages: `venv.sh FOLDER REQUIREMENTS`. Made anew when
# the requirements change.
set -euo pipefail
venv=$1
wanted=$(cat "$2")

command -v python3 >/dev/null || { echo "venv: python3 is missing; install it (Debian: apt-get install python3 python3-venv)" >&2; exit 1; }
[ "$wanted" = "$(cat "$venv/installed.txt" 2>/dev/null || true)" ] && exit 0
echo "venv: installing $(tr '\n' ' ' <<< "$wanted")into $venv" >&2
rm -rf "$venv"
if ! python3 -m venv "$venv" 2>/dev/null; then
  # Debian splits venv off python3.
  { "$(dirname "$0")/apt.sh" venv python3-venv && python3 -m venv "$venv"; } ||
    { echo "venv: python3 cannot make a virtual environment; install python3-venv" >&2; exit 1; }
fi
"$venv/bin/pip" install -q --disable-pip-version-check -r <(echo "$wanted")
echo "$wanted" > "$venv/installed.txt"
