"""Times pods as a kubelet starts them: `bench.py --images DIR --programs DIR --runs 20 [CASE ...]`; `--density 50 [CASE]`.

Per run: sandbox request (RunPodSandbox), CreateContainer, then from the StartContainer request to the first 200 on /readyz, then to
the first token of a 14-token prompt. The cases take turns. `--cold` drops the image's and the programs' pages from the page
cache before each start.
"""

import argparse
import json
import os
import pathlib
import statistics
import tempfile
import time

import http_client
import memory
import node

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
COLUMNS = ["sandbox", "create", "start_to_ready", "ready_to_token", "request_to_ready", "request_to_token"]


def start(machine, case):
    """One pod of a case, and its times in ms."""

    def observe(pod):
        ready = http_client.wait_ready(pod["ip"], case["port"])
        if not case.get("tokens", True):
            return ready, None
        stream = http_client.Stream(pod["ip"], case["port"], http_client.completion())
        stream.wait_token()
        token = time.monotonic()
        # Random weights may well say a token that is no text; it is an event all the same.
        assert stream.text()[1], "the stream was cut"
        return ready, token

    pod = machine.run(
        f"sterna.test/{case['image']}:1",
        handler=case.get("handler", ""),
        command=case.get("command", ()),
        env=case.get("env"),
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
    """Start and remove each case `runs` times, in turn; the first round, which warms containerd, is not counted."""
    rows = {name: [] for name in cases}
    # What the import has written stays in the page cache until it is on the disk.
    os.sync()
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
    parts = memory.of_pods(machine, CASES[name].get("handler") or "runc")
    taken = available - memory.available_kib()
    print(f"{count} pods of {name}, each after its first token; KiB a pod:")
    for part, use in parts.items():
        print(f"  {part:<12} private {use['private'] / count:>8.0f}   mapped files {use['shared'] / count:>8.0f}   processes {use['processes']}")
    private = sum(use["private"] for use in parts.values()) / count
    median = statistics.median(row["request_to_ready"] for row in times)
    print(f"  private in all {private:.0f} KiB; the machine's available memory fell by {taken / count:.0f} KiB a pod")
    print(f"  request to ready: median {median:.1f} ms")
    return {"pods": count, "case": name, "private_kib": private, "taken_kib": taken / count, "parts": parts}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--images", type=pathlib.Path, required=True)
    parser.add_argument("--programs", type=pathlib.Path, required=True)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--density", type=int, action="append", default=[], metavar="N")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    if reason := node.reason_to_skip():
        print("pods: skipped, not measured: " + reason)
        return
    present = [name for name, case in CASES.items() if (options.images / f"{case['image']}.tar").exists()]
    cases = options.cases or present
    if missing := [name for name in cases if name not in present]:
        raise SystemExit(f"no image for: {', '.join(missing)}; scripts/pods.sh --sizes makes all")
    with tempfile.TemporaryDirectory(prefix="sterna-pods-", dir="/var/tmp") as base:
        with node.Node(base, options.programs) as machine:
            for image in ["pause", *{CASES[name]["image"] for name in cases}]:
                machine.load(options.images / f"{image}.tar")
            load = os.getloadavg()[0]
            print(f"{machine.version['runtime_name']} {machine.version['runtime_version']}, load {load:.1f}, "
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
