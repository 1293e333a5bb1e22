#!/usr/bin/env bash
# Starts a server on an ephemeral port and drives it with the official `openai` Python package:
# `run.sh PATH-TO-sterna`. The package is installed into a virtual environment of its own
# (target/clients-venv).
set -euo pipefail
sterna=$(realpath "$1")
cd "$(dirname "$0")/../.."
venv=target/clients-venv
requirements=tests/clients/requirements.txt

scripts/venv.sh "$venv" "$requirements"
exec "$venv/bin/python" -m pytest -q -p no:cacheprovider tests/clients --sterna "$sterna"
