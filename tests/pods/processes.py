"""Which processes pods are made of, and the CPU time these take."""

import contextlib
import pathlib
import time


def by_part(machine, handler):
    """Process numbers of all pods: the servers, the shims' own, and the pause programs."""
    servers = {machine.pid(pod) for pod in machine.pods.values()}
    shims = set(machine.shims(handler))
    return {"server": servers, "shim": shims, "pause": children(shims) - servers - shims}


def children(parents):
    """Processes whose parent is one of these."""
    found = set()
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1]) in parents:
                found.add(int(folder.name))
    return found


def spent(pids):
    """(CPU time in ns, how often a thread has gone to sleep) of these so far; each sleep is the end
    of something that woke it.
    """
    time_ns = sleeps = 0
    for pid in pids:
        for task in pathlib.Path(f"/proc/{pid}/task").glob("*"):
            # A thread may end between being listed and being read.
            with contextlib.suppress(OSError):
                time_ns += int((task / "schedstat").read_text().split()[0])
                status = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
                sleeps += int(status["voluntary_ctxt_switches"])
    return time_ns, sleeps


def idle(parts, seconds):
    """The cost of each part while nobody asks: part -> (ms of CPU time, sleeps), in all."""
    before = {part: spent(pids) for part, pids in parts.items()}
    time.sleep(seconds)
    after = {part: spent(pids) for part, pids in parts.items()}
    return {part: ((after[part][0] - before[part][0]) / 1e6, after[part][1] - before[part][1]) for part in parts}
