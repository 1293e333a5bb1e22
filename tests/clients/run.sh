#!/usr/bin/env bash
# Starts a server on an ephemeral port and drives it with the official `openai` Python package: `run.sh PATH-TO-sterna`.
# The package is installed into a virtual environment of its own (target/clients-venv).
set -euo pipefail
sterna=$(realpath "$1")
cd "$(dirname "$0")/../.."
venv=target/clients-venv
requirements=tests/clients/requirements.txt

command -v python3 >/dev/null || { echo "clients: python3 is missing; install it (Debian: apt-get install python3 python3-venv)" >&2; exit 1; }
if ! cmp -s "$requirements" "$venv/installed.txt"; then
  echo "clients: installing $(tr '\n' ' ' < "$requirements")into $venv"
  rm -rf "$venv"
  if ! python3 -m venv "$venv" 2>/dev/null; then
    # Debian splits venv off python3.
    { [ "$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null && python3 -m venv "$venv"; } ||
      { echo "clients: python3 cannot make a virtual environment; install python3-venv" >&2; exit 1; }
  fi
  "$venv/bin/pip" install -q --disable-pip-version-check -r "$requirements"
  cp "$requirements" "$venv/installed.txt"
fi
exec "$venv/bin/python" -m pytest -q -p no:cacheprovider tests/clients --sterna "$sterna"
