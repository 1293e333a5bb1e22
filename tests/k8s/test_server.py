"""Compares the requirements of objects with a running server."""

import json

import overlays
import server
from cluster import Cluster, pod_spec


TAKE_BODIES = {f"/v1/{name}" for name in ("chat/completions", "completions", "responses", "messages", "embeddings")}
TAKE_BODIES |= {"/tokenize", "/detokenize", "/apply-template"}


def test_probes_are_answered_with_200(rendered, running):
    asked = set()
    for overlay in ("base", "spinkube", "spinkube-stock"):
        for work in Cluster(rendered[overlay]).workloads():
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                for get in [c[probe]["httpGet"] for c in pod_spec(work)["containers"] if probe in c]:
                    asked.add(get["path"])
                    assert running.ask(get["path"])[0] == 200, get["path"]
    assert asked == {"/health", "/readyz", "/livez"}


def test_routes_of_the_gateway_are_answered(rendered, running):
    asked = 0
    for rule in overlays.of_kind(rendered["routing/gateway"], "HTTPRoute")[0]["spec"]["rules"]:
        for match in rule["matches"]:
            path = match["path"]["value"]
            # These want a body; without one they say so, which no other path does.
            wants_body = path in TAKE_BODIES
            # Nothing is answered by the name of a folder.
            path = "/api/version" if path == "/api" else path
            assert running.ask(path)[0] == (405 if wants_body else 200), path
            asked += 1
    assert asked == len(TAKE_BODIES) + 4


def test_a_path_that_is_not_served_is_404(running):
    assert running.ask("/healthz")[0] == 404


def test_spins_llm_calls_are_answered(running):
    """The body that Spin's remote_http sends with api_type "open_ai", to the letter."""
    _, models = running.ask("/v1/models")
    model = json.loads(models)["data"][0]["id"]
    body = {
        "messages": [{"role": "user", "content": "Once upon a time"}],
        "model": model,
        "max_completion_tokens": 8,
        "frequency_penalty": 1.1,
    }
    # Whatever token llm-compute names, since no key is asked for.
    status, text = running.ask("/v1/chat/completions", body, [("Authorization", "bearer unused")])
    assert status == 200, text
    answer = json.loads(text)
    assert isinstance(answer["choices"][0]["message"]["content"], str)
    assert answer["usage"]["prompt_tokens"] > 0
    assert 0 < answer["usage"]["completion_tokens"] <= 8


def test_the_operators_container_starts_and_obeys_its_variables(rendered, program):
    """As the operator builds it with `sterna up` for spinImage; nothing of its registry or files is
    there.
    """
    work = overlays.named(Cluster(rendered["spinkube-up"]).items, "Deployment", "sterna")
    [container] = pod_spec(work)["containers"]
    [limit] = [entry["value"] for entry in container["env"] if entry["name"] == "SPIN_VARIABLE_MAX_TOKENS"]
    with server.Server(program, container) as started:
        assert started.ask(container["readinessProbe"]["httpGet"]["path"])[0] == 200
        status, text = started.ask("/v1/completions", {"prompt": "a", "max_tokens": int(limit) + 1})
        assert status == 400
        assert f"at most {limit} tokens" in text
