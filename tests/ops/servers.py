"""Processes under test: started, found by what they say, and always stopped."""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time
import http.client

# For anything that should happen soon; generous, since machines that test are busy, and may be
# emulated (cgroup2.sh).
DEADLINE_S = int(os.environ.get("STERNA_OPS_DEADLINE_S", "120"))
PROMPT = "Once upon a time, there was a little girl named Lily."


def wait_until(what, condition):
    """Look until the condition gives something; it fails the test when the deadline passes."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {DEADLINE_S} s for: {what}")


def free_port():
    """A port of 127.0.0.1 that nobody had a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A child whose output is kept."""

    def __init__(self, command, **options):
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
        self.lines = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.child.stdout:
            self.lines.append(line)

    @property
    def log(self):
        return "".join(self.lines)

    def wait_for(self, pattern):
        """The first match of this pattern in the output."""

        def found():
            match = re.search(pattern, self.log)
            if match is None and self.child.poll() is not None:
                raise AssertionError(f"{self.child.args[0]} ended with {self.child.returncode}: {self.log}")
            return match

        return wait_until(pattern, found)

    def signal(self, number=signal.SIGTERM):
        self.child.send_signal(number)

    def wait(self):
        """Its exit status."""
        status = self.child.wait(timeout=DEADLINE_S)
        self.reader.join(timeout=DEADLINE_S)
        return status

    def stop(self):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()


class Sterna(Process):
    """A server of the demo model; `wrapper` is a command that runs it."""

    def __init__(self, binary, *options, wrapper=()):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("STERNA_")}
        command = [*wrapper, binary, "serve", "--listen", "127.0.0.1:0", *options]
        super().__init__(command, env=environment)
        try:
            self.address = self.wait_for(r"ready in .* at http://(\S+)").group(1)
        except BaseException:
            self.stop()
            raise

    def get(self, path, headers=None):
        """Status and body."""
        return get(self.address, path, headers)

    def metrics(self):
        """Samples by name with labels."""
        return samples(self.get("/metrics")[1])


@contextlib.contextmanager
def running(process):
    """Stop it at the end, whatever happens; say what it wrote if something did."""
    try:
        yield process
    except BaseException:
        print(f"--- {process.child.args[0]}:\n{process.log[-4000:]}")
        raise
    finally:
        process.stop()


def get(address, path, headers=None):
    connection = http.client.HTTPConnection(address, timeout=DEADLINE_S)
    connection.request("GET", path, headers=headers or {})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def samples(page):
    """The values of a page in the text format."""
    lines = (line.rsplit(" ", 1) for line in page.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def ask(tokens, seed=None, stream=True):
    """The body of a completion request that samples with this seed, or greedily."""
    body = {"model": "demo", "prompt": PROMPT, "max_tokens": tokens, "stream": stream, "temperature": 0}
    if seed is not None:
        body |= {"temperature": 1, "seed": seed}
    return body


class Stream(threading.Thread):
    """One streaming client. `text`, `done` and `error` say how it ended; `broken` if it was no
    proper end.
    """

    def __init__(self, address, body):
        super().__init__(daemon=True)
        self.address, self.body = address, body
        self.status, self.text, self.done, self.error, self.broken = None, "", False, None, None
        self.begun = threading.Event()
        self.start()

    def run(self):
        try:
            self._run()
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            self.broken = repr(error)
        finally:
            self.begun.set()

    def _run(self):
        connection = http.client.HTTPConnection(self.address, timeout=DEADLINE_S)
        connection.request("POST", "/v1/completions", json.dumps(self.body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        self.status = answer.status
        if answer.status != 200:
            raise ValueError(f"{answer.status}: {answer.read()[:500]}")
        for line in answer:
            if not line.startswith(b"data: "):
                continue
            self.begun.set()
            data = line[len(b"data: ") :].strip()
            if data == b"[DONE]":
                self.done = True
                continue
            event = json.loads(data)
            if "error" in event:
                self.error = event["error"]
            else:
                self.text += event["choices"][0]["text"]
        # http.client ends quietly where a chunked answer is torn off between chunks; its last chunk
        # then is missing.
        if not self.done and self.error is None:
            raise ValueError("the stream has no last event")


def write(folder, name, text):
    path = pathlib.Path(folder) / name
    path.write_text(text)
    return path
