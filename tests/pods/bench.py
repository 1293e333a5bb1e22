"""Times pods as a kubelet starts them: `bench.py --images DIR --programs DIR --runs 20 [CASE ...]`;
`--density 50 [CASE]` starts many and measures what each holds, and what it costs while nobody asks;
`--fill` starts as many as a small node holds, idle and active.

Per run: sandbox request (RunPodSandbox), CreateContainer, then from the StartContainer request to
the first 200 on /readyz, then to the first token of a 14-token prompt. The cases take turns.
`--cold` drops the image's and the programs' pages from the page cache before each start. `--peer`
adds another server's image, which has to answer 200 at PATH when it is ready.
"""

import argparse
import json
import os
import pathlib
import shlex
import signal
import statistics
import sys
import tarfile
import tempfile
import time

import http_client
import memory
import node
import processes
from fill import fill
from small_node import SmallNode

SHIM = {"handler": "sterna", "command": ["/"], "env": {"SPIN_HTTP_LISTEN_ADDR": "0.0.0.0:80"}, "port": 80}
RUNC = {"port": 8080}
READER = {"port": 8080, "command": ["/sterna", "/model.gguf"], "tokens": False}

# Name -> image and how it is started. The images are those of scripts/pods.sh.
CASES = {
    "shim": {"image": "app-demo", **SHIM},
    "shim-gguf": {"image": "gguf-demo", **SHIM},
    "native": {"image": "native-demo", **RUNC},
    "baked": {"image": "baked-demo", **RUNC},
    "shim-300": {"image": "app-300", **SHIM},
    "shim-900": {"image": "app-900", **SHIM},
    "native-900": {"image": "native-900", **RUNC},
    "reader-300": {"image": "reader-300", **READER},
    "reader-900": {"image": "reader-900", **READER},
}
# As in k8s/: the limit of a pod with a small model, and with a large one.
MEMORY_LIMIT = {"demo": 1 << 30, "300": 4 << 30, "900": 4 << 30}
# How long pods are watched while nobody asks them anything.
IDLE_S = 60
COLUMNS = ["sandbox", "create", "start_to_ready", "ready_to_token", "request_to_ready", "request_to_token"]


def peer(words):
    """A case from `--peer NAME IMAGE.tar PORT PATH COMMAND`; the image keeps its own name."""
    name, tar, port, path, command = words
    with tarfile.open(tar) as archive:
        index = json.load(archive.extractfile("index.json"))
    tag = index["manifests"][0].get("annotations", {}).get("io.containerd.image.name")
    if not tag:
        raise SystemExit(f"--peer {name}: {tar} does not name its image (annotation io.containerd.image.name)")
    return name, {"tar": tar, "tag": tag, "port": int(port), "path": path, "command": shlex.split(command)}


def tar_of(case, images):
    """The path of a case's image."""
    return pathlib.Path(case["tar"]) if "tar" in case else images / f"{case['image']}.tar"


def start(machine, case, resources=None):
    """One pod of a case, and its times in ms."""

    def observe(pod):
        ready = http_client.wait_ready(pod["ip"], case["port"], case.get("path", "/readyz"))
        if not case.get("tokens", True):
            return ready, None
        stream = http_client.Stream(pod["ip"], case["port"], http_client.completion())
        stream.wait_token()
        token = time.monotonic()
        # Random weights may well say a token that is no text; it is an event all the same.
        assert stream.text()[1], "the stream was cut"
        return ready, token

    pod = machine.run(
        case.get("tag") or f"sterna.test/{case['image']}:1",
        handler=case.get("handler", ""),
        command=case.get("command", ()),
        env=case.get("env"),
        resources=resources,
        observe=observe,
    )
    times, (ready, token) = pod["times"], pod["observed"]
    row = {
        "sandbox": times["sandbox"],
        "create": times["create"],
        "start_to_ready": ready - times["started_at"],
        "request_to_ready": ready - times["begun_at"],
    }
    if token:
        row |= {"ready_to_token": token - ready, "request_to_token": token - times["begun_at"]}
    return pod, {name: seconds * 1e3 for name, seconds in row.items()}


def time_starts(machine, cases, runs, cold):
    """Start and remove each case `runs` times, in turn; the first round, which warms containerd, is
    not counted.
    """
    rows = {name: [] for name in cases}
    for run in range(runs + 1):
        for name in cases:
            if cold:
                memory.evict(machine.base / "root", machine.programs)
            pod, row = start(machine, CASES[name])
            code = machine.stop(pod)
            assert code == 0, f"{name}: exit code {code} after SIGTERM\n" + pod["log"].read_text()[-2000:]
            machine.remove(pod)
            if run:
                rows[name].append(row)
    print(f"{'ms, median (min..max)':<14}" + "".join(f"{column:>24}" for column in COLUMNS))
    for name, measured in rows.items():
        cells = []
        for column in COLUMNS:
            values = sorted(row[column] for row in measured if column in row)
            text = f"{statistics.median(values):.1f} ({values[0]:.1f}..{values[-1]:.1f})" if values else "-"
            cells.append(f"{text:>24}")
        print(f"{name:<14}" + "".join(cells))
    return rows


def density(machine, name, count):
    """Start `count` pods of one image and keep them; what each one holds for itself."""
    available = memory.available_kib()
    times = []
    for _ in range(count):
        _, row = start(machine, CASES[name])
        times.append(row)
    running = processes.by_part(machine, CASES[name].get("handler") or "runc")
    parts = memory.of_pods(running)
    taken = available - memory.available_kib()
    print(f"{count} pods of {name}, each after its first token; KiB a pod:")
    for part, use in parts.items():
        print(f"  {part:<12} private {use['private'] / count:>8.0f}   mapped files {use['shared'] / count:>8.0f}   processes {use['processes']}")
    private = sum(use["private"] for use in parts.values()) / count
    median = statistics.median(row["request_to_ready"] for row in times)
    print(f"  private in all {private:.0f} KiB; the machine's available memory fell by {taken / count:.0f} KiB a pod")
    print(f"  request to ready: median {median:.1f} ms")
    idle = processes.idle(running, IDLE_S)
    spent = ", ".join(f"{part} {ms / count:.2f} ms and {sleeps / count:.1f} wakes" for part, (ms, sleeps) in idle.items())
    print(f"  CPU time a pod in {IDLE_S} s without a request: {spent}")
    return {"pods": count, "case": name, "private_kib": private, "taken_kib": taken / count, "parts": parts, "idle": idle}


def fill_small_nodes(options, cases):
    """Each case with each number of positions, each on a node of its own that starts empty."""
    result = []
    for name in cases:
        case = CASES[name]
        size = case["image"].rsplit("-", 1)[1]
        for positions in options.positions:
            small = SmallNode((options.node_mib - options.reserved_mib) << 20)
            try:
                with tempfile.TemporaryDirectory(prefix="sterna-pods-", dir="/var/tmp") as base:
                    with node.Node(base, options.programs, small) as machine:
                        load(machine, options.images, [name])
                        memory.evict(machine.base / "root", machine.programs)
                        limit = {"cpu_shares": 1024, "memory_limit_in_bytes": MEMORY_LIMIT[size]}
                        once = lambda: start_only(machine, case, limit)  # noqa: E731
                        result.append(fill(machine, name, once, case["port"], positions, options.most, options.minutes))
            finally:
                small.remove()
    return result


def start_only(machine, case, resources):
    """A pod of a case, ready, and never asked."""
    return start(machine, case | {"tokens": False}, resources)[0]


def load(machine, images, cases):
    """Import what the cases need, and have it on the disk: else what the import wrote stays in the
    page cache until then.
    """
    for tar in [images / "pause.tar", *{tar_of(CASES[name], images) for name in cases}]:
        machine.load(tar)
    os.sync()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--images", type=pathlib.Path, required=True)
    parser.add_argument("--programs", type=pathlib.Path, required=True)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--density", type=int, action="append", default=[], metavar="N")
    parser.add_argument("--fill", action="store_true", help="how many pods a small node holds")
    parser.add_argument("--node-mib", type=int, default=4096, help="memory of that node")
    parser.add_argument("--reserved-mib", type=int, default=1024, help="of it, for the system and the kubelet")
    parser.add_argument("--positions", type=int, action="append", metavar="N",
                        help="that pods fill with an answer before the next is started; 0 is idle [default: 0, then 256]")
    parser.add_argument("--most", type=int, default=400, help="pods that are enough")
    parser.add_argument("--minutes", type=float, default=60, help="after which no more are started")
    parser.add_argument("--peer", nargs=5, action="append", default=[], metavar=("NAME", "IMAGE.tar", "PORT", "PATH", "COMMAND"))
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    options.positions = options.positions or [0, 256]
    # As Ctrl-C: what was started goes too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("pods: told to stop"))
    if reason := node.reason_to_skip():
        print("pods: skipped, not measured: " + reason)
        return
    if options.fill and options.peer:
        parser.error("--fill asks Sterna's own images only")
    peers = dict(peer(words) for words in options.peer)
    CASES.update(peers)
    present = [name for name, case in CASES.items() if tar_of(case, options.images).exists()]
    cases = options.cases or (["shim"] if options.fill else [name for name in present if name not in peers])
    cases += [name for name in peers if name not in cases]
    if missing := [name for name in cases if name not in present]:
        raise SystemExit(f"no image for: {', '.join(missing)}; scripts/pods.sh --sizes makes all")
    if options.fill:
        result = fill_small_nodes(options, cases)
        if options.json:
            options.json.write_text(json.dumps(result))
        return
    with tempfile.TemporaryDirectory(prefix="sterna-pods-", dir="/var/tmp") as base:
        with node.Node(base, options.programs) as machine:
            load(machine, options.images, cases)
            print(f"{machine.version['runtime_name']} {machine.version['runtime_version']}, load {os.getloadavg()[0]:.1f}, "
                  f"{'cold' if options.cold else 'warm'} page cache, {options.runs} runs")
            if options.density:
                result = []
                for name in cases:
                    for count in options.density:
                        result.append(density(machine, name, count))
                        for pod in list(machine.pods.values()):
                            machine.remove(pod)
            else:
                result = time_starts(machine, cases, options.runs, options.cold)
            if options.json:
                options.json.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
