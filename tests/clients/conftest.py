"""Starts one `sterna serve` for the whole run and stops it by SIGTERM, which must end it with exit
code 0.
"""

import json
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

import openai
import pytest


def pytest_addoption(parser):
    parser.addoption("--sterna", required=True, help="path of the sterna binary")


def serving(request, *options):
    """The base address of a server with these options, until the run is over."""
    process = subprocess.Popen(
        [request.config.getoption("--sterna"), "serve", "--listen", "127.0.0.1:0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    log, address = [], None
    for line in process.stdout:
        log.append(line)
        found = re.search(r"http://127\.0\.0\.1:[0-9]+", line)
        if found:
            address = found.group(0)
            break
    assert address, "the server named no address:\n" + "".join(log)
    drain = threading.Thread(target=lambda: log.extend(process.stdout), daemon=True)
    drain.start()
    yield address
    process.send_signal(signal.SIGTERM)
    code = process.wait(timeout=60)
    drain.join(timeout=10)
    assert code == 0, f"exit code {code} after SIGTERM; log:\n" + "".join(log)


@pytest.fixture(scope="session")
def server(request):
    """The base address of a server with the embedded demo model."""
    yield from serving(request)


def connected(address):
    return openai.OpenAI(base_url=address + "/v1", api_key="unused", max_retries=0, timeout=120)


@pytest.fixture(scope="session")
def client(server):
    """The official client, pointed at the server."""
    return connected(server)


@pytest.fixture(scope="session")
def scripted_server(request):
    """The base address of a server whose model calls functions."""
    yield from serving(request, "--model", "tests/fixtures/scripted/scripted.gguf")


@pytest.fixture(scope="session")
def scripted(scripted_server):
    """The official client, pointed at that server."""
    return connected(scripted_server)


@pytest.fixture(scope="session")
def brief_server(request):
    """The base address of a server whose answers are short, once it is ready."""
    for address in serving(request, "--max-tokens", "8"):
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{address}/readyz", timeout=30).close()
                break
            except urllib.error.HTTPError:
                time.sleep(0.1)
        yield address


@pytest.fixture(scope="session")
def expected():
    """Greedy continuations of the demo model with keys and values in f16, the default."""
    with open("tests/fixtures/demo-expected.json", encoding="utf-8") as file:
        return [case | case["f16"] for case in json.load(file)]


@pytest.fixture
def get(server):
    """GET a path, as text."""

    def fetch(path):
        with urllib.request.urlopen(server + path, timeout=30) as reply:
            return reply.read().decode()

    return fetch
