#!/usr/bin/env bash
# Pods as a kubelet starts them, on a private containerd: RunPodSandbox, CreateContainer,
# StartContainer, ready, first token.
#   pods.sh test                    three pods: the shim, and both forms under runc (CI)
#   pods.sh time [--runs 20] [--cold] [CASE ...]
#           [--peer NAME IMAGE.tar PORT PATH COMMAND]   another server, ready when PATH says 200
#   pods.sh density N [CASE ...]    N pods at a time: memory of each, and its CPU time while idle
#   pods.sh fill [--node-mib 4096] [--positions 256] [--most 400] [--minutes 60] [CASE ...]
#                                   the number of pods such a node holds, idle and active
#   pods.sh images                  make the images only
#   pods.sh install                 install what they need only
# `--sizes` before the word also makes images of 300 and 900 MB (random weights; some minutes and 6
# GB of disk). $PROFILE is the cargo profile, release unless set. Needs root; says why it skips
# where root or cgroups do not allow it.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${PROFILE:-release}
sizes=
if [ "${1:-}" = --sizes ]; then sizes=1; shift; fi
verb=${1:-test}; shift || true
say() { printf 'pods: %s\n' "$*" >&2; }

if [ "$(uname -s)" != Linux ] || [ "$(id -u)" != 0 ]; then say "skipped: it needs root on Linux, for namespaces and mounts"; exit 0; fi
missing=()
command -v containerd >/dev/null || missing+=(containerd)
command -v runc >/dev/null || missing+=(runc)
[ -e /usr/lib/cni/ptp ] || [ -e /opt/cni/bin/ptp ] || missing+=(containernetworking-plugins)
[ ${#missing[@]} = 0 ] || scripts/apt.sh pods "${missing[@]}" || { say "skipped: ${missing[*]} not installed"; exit 0; }
venv=target/pods-venv
scripts/venv.sh "$venv" tests/pods/requirements.txt
[ "$verb" != install ] || exit 0
if reason=$("$venv/bin/python" -c 'import sys; sys.path.insert(0, "tests/pods"); import node; print(node.reason_to_skip() or "")') && [ -n "$reason" ]; then
  say "skipped: $reason"
  exit 0
fi

programs=$PWD/target/static-bin images=$PWD/target/pods
# $STERNA_PODS_BUILT: what an earlier run of this script built is taken as it is.
[ -n "${STERNA_PODS_BUILT:-}" ] || { scripts/static.sh "$profile" >/dev/null; scripts/shim.sh "$profile" >/dev/null; }
sterna=$programs/sterna
mkdir -p "$images"
cc -O2 -static -o "$images/pause" tests/pods/pause.c
cc -O2 -Wall -static -o "$images/read_at_start" tests/pods/read_at_start.c

# image NAME OPTIONS: anew each time, which costs little and is never stale. `--host` takes any
# static program.
image() { "$sterna" image --tag "sterna.test/$1:1" -o "$images/$1.tar" "${@:2}" >/dev/null; }
image pause --host "$images/pause"
"$sterna" bake --aot -o "$images/demo.wasm" >/dev/null
demo=component/engine/models/demo.gguf
image app-demo --no-host --app "$images/demo.cwasm"
image gguf-demo --no-host --model "$demo"
image native-demo --model "$demo"
image baked-demo --app "$images/demo.cwasm"
if [ -n "$sizes" ]; then
  for size in 300:bitnet-0.7b 900:bitnet-2b-4t; do
    mb=${size%%:*}
    shape=${size#*:} head=q8_0
    [ "$mb" != 300 ] || head=f16
    if [ ! -e "$images/$mb.gguf" ]; then
      say "making a model of about $mb MB ($shape, $head head, random weights)"
      "$sterna" synth "$shape" i2_s "$images/$mb.gguf" --head "$head" >&2
    fi
    # Machine code of another build of the program is refused by it.
    if [ ! "$images/$mb.cwasm" -nt "$sterna" ]; then
      "$sterna" bake --aot --model "$images/$mb.gguf" -o "$images/$mb.wasm" >&2
      rm "$images/$mb.wasm"
    fi
    image "app-$mb" --no-host --app "$images/$mb.cwasm"
    image "native-$mb" --model "$images/$mb.gguf"
    image "reader-$mb" --host "$images/read_at_start" --model "$images/$mb.gguf"
  done
fi

python=$PWD/$venv/bin/python
run=("$python" tests/pods/bench.py --images "$images" --programs "$programs")
case $verb in
  images) ls -sh "$images"/*.tar ;;
  test) STERNA_PODS="$images:$programs" exec "$python" -m pytest -q -p no:cacheprovider tests/pods ;;
  time) exec "${run[@]}" "$@" ;;
  fill) exec "${run[@]}" --fill "$@" ;;
  density) count=$1; shift; exec "${run[@]}" --density "$count" "${@:-shim}" ;;
  *) say "unknown: $verb"; exit 2 ;;
esac
