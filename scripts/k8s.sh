#!/usr/bin/env bash
# Checks k8s/: renders every overlay with a real kubectl, validates every object against strict
# schemas, and tests what the objects mean. `k8s.sh [STERNA]`: with a server program also against
# what it really serves. Needs no cluster. `k8s.sh --install` installs kubectl
# and the Python packages, and does nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=target/k8s-venv
kubectl=$(scripts/kubectl.sh)
scripts/venv.sh "$venv" tests/k8s/requirements.txt
[ "${1:-}" != --install ] || exit 0
arguments=(--kubectl "$kubectl")
[ -z "${1:-}" ] || arguments+=(--sterna "$(realpath "$1")")
exec "$venv/bin/python" -m pytest -q -p no:cacheprovider -rs tests/k8s "${arguments[@]}"
