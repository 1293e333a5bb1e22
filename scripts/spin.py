#!/usr/bin/env python3
"""Compares Sterna under Spin with the native server:
`spin.py [--spin SPIN] [--sterna STERNA] [BAKE-OPTION ...]`.

Bakes the demo model with `--spin` and the options given (`--relaxed-simd`, `--wasi 0.3`, none),
serves it by `spin up` with this repository's spin.toml, and compares: routes, tokens of 50 requests
at once, streaming, settings, and the same application pushed to a registry on 127.0.0.1 (where
`docker-registry` is installed). Prints what it found and the times; exits with 1 at the first
fault.
"""

import argparse
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LILY = "Once upon a time, there was a little girl named Lily."
N_REQUESTS = 50
N_STEPS = 20
SECONDS_TO_START = 120


def check(fine, what):
    """Go on, or end with what is wrong."""
    if not fine:
        sys.exit(f"spin.py: {what}")


def free_port():
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """A server that runs until the block ends."""

    def __init__(self, command, folder, variables=()):
        self.port = free_port()
        self.log = open(os.path.join(folder, f"{self.port}.log"), "w+", encoding="utf-8")
        self.command = [part.format(port=self.port) for part in command]
        self.folder, self.environment = folder, {**os.environ, **dict(variables)}

    def __enter__(self):
        began = time.monotonic()
        # `spin up` has a child that serves: a group of their own ends with both.
        self.process = subprocess.Popen(
            self.command, cwd=self.folder, env=self.environment, stdout=self.log, stderr=self.log, start_new_session=True
        )
        while True:
            with contextlib.suppress(OSError):
                if self.get("/health")[0] in (200, 500):
                    break
            ended = self.process.poll() is not None
            if ended or time.monotonic() - began > SECONDS_TO_START:
                self.__exit__()
                self.log.seek(0)
                sys.exit(f"spin.py: {' '.join(self.command)} does not serve:\n{self.log.read()}")
            time.sleep(0.01)  # asked again, until it answers
        self.seconds_to_start = time.monotonic() - began
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait()

    def open(self, method, path, body=None, headers=()):
        """An answer, whose body may still be coming."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        body = None if body is None else json.dumps(body)
        connection.request(method, path, body, {"Content-Type": "application/json", **dict(headers)})
        return connection.getresponse()

    def get(self, path, **headers):
        """Status and body."""
        answer = self.open("GET", path, headers=headers)
        return answer.status, answer.read().decode()

    def complete(self, seed, **more):
        """The text of a completion, streamed or not."""
        ask = {"prompt": LILY, "max_tokens": 40, "temperature": 1, "seed": seed, **more}
        answer = self.open("POST", "/v1/completions", ask)
        if not ask.get("stream"):
            whole = json.loads(answer.read())
            check(answer.status == 200, whole)
            return whole["choices"][0]["text"]
        return "".join(event["choices"][0]["text"] for event in events(answer) if event["choices"])


def events(answer):
    """The events of a stream, which must end as OpenAI's do."""
    done = False
    for line in answer:
        done = line == b"data: [DONE]\n"
        if line.startswith(b"data: {"):
            yield json.loads(line[6:])
        elif done:
            break
    check(done, "a stream ended without [DONE]")


def routes(spin):
    """Every route answers with its status."""
    for path, status in [("/health", 200), ("/livez", 200), ("/readyz", 200), ("/v1/models", 200), ("/v1/none", 404), ("/metrics", 404)]:
        check(spin.get(path)[0] == status, f"GET {path}: {spin.get(path)}, expected {status}")
    page = spin.get("/", Accept="text/html")[1]
    check("<html" in page, f"no page at /: {page[:200]}")
    chat = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}
    answer = json.loads(spin.open("POST", "/v1/chat/completions", chat).read())
    check(answer["usage"]["completion_tokens"] <= 5, answer)
    inputs = {"input": ["Hello", "Once upon a time"]}
    vectors = [item["embedding"] for item in json.loads(spin.open("POST", "/v1/embeddings", inputs).read())["data"]]
    lengths = [sum(v * v for v in vector) for vector in vectors]
    check(len(vectors) == 2 and all(abs(length - 1) < 1e-5 for length in lengths), lengths)
    print(f"routes: as documented; {json.loads(spin.get('/v1/models')[1])['data'][0]['isa']}")


def at_once(spin, native):
    """Each of 50 seeds has the native server's tokens, half of them streamed."""
    texts = [None] * N_REQUESTS

    def ask(seed):
        texts[seed] = spin.complete(seed, stream=seed % 2 == 0)

    clients = [threading.Thread(target=ask, args=(seed,)) for seed in range(N_REQUESTS)]
    began = time.monotonic()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    took = time.monotonic() - began
    for seed, text in enumerate(texts):
        check(text == native.complete(seed), f"seed {seed}: {text!r} instead of {native.complete(seed)!r}")
    check(len(set(texts)) > N_REQUESTS // 2, "the seeds make no difference")
    print(f"{N_REQUESTS} requests at once, 40 tokens each: {took:.1f} s, tokens equal the native server's")


def first_event(spin):
    """Time to the first token of a fresh instance, one request after another."""
    times = []
    for _ in range(100):
        began = time.monotonic()
        spin.complete(0, max_tokens=1, temperature=0)
        times.append((time.monotonic() - began) * 1e3)
    print(f"first token after a prompt of 14: median {statistics.median(times):.1f} ms, fastest {min(times):.1f} ms of {len(times)}")


def streaming(sterna, spin_program, folder, wasi):
    """Events arrive before the next is computed: the engine of tests/step-engine writes the clock
    into its events. On a busy machine this client may be late, hence not all of them must.
    """
    app = os.path.join(folder, "steps")
    os.mkdir(app)
    application(app)
    engine = os.path.join(ROOT, "target/components/step-engine.wasm")
    wasm = os.path.join(app, "target/components/app.wasm")
    subprocess.run([sterna, "compose", "--spin", "--wasi", wasi, "--engine", engine, "-o", wasm], check=True)
    with Server([spin_program, "up", "--listen", "127.0.0.1:{port}"], app) as spin:
        ask = {"model": "steps", "prompt": "x", "max_tokens": N_STEPS, "stream": True}
        found = []
        for event in events(spin.open("POST", "/v1/completions", ask)):
            text = event["choices"][0]["text"] if event["choices"] else ""
            if text.endswith(";"):
                found.append((int(text[:-1].split(" ")[2]), time.time_ns()))
        check(len(found) == N_STEPS, f"{len(found)} events instead of {N_STEPS}")
        in_time = sum(arrived < end for (_, arrived), (end, _) in zip(found, found[1:]))
        print(f"streaming: {in_time} of {N_STEPS - 1} events arrived before the next was computed")
        check(in_time >= 0.8 * N_STEPS, "events are held back while the next one is computed")


def settings(spin_program, folder):
    """Spin's variables reach the application."""
    variables = {"API_KEY": "sesame,other", "MAX_TOKENS": "8", "DEFAULT_MAX_TOKENS": "4", "MODEL_ALIAS": "gpt-4o-mini",
                 "MAX_BODY_BYTES": "1024", "MAX_PROMPT_TOKENS": "20", "MAX_MESSAGES": "1", "CORS_ORIGIN": "https://example.com",
                 "ALLOWED_HOSTS": "llm.example"}
    variables = {f"SPIN_VARIABLE_{name}": value for name, value in variables.items()}
    with Server([spin_program, "up", "--listen", "127.0.0.1:{port}"], folder, variables) as spin:
        key = {"Authorization": "Bearer other"}
        check(spin.get("/v1/models")[0] == 401, "no key was asked for")
        check("gpt-4o-mini" in spin.get("/v1/models", **key)[1], "the alias is missing")

        def status(path, body):
            answer = spin.open("POST", path, body, key)
            return answer.status, answer.read().decode()

        check(status("/v1/completions", {"prompt": "a", "max_tokens": 9})[0] == 400, "max_tokens does not bound")
        check('"completion_tokens":4,' in status("/v1/completions", {"prompt": "Once upon a time"})[1], "default_max_tokens")
        check(status("/v1/completions", {"prompt": "word " * 40})[0] == 400, "max_prompt_tokens does not bound")
        check(status("/v1/completions", {"prompt": "word " * 400})[0] == 413, "max_body_bytes does not bound")
        two = {"messages": [{"role": "user", "content": "a"}] * 2}
        check(status("/v1/chat/completions", two)[0] == 400, "max_messages does not bound")
        answer = spin.open("GET", "/v1/models", headers={**key, "Origin": "https://example.com"})
        check(answer.getheader("Access-Control-Allow-Origin") == "https://example.com", "cors_origin")
        for host, expected in [("llm.example", 200), ("evil.example", 403)]:
            check(spin.open("GET", "/v1/models", headers={**key, "Host": host}).status == expected, f"allowed_hosts: {host}")
    with Server([spin_program, "up", "--listen", "127.0.0.1:{port}"], folder, {"SPIN_VARIABLE_MAX_TOKENS": "many"}) as spin:
        code, body = spin.get("/v1/models")
        check(code == 500 and "max_tokens" in body, f"a wrong setting: {code} {body}")
    print("settings: all nine variables apply, a wrong one is named")


def registry(spin_program, folder, native):
    """Push, and serve what was pushed from an empty folder."""
    if not shutil.which("docker-registry"):
        print("registry: not tried, docker-registry is not installed (Debian has a package)")
        return
    config = os.path.join(folder, "registry.yml")
    store = os.path.join(folder, "store")
    port = free_port()
    with open(config, "w", encoding="utf-8") as file:
        file.write(f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {store}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n")
    server = subprocess.Popen(["docker-registry", "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(1000):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.01)  # asked again, until it listens
        reference = f"127.0.0.1:{port}/sterna:1"
        began = time.monotonic()
        subprocess.run([spin_program, "registry", "push", "-k", reference], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        pushed = time.monotonic() - began
        elsewhere = os.path.join(folder, "elsewhere")
        os.mkdir(elsewhere)
        with Server([spin_program, "up", "-k", "-f", reference, "--listen", "127.0.0.1:{port}"], elsewhere) as spin:
            check(spin.complete(7) == native.complete(7), "other tokens from the registry")
        print(f"registry: pushed in {pushed:.1f} s, pulled and served {spin.seconds_to_start:.1f} s after `spin up -f`, same tokens")
    finally:
        server.terminate()
        server.wait()


def application(folder):
    """This repository's spin.toml, in a folder of its own."""
    os.makedirs(os.path.join(folder, "target/components"))
    shutil.copy(os.path.join(ROOT, "spin.toml"), folder)


def main():
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--spin", default="spin", help="the program (on PATH)")
    parser.add_argument("--sterna", default=os.path.join(ROOT, "target/release/sterna"), help="what bakes and compares")
    arguments, bake = parser.parse_known_args()
    version = subprocess.run([arguments.spin, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    print(f"{version}; sterna bake --spin {' '.join(bake)}")
    sterna = os.path.abspath(arguments.sterna)
    wasi = re.search(r"--wasi[ =](\S+)", " ".join(bake))
    with tempfile.TemporaryDirectory() as folder:
        application(folder)
        wasm = os.path.join(folder, "target/components/app.wasm")
        subprocess.run([sterna, "bake", "--spin", *bake, "-o", wasm], check=True, stderr=subprocess.DEVNULL)
        up = [arguments.spin, "up", "--listen", "127.0.0.1:{port}"]
        with Server([sterna, "serve", "--listen", "127.0.0.1:{port}"], folder) as native:
            with Server(up, folder) as spin:
                print(f"spin up: answers after {spin.seconds_to_start:.1f} s")
                routes(spin)
                at_once(spin, native)
                first_event(spin)
            with Server(up, folder) as spin:
                print(f"spin up again: answers after {spin.seconds_to_start:.2f} s")
            streaming(sterna, arguments.spin, folder, wasi.group(1) if wasi else "0.2")
            settings(arguments.spin, folder)
            registry(arguments.spin, folder, native)


if __name__ == "__main__":
    main()
