"""Three ways into a pod, driven as a kubelet drives them: the shim, the program under runc, the
baked model under runc.
"""

import json
import os
import pathlib
import re

import pytest

import bench
import fill
import http_client
import memory
import node

PATHS = ["shim", "native", "baked"]


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A private containerd with the images of scripts/pods.sh."""
    images, programs = (pathlib.Path(path) for path in os.environ["STERNA_PODS"].split(":"))
    if reason := node.reason_to_skip():
        pytest.skip(reason)
    with node.Node(tmp_path_factory.mktemp("node"), programs) as machine:
        for image in ["pause", "app-demo", "gguf-demo", "native-demo", "baked-demo"]:
            machine.load(images / f"{image}.tar")
        yield machine


def run(machine, name, **more):
    """A pod of a case, ready."""
    case = bench.CASES[name]
    env = case.get("env", {}) | more.pop("env", {})
    pod = machine.run(
        f"sterna.test/{case['image']}:1",
        handler=case.get("handler", ""),
        command=more.pop("command", case.get("command", ())),
        env=env,
        observe=lambda pod: http_client.wait_ready(pod["ip"], case["port"]),
        **more,
    )
    pod["port"] = case["port"]
    return pod


def ask(pod, headers=(), **body):
    """One completion; its status and text."""
    body = http_client.completion(stream=False, tokens=24) | body
    status, text = http_client.post(pod["ip"], pod["port"], "/v1/completions", body, headers)
    answer = json.loads(text)
    return status, answer["choices"][0]["text"] if status == 200 else answer["error"]["message"]


def metric(pod, start):
    """The first metric line that starts so."""
    _, text = http_client.get(pod["ip"], pod["port"], "/metrics")
    return next(line for line in text.splitlines() if line.startswith(start))


def test_three_pods_give_the_same_tokens(machine):
    pods = [run(machine, name) for name in PATHS]
    answers = [ask(pod) for pod in pods]
    assert answers[0][0] == 200 and len(answers[0][1]) > 20
    assert answers[1:] == answers[:1] * 2
    # All by the best kernels of this CPU, which a baked model is lent.
    kernels = {re.search(r'isa="([^"]+)"', metric(pod, "sterna_model_info"))[1] for pod in pods}
    assert len(kernels) == 1 and kernels != {"scalar"}, kernels
    for pod in pods:
        machine.remove(pod)


def test_the_model_is_shared_by_the_pods_of_an_image(machine):
    pods = [run(machine, "shim") for _ in range(3)]
    for pod in pods:
        assert ask(pod)[0] == 200
    for pod in pods:
        pages = memory.mapped(machine.pid(pod), "/app.cwasm")
        # All three touched the same pages. Dirty ones are those that the import has not written to
        # the disk yet.
        shared = pages["Shared_Clean"] + pages["Shared_Dirty"]
        assert shared > 1000, pages
        assert pages["Rss"] - shared < shared / 3, pages
    for pod in pods:
        machine.remove(pod)


@pytest.mark.parametrize("name", PATHS)
def test_sigterm_lets_a_stream_finish(machine, name):
    pod = run(machine, name)
    expected = ask(pod, max_tokens=200)[1]
    stream = http_client.Stream(pod["ip"], pod["port"], http_client.completion(tokens=200))
    stream.wait_token()
    stopping = machine.runtime.begin("StopContainer", container_id=pod["container"], timeout=30)
    text, done = stream.text()
    assert (text, done) == (expected, True), pod["log"].read_text()
    stopping.result()
    status = machine.runtime.call("ContainerStatus", container_id=pod["container"])["status"]
    assert status.get("exit_code", 0) == 0, pod["log"].read_text()
    machine.remove(pod)


def test_the_shim_honours_spins_environment_and_a_volume(machine, tmp_path):
    model = tmp_path / "stories.gguf"
    model.write_bytes(pathlib.Path("component/engine/models/demo.gguf").read_bytes())
    tmp_path.chmod(0o755)
    env = {"SPIN_VARIABLE_API_KEY": "sesame", "SPIN_VARIABLE_MAX_TOKENS": "30", "STERNA_MODEL": "/models/stories.gguf"}
    pod = run(machine, "shim", env=env, mounts=[(tmp_path, "/models")])
    assert ask(pod)[0] == 401
    key = ["authorization: Bearer sesame"]
    assert ask(pod, key)[0] == 200
    status, message = ask(pod, key, max_tokens=31)
    assert status == 400 and "30" in message
    assert 'id="stories"' in metric(pod, "sterna_model_info")
    machine.remove(pod)


def test_the_shim_takes_a_path_for_its_command(machine):
    pod = run(machine, "shim-gguf", command=["/model.gguf"])
    assert ask(pod)[0] == 200
    machine.remove(pod)


def test_a_cpu_limit_sets_the_threads(machine):
    half = {"cpu_period": 100_000, "cpu_quota": 50_000, "memory_limit_in_bytes": 512 << 20}
    for name in ["shim", "native"]:
        pod = run(machine, name, resources=half)
        assert metric(pod, "sterna_threads ") == "sterna_threads 1"
        assert ask(pod)[0] == 200
        machine.remove(pod)


def test_what_cannot_be_served_says_so_in_the_pods_log(machine):
    pod = machine.run("sterna.test/app-demo:1", handler="sterna", command=["/absent.gguf"])
    assert machine.wait_exit(pod) == 1
    assert "absent.gguf" in pod["log"].read_text()
    machine.remove(pod)


def test_positions_are_filled_with_sentences_of_any_tokenizer(monkeypatch):
    monkeypatch.setattr(fill, "ask", lambda pod, port, sentences, tokens: {"prompt_tokens": 1 + 14 * sentences})
    assert fill.sentences_for(256, None, 80) == 15  # 1 + 15 * 14 + 32 = 243
    assert fill.sentences_for(10, None, 80) == 1


def test_the_page_cache_is_that_of_the_model_until_it_shrinks():
    assert fill.pods_beside_the_model([]) == 0
    assert fill.pods_beside_the_model([500, 900, 905, 890, 700, 300]) == 4
    assert fill.pods_beside_the_model([10, 10, 10]) == 3
