"""A server in control groups: with half a CPU and 512 MiB, as a small pod has, and with no more
memory than it needs.
"""

import concurrent.futures
import collections
import contextlib
import http.client
import json
import os
import pathlib
import socket
import time

from servers import DEADLINE_S, Stream, Sterna, ask, running, wait_until

ROOT = pathlib.Path("/sys/fs/cgroup")
MEMORY_BYTES = 512 << 20
LITTLE_MEMORY_BYTES = 128 << 20
# What a client may send at most, and more of it at a time than there is memory for.
BODY_BYTES = 4 << 20
BODIES = 60
# Of each kind, beyond what 512 MiB have room for.
IDLE_BODIES = 150
# At a time; fewer where the CPU is emulated (cgroup2.sh).
STREAMS = int(os.environ.get("STERNA_OPS_STREAMS", "16"))


class Group:
    """A fresh group of either version; `folders` are its folders, one for each hierarchy."""

    def __init__(self, memory_bytes=MEMORY_BYTES):
        self.memory_bytes = memory_bytes
        name = f"sterna-ops-{os.getpid()}"
        if (ROOT / "cgroup.controllers").exists():
            self.version, self.folders = 2, [ROOT / name]
        else:
            self.version, self.folders = 1, [ROOT / "cpu" / name, ROOT / "memory" / name]
        try:
            for folder in self.folders:
                folder.mkdir()
            self.limit()
        except OSError:
            self.remove()
            raise

    def limit(self):
        if self.version == 2:
            (folder,) = self.folders
            (folder / "cpu.max").write_text("50000 100000")
            (folder / "memory.max").write_text(str(self.memory_bytes))
        else:
            cpu, memory = self.folders
            (cpu / "cpu.cfs_period_us").write_text("100000")
            (cpu / "cpu.cfs_quota_us").write_text("50000")
            (memory / "memory.limit_in_bytes").write_text(str(self.memory_bytes))

    @property
    def wrapper(self):
        """A command that enters the group and becomes another."""
        enter = "; ".join(f"echo $$ > {folder}/cgroup.procs" for folder in self.folders)
        return ["sh", "-ec", f'{enter}; exec "$@"', "sh"]

    def oom_kills(self):
        """Processes of the group that the kernel has killed for memory."""
        file = "memory.events" if self.version == 2 else "memory.oom_control"
        text = (self.folders[-1] / file).read_text()
        return dict(line.split() for line in text.splitlines())["oom_kill"]

    def remove(self):
        for folder in self.folders:
            # A group is busy until the last of its processes is gone.
            for _ in range(100):
                with contextlib.suppress(OSError):
                    folder.rmdir()
                if not folder.exists():
                    break
                time.sleep(0.05)


def test(binary):
    """The missing parts, if any."""
    if os.getuid() != 0:
        return "making control groups needs root"
    try:
        group = Group()
    except OSError as error:
        return f"control groups cannot be made here: {error}"
    try:
        with running(Sterna(binary, wrapper=group.wrapper)) as server:
            limits(server)
            throttling(server)
            bodies_that_do_not_come(server)
            memory(server, group)
            server.signal()
            assert server.wait() == 0, server.log
    finally:
        group.remove()
    little_memory(binary)
    return None


def limits(server):
    """The limits are seen, and there is one thread."""
    assert "with 1 threads" in server.log or "with 1 thread," in server.log, server.log
    metrics = server.metrics()
    seen = [metrics[f"sterna_{name}"] for name in ("threads", "cpu_limit_cores", "memory_limit_bytes")]
    assert seen == [1, 0.5, MEMORY_BYTES], seen
    used = metrics["sterna_memory_working_set_bytes"]
    print(f"ops: cgroup: 0.5 CPU and 512 MiB are seen; one thread; {used / 2**20:.0f} MiB in use when ready")


def throttling(server):
    """Streams are served, slower, and the page says why; probes answer meanwhile."""
    streams = [Stream(server.address, ask(100, seed)) for seed in range(STREAMS)]
    wait_until("throttling", lambda: server.metrics()["sterna_cgroup_cpu_throttled_periods_total"] > 0)
    assert server.get("/livez")[0] == 200 and server.get("/readyz")[0] == 200
    for stream in streams:
        stream.join()
    failed = [stream.broken or stream.error for stream in streams if not stream.done]
    assert not failed, failed
    metrics = server.metrics()
    periods, throttled, seconds = (
        metrics[f"sterna_cgroup_cpu_{name}_total"] for name in ("periods", "throttled_periods", "throttled_seconds")
    )
    assert 0 < throttled <= periods and seconds > 0, (throttled, periods, seconds)
    print(f"ops: cgroup: {STREAMS} streams complete; held back in {throttled:.0f} of {periods:.0f} periods, {seconds:.1f} s in all")


def bodies_that_do_not_come(server):
    """Bodies are announced that would take all memory many times; others are served meanwhile."""
    host, port = server.address.split(":")
    sent = {
        "Transfer-Encoding: chunked": b'6\r\n{"a":1\r\n',
        f"Content-Length: {BODY_BYTES}": b" " * (BODY_BYTES // 16),
        "Content-Length: 30": b"",
    }
    silent = []
    for header, body in sent.items():
        for _ in range(IDLE_BODIES):
            client = socket.create_connection((host, int(port)), timeout=DEADLINE_S)
            head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n"
            with contextlib.suppress(OSError):
                # One that was cut off for a later one does not take the rest.
                client.sendall(head.encode() + body)
            silent.append(client)
        stream = Stream(server.address, ask(5))
        stream.join()
        assert stream.done, f"{header}: {stream.broken}"
        assert server.get("/readyz")[0] == 200, header
    for client in silent:
        client.close()
    print(f"ops: cgroup: {len(silent)} bodies that do not come, and requests are served all the same")


def memory(server, group):
    """More large bodies at a time than there is memory for: some are refused, and nothing is
    killed.
    """
    body = json.dumps({"prompt": [1] * (BODY_BYTES // 3 - 20), "max_tokens": 1, "stream": False})
    assert BODY_BYTES * 0.9 < len(body) <= BODY_BYTES, len(body)

    def send(_):
        try:
            connection = http.client.HTTPConnection(server.address, timeout=DEADLINE_S)
            connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
            return connection.getresponse().status
        except OSError:
            # Refused before the body was sent, and closed: seen as an answer or as a reset.
            return "reset"

    with concurrent.futures.ThreadPoolExecutor(BODIES) as pool:
        statuses = collections.Counter(pool.map(send, range(BODIES)))
    assert set(statuses) <= {400, 413, 429, "reset"}, statuses
    assert group.oom_kills() == "0", f"killed for memory: {server.log}"
    stream = Stream(server.address, ask(5))
    stream.join()
    assert stream.done, stream.broken
    refused = server.metrics()['sterna_requests_rejected_total{reason="memory"}']
    print(
        f"ops: cgroup: {BODIES} bodies of 4 MB at a time: {dict(statuses)}, {refused:.0f} refused for memory, no process killed, "
        "still serving"
    )


def little_memory(binary):
    """Prompts that cannot fit are refused and nothing is killed, where one of them took more to
    tokenise than there is.
    """
    group = Group(LITTLE_MEMORY_BYTES)
    try:
        with running(Sterna(binary, wrapper=group.wrapper)) as server:
            for text in ["a", " ", "word ", "\n", "\U0001f600", "\u0301", "<|endoftext|>"]:
                # As JSON writes it: a newline takes two bytes.
                size = len(json.dumps(text, ensure_ascii=False).encode()) - 2
                prompt = text * ((BODY_BYTES - 200) // size)
                body = json.dumps({"prompt": prompt, "max_tokens": 1}, ensure_ascii=False).encode()
                assert BODY_BYTES * 0.9 < len(body) <= BODY_BYTES, len(body)
                connection = http.client.HTTPConnection(server.address, timeout=DEADLINE_S)
                connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                refused = json.loads(answer.read())
                assert answer.status == 400, (text, answer.status, refused)
                assert refused["error"]["code"] == "context_length_exceeded", refused
            assert group.oom_kills() == "0", f"killed for memory: {server.log}"
            stream = Stream(server.address, ask(5))
            stream.join()
            assert stream.done, stream.broken
            server.signal()
            assert server.wait() == 0, server.log
    finally:
        group.remove()
    print("ops: cgroup: in 128 MiB prompts of 4 MB are refused, no process killed, still serving")
