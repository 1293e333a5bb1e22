#!/usr/bin/env bash
# Drives the chat page in headless Chromium: `run.sh PATH-TO-sterna`. Starts two servers on
# ephemeral ports; the second one wants the key `sesame`.
# Chromium is Debian's (installed by apt if missing); playwright-core comes from npm into
# target/browser-node. Where one of them cannot be had, it says so and tests nothing. Screenshots:
# target/browser-screens. `run.sh --install` installs both, and does nothing else.
set -euo pipefail
[ "$1" = --install ] || sterna=$(realpath "$1")
cd "$(dirname "$0")/../.."
modules=target/browser-node
playwright="playwright-core@1.65.1"
screens=target/browser-screens
skip() { echo "browser: SKIPPED, the chat page is not tested: $*"; exit 0; }

find_chromium() { command -v chromium || command -v chromium-browser || command -v google-chrome; }
if ! find_chromium >/dev/null; then
  scripts/apt.sh browser chromium fonts-dejavu-core || skip "there is no chromium on PATH"
fi
for program in node npm; do
  command -v "$program" >/dev/null || skip "$program is missing (Debian: apt-get install nodejs npm)"
done
if [ "$(cat "$modules/installed.txt" 2>/dev/null)" != "$playwright" ]; then
  echo "browser: installing $playwright into $modules"
  mkdir -p "$modules"
  npm install --prefix "$modules" --no-save --no-audit --no-fund --loglevel=error "$playwright" >/dev/null ||
    skip "npm could not install $playwright"
  echo "$playwright" > "$modules/installed.txt"
fi
[ "$1" != --install ] || exit 0

logs=$(mktemp -d)
servers=()
stop_servers() {
  for server in "${servers[@]}"; do kill "$server" 2>/dev/null || true; wait "$server" || true; done
  rm -rf "$logs"
}
trap stop_servers EXIT
# One thread of the scalar kernels: slow enough that an answer is stopped before its end on every
# machine. The tokens are those of every other kernel.
start_server() { # start_server NAME: sets `address`
  "$sterna" serve --listen 127.0.0.1:0 --isa scalar --threads 1 >"$logs/$1" 2>&1 &
  servers+=($!)
  address=
  for _ in $(seq 300); do # 30 s
    address=$(grep -oE -m1 'http://127\.0\.0\.1:[0-9]+' "$logs/$1" || true)
    [ -z "$address" ] || return 0
    kill -0 "${servers[-1]}" 2>/dev/null || break
    sleep 0.1
  done
  echo "browser: the server '$1' did not start:" >&2
  cat "$logs/$1" >&2
  exit 1
}
start_server open
open=$address
STERNA_API_KEY=sesame start_server locked
mkdir -p "$screens"
NODE_PATH=$modules/node_modules node tests/browser/chat.cjs "$open" "$(find_chromium)" "$screens" "$address"
