#!/usr/bin/env bash
# Pushes two images that share a model to a registry on 127.0.0.1 and reads them back:
# `push-test.sh STERNA STERNA-PUSH`. The registry is Debian's docker-registry, installed by apt
# where it is missing; skipped, with the reason, where that cannot be.
# `push-test.sh --install` does nothing else.
set -euo pipefail
[ "$1" = --install ] || sterna=$(realpath "$1") push=$(realpath "$2")
cd "$(dirname "$0")/.."
say() { printf 'push-test: %s\n' "$*" >&2; }
command -v docker-registry >/dev/null || scripts/apt.sh push-test docker-registry ||
  { say "skipped: docker-registry is not installed"; exit 0; }
[ "$1" != --install ] || exit 0
folder=$(mktemp -d)
registry=
stop() { [ -z "$registry" ] || { kill "$registry" && wait "$registry"; } 2>/dev/null || true; rm -rf "$folder"; }
trap stop EXIT

# It names no port it chose, so one is chosen here, and another if that is taken meanwhile.
for attempt in 1 2 3 4 5; do
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  cat > "$folder/registry.yml" <<YML
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $folder/store}}
http: {addr: "127.0.0.1:$port"}
YML
  docker-registry serve "$folder/registry.yml" >"$folder/registry.log" 2>&1 &
  registry=$!
  if curl -sf --retry 50 --retry-delay 1 --retry-connrefused -o /dev/null "http://127.0.0.1:$port/v2/"; then break; fi
  [ "$attempt" -lt 5 ] || { say "the registry does not start"; cat "$folder/registry.log" >&2; exit 1; }
done

demo=component/engine/models/demo.gguf
"$sterna" image --no-host --model "$demo" -t llm:1 -o "$folder/one.tar" >/dev/null
printf '#' | cat component/engine/models/demo.gguf - > "$folder/other.gguf" # another model: one byte more
"$sterna" image --no-host --model "$folder/other.gguf" -t llm:3 -o "$folder/three.tar" >/dev/null
place=127.0.0.1:$port/team/llm
first=$("$push" --plain-http "$folder/one.tar" "$place:1")
[ "$(grep -c ' sent$' <<<"$first")" = 2 ] || { say "expected configuration and layer to be sent: $first"; exit 1; }
again=$("$push" --plain-http "$folder/one.tar" "$place:2")
[ "$(grep -c 'is there already' <<<"$again")" = 2 ] || { say "expected nothing to be sent again: $again"; exit 1; }
digest=$(tail -1 <<<"$first"); digest=${digest##*@}
[ "$digest" = "$(tail -1 <<<"$again" | sed 's/.*@//')" ] || { say "the same image has two digests"; exit 1; }
"$push" --plain-http "$folder/three.tar" "$place:3" >/dev/null

# The registry gives back the blobs of the file.
manifest=$(curl -sf \
  -H 'Accept: application/vnd.oci.image.manifest.v1+json' "http://127.0.0.1:$port/v2/team/llm/manifests/1")
[ "sha256:$(printf '%s' "$manifest" | sha256sum | cut -d' ' -f1)" = "$digest" ] || { say "the manifest came back different"; exit 1; }
layer=$(python3 -c 'import json, sys; print(json.loads(sys.argv[1])["layers"][0]["digest"])' "$manifest")
curl -sf "http://127.0.0.1:$port/v2/team/llm/blobs/$layer" | tar -xOf - model.gguf | cmp - "$demo"

# One image for two kinds of machines: programs as far as their headers tell.
for machine in 76 267; do # 62 and 183
  # shellcheck disable=SC2059 # the escape is the point
  { printf '\177ELF\2\1'; head -c 12 /dev/zero; printf "\\$machine"; head -c 45 /dev/zero; } > "$folder/program-$machine"
done
"$sterna" image --host "$folder/program-76" --host "$folder/program-267" --model "$demo" -t llm:2 -o "$folder/two.tar" >/dev/null
"$push" --plain-http "$folder/two.tar" "$place:both" >/dev/null
curl -sf -H 'Accept: application/vnd.oci.image.index.v1+json' "http://127.0.0.1:$port/v2/team/llm/manifests/both" > "$folder/index.json"
for n in 0 1; do
  digest=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["manifests"][int(sys.argv[2])]["digest"])' "$folder/index.json" $n)
  curl -sf -H 'Accept: application/vnd.oci.image.manifest.v1+json' "http://127.0.0.1:$port/v2/team/llm/manifests/$digest" |
    grep -q "$layer" || { say "the image's platform $n lacks the model that the other image has"; exit 1; }
done

# Without --plain-http it asks for TLS, finds none and says which option is missing; a file that is
# no image is refused.
if said=$("$push" "$folder/one.tar" "$place:4" 2>&1); then say "pushed without TLS although it was not asked to"; exit 1; fi
grep -q -- --plain-http <<<"$said" || { say "the error names no remedy: $said"; exit 1; }
if said=$("$push" --plain-http "$demo" "$place:4" 2>&1); then say "pushed a file that is no image"; exit 1; fi
grep -q 'no tar file' <<<"$said" || { say "the error is unclear: $said"; exit 1; }
say "three images, one of them for two kinds of machines: pushed, shared and read back"
