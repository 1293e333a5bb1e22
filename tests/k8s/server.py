"""A running server, on a free port of the loopback."""

import json
import os
import re
import subprocess
import urllib.error
import urllib.request


class Server:
    """Started with a container's variables and arguments, but for the address."""

    def __init__(self, program, container):
        here = re.compile(r"^0\.0\.0\.0:\d+$")
        variables = {entry["name"]: here.sub("127.0.0.1:0", entry["value"]) for entry in container["env"]}
        arguments = [here.sub("127.0.0.1:0", argument) for argument in container["args"]]
        self.process = subprocess.Popen(
            [program, *arguments],
            env={key: value for key, value in os.environ.items() if not key.startswith(("STERNA_", "SPIN_"))} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        # It says where it listens once it does; at its end without that, the line is empty.
        line = self.process.stdout.readline()
        found = re.search(r"http://\S+", line)
        if not found:
            self.process.kill()
            raise AssertionError(f"sterna did not start: {line!r}")
        self.address = found[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=60)

    def ask(self, path, body=None, headers=()):
        """(status, text) of a GET, or of a POST of JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json", **dict(headers)})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
