"""A running `sterna serve`, on a free port of the loopback."""

import json
import os
import re
import subprocess
import urllib.error
import urllib.request

import yaml

import overlays


class Server:
    """Started with the variables and arguments of k8s/base's container, but for the address."""

    def __init__(self, program):
        container = yaml.safe_load((overlays.K8S / "base" / "deployment.yaml").read_text())
        container = container["spec"]["template"]["spec"]["containers"][0]
        variables = {entry["name"]: entry["value"] for entry in container["env"]} | {"STERNA_LISTEN": "127.0.0.1:0"}
        self.process = subprocess.Popen(
            [program, *container["args"]],
            env={key: value for key, value in os.environ.items() if not key.startswith("STERNA_")} | variables,
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
