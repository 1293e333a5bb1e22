#!/usr/bin/env bash
# Starts a server on an ephemeral port and drives it with the official Python packages of the APIs
# that it has: `run.sh PATH-TO-sterna`. They are installed into a virtual environment of their own
# (target/clients-venv); `run.sh --install` does nothing else.
set -euo pipefail
[ "$1" = --install ] || sterna=$(realpath "$1")
cd "$(dirname "$0")/../.."
venv=target/clients-venv
requirements=tests/clients/requirements.txt

scripts/venv.sh "$venv" "$requirements"
[ "$1" != --install ] || exit 0
exec "$venv/bin/python" -m pytest -q -p no:cacheprovider tests/clients --sterna "$sterna"
