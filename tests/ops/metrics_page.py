"""A real Prometheus reads the page, and its own checker finds nothing wrong with it."""

import contextlib
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import threading
import urllib.parse

from servers import Process, Stream, Sterna, ask, free_port, get, running, wait_until, write

LIST = pathlib.Path(__file__).with_name("metrics.txt")
# Names by which gateways know vLLM's gauges; the colon is theirs and not ours to change.
FOREIGN = "vllm:"


def test(binary):
    """The missing parts, if any."""
    for program in ("prometheus", "promtool"):
        if shutil.which(program) is None:
            return f"{program} is not installed (Debian: apt-get install prometheus)"
    with running(Sterna(binary, "--max-sequences", "4")) as server:
        with load(server.address, clients=12):
            wait_until("load", lambda: server.metrics()["sterna_sequences_queued"] > 0)
            check_page(server)
            scrape(server)
    return None


@contextlib.contextmanager
def load(address, clients):
    """So many streams at a time until the end of the block; all of them must be right."""
    over, streams = threading.Event(), []

    def client(seed):
        while not over.is_set():
            stream = Stream(address, ask(100, seed))
            stream.join()
            streams.append(stream)

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
    broken = [stream.broken or stream.error for stream in streams if not stream.done]
    assert not broken, broken
    print(f"ops: prometheus: {len(streams)} streams meanwhile, all complete")


def check_page(server):
    """`promtool check metrics` reads the text format, lints it, and complains of the colon
    alone.
    """
    page = server.get("/metrics")[1]
    checked = subprocess.run(["promtool", "check", "metrics"], input=page, text=True, capture_output=True, check=False)
    complaints = (checked.stdout + checked.stderr).splitlines()
    ours = [line for line in complaints if not re.fullmatch(FOREIGN + r"\w+ metric names should not contain ':'", line)]
    assert not ours, ours
    print(f"ops: promtool check metrics: {len(page.splitlines())} lines, nothing but the {len(complaints)} colons of {FOREIGN}*")


def scrape(server):
    """Prometheus asks for OpenMetrics; what it stored answers the questions that alerts ask."""
    with tempfile.TemporaryDirectory() as folder:
        config = write(
            folder,
            "prometheus.yml",
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
            f"scrape_configs: [{{job_name: sterna, static_configs: [{{targets: ['{server.address}']}}]}}]\n",
        )
        own = f"127.0.0.1:{free_port()}"
        command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/data"]
        with running(Process([*command, f"--web.listen-address={own}"])) as prometheus:
            prometheus.wait_for("Server is ready to receive web requests")
            for question in (
                'up{job="sterna"} == 1',
                "rate(sterna_generated_tokens_total[30s]) > 0",
                "histogram_quantile(0.95, rate(sterna_time_to_first_token_seconds_bucket[30s])) > 0",
                "histogram_quantile(0.95, rate(sterna_inter_token_latency_seconds_bucket[30s])) > 0",
                "max_over_time(vllm:num_requests_running[30s]) > 0",
                "sterna_kv_cache_usage_ratio <= 1",
                "sterna_memory_working_set_bytes / sterna_memory_limit_bytes < 1",
                'sterna_model_info{id="demo"} == 1',
            ):
                value = wait_until(question, lambda: answer(own, question))
                print(f"ops: prometheus: {question}: {value}")
            target = json.loads(get(own, "/api/v1/targets")[1])["data"]["activeTargets"][0]
            assert (target["health"], target["lastError"]) == ("up", ""), target
            for name in listed():
                assert answer(own, f'{{__name__=~"{name}(_count)?"}}') is not None, f"{name} was not stored"
            print(f"ops: prometheus: stored every metric of {LIST.name}")


def listed():
    """The names of the list."""
    lines = LIST.read_text().splitlines()
    return [line.split()[0] for line in lines if line and not line.startswith("#")]


def answer(prometheus, question):
    """The first value of an instant query; None where nothing matches."""
    query = urllib.parse.urlencode({"query": question})
    status, body = get(prometheus, f"/api/v1/query?{query}")
    assert status == 200, body
    result = json.loads(body)["data"]["result"]
    return result[0]["value"][1] if result else None
