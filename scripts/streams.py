#!/usr/bin/env python3
"""The cost of many streams at a time under `wasmtime serve`: `streams.py APP.cwasm N`.

One stream begins, the others 0.1 s later. Prints the CPU time the server spent on a token, which
other load on the machine hardly changes, and the tokens all streams got in a second.
"""

import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time

PROMPT = "Once upon a time, there was a little girl named Lily."


def cpu_seconds(pid):
    """User and system time so far."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stream(address, seed, counts):
    """Ask for 300 tokens that sampling makes different for each seed, and count the events."""
    ask = {"prompt": PROMPT, "max_tokens": 300, "seed": seed, "temperature": 2, "stream": True}
    connection = http.client.HTTPConnection(address)
    connection.request("POST", "/v1/completions", json.dumps(ask), {"Content-Type": "application/json"})
    counts[seed] = sum(b'"finish_reason":null' in line for line in connection.getresponse())


def main():
    app, n_streams = sys.argv[1], int(sys.argv[2])
    wasmtime = subprocess.check_output([os.path.join(os.path.dirname(__file__), "wasmtime.sh")], text=True).strip()
    command = [wasmtime, "serve", "-Scli", "--addr", "127.0.0.1:0", "--allow-precompiled", app]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        address = re.search(r"http://([0-9.:]+)", server.stderr.readline()).group(1)
        counts = [0] * n_streams
        clients = [threading.Thread(target=stream, args=(address, seed, counts)) for seed in range(n_streams)]
        began, cpu = time.monotonic(), cpu_seconds(server.pid)
        clients[0].start()
        time.sleep(0.1)
        for client in clients[1:]:
            client.start()
        for client in clients:
            client.join()
        took, cpu = time.monotonic() - began, cpu_seconds(server.pid) - cpu
    finally:
        server.kill()
    tokens = sum(counts)
    print(f"{n_streams} streams, {tokens} tokens: {cpu / tokens * 1e3:.2f} ms of CPU a token, {tokens / took:.0f} tokens/s")


if __name__ == "__main__":
    main()
