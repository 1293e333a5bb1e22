#!/usr/bin/env bash
# Times the portable form's first token under `wasmtime serve`:
# `first-token.sh APP.wasm|APP.cwasm [RUNS]`.
#   cold  from starting the process to the first token of the first request, files in the page cache
#   warm  from sending a request to its first token, in a server that has answered before
# The prompt has 14 tokens. Under WASI 0.2 every request has a fresh instance.
set -euo pipefail
cd "$(dirname "$0")/.."
app=$1 runs=${2:-9}
wasmtime=$(scripts/wasmtime.sh)
body='{"prompt": "Once upon a time, there was a little girl named Lily.", "max_tokens": 1, "temperature": 0}'
server=
stop() { [ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null || true; server=; }
trap stop EXIT

ask() { # ask ADDRESS: seconds until the answer is there
  curl -sf -o /dev/null -w '%{time_total}\n' -H 'Content-Type: application/json' -d "$body" "$1/v1/completions"
}
summary() { sort -n | awk '{ a[NR] = $1 * 1000 } END { printf "median %.1f ms, fastest %.1f ms of %d\n", a[int((NR + 1) / 2)], a[1], NR }'; }

options=(serve -Scli --addr 127.0.0.1:0)
# A .wasm is compiled anew each time.
if "$wasmtime" -C help 2>&1 | grep -q ' cache'; then options+=(-C cache=n); fi
[ "${app##*.}" != cwasm ] || options+=(--allow-precompiled)
cold=() warm=()
for _ in $(seq "$runs"); do
  start=$(date +%s%N)
  exec 3< <(exec "$wasmtime" "${options[@]}" "$app" 2>&1)
  server=$!
  read -r line <&3 || { echo "first-token: wasmtime ended at once" >&2; exit 1; }
  address=$(grep -oE 'http://[0-9.:]+' <<<"$line") || { echo "first-token: $line" >&2; exit 1; }
  ask "$address" >/dev/null
  cold+=("$(awk "BEGIN { print ($(date +%s%N) - $start) / 1e9 }")")
  for _ in 1 2 3; do warm+=("$(ask "$address")"); done
  stop
done
printf 'cold process to first token: '
printf '%s\n' "${cold[@]}" | summary
printf 'warm, request to first token: '
printf '%s\n' "${warm[@]}" | summary
