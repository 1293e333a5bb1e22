"""Overlays mean what they should, alone or on what they are applied to."""

import json

import pytest

import overlays
import routing_checks  # noqa: F401 (adds its checks)
import source
from checks import all_problems
from cluster import Cluster, pod_spec

# What stands alone, and each of the others on everything it may be applied to.
APPLIED_TO = {
    "observability": ["base", "spinkube", "spinkube-up"],
    "routing/istio": ["base", "spinkube", "spinkube-up"],
    "routing/gateway": ["base"],
    "routing/gateway-spinkube": ["spinkube", "spinkube-up"],
    "llm-compute": ["base", "spinkube"],
    "spinkube-drain": ["spinkube", "spinkube-up", "spinkube-model-volume", "scale-to-zero"],
    **{f"spot/{cloud}-drain": [f"spot/{cloud}", "spinkube-up"] for cloud in ("aws", "gcp", "azure")},
    # Parts of Deployments that are not ours.
    "scale-to-zero-ticks": [],
}
STACKS = [(overlay, *below) for overlay in overlays.applied() for below in ([(on,) for on in APPLIED_TO[overlay]] if overlay in APPLIED_TO else [()])]


@pytest.mark.parametrize("stack", STACKS, ids=" on ".join)
def test_an_overlay_has_no_problem(rendered, stack):
    assert all_problems(Cluster(*(rendered[overlay] for overlay in reversed(stack)))) == []


# Seconds from the notice to the end that a pod can use (k8s/spot/clouds).
NOTICE = {"aws": 120, "gcp": 15, "azure": 30}


@pytest.mark.parametrize("cloud", NOTICE)
def test_spot_pods_stop_within_the_notice_on_the_clouds_nodes(rendered, cloud):
    pool = overlays.named(rendered[f"spot/{cloud}"], "RuntimeClass", "sterna-spot")["scheduling"]
    for stack in ([f"spot/{cloud}-native"], [f"spot/{cloud}", f"spot/{cloud}-drain"], ["spinkube-up", f"spot/{cloud}-drain"]):
        spec = pod_spec(overlays.named(Cluster(*(rendered[overlay] for overlay in stack)).items, "Deployment", "sterna"))
        assert spec["terminationGracePeriodSeconds"] <= NOTICE[cloud]
        assert spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] > 0
        assert spec["tolerations"] == pool["tolerations"]
        assert spec["nodeSelector"].items() <= {**pool["nodeSelector"], "kubernetes.io/os": "linux"}.items()
    assert overlays.named(rendered[f"spot/{cloud}"], "SpinApp", "sterna")["spec"]["executor"] == "sterna-spot"


def test_what_the_first_deployment_promised_is_there(rendered):
    """3 replicas, /health on 8080, requests and limits, a node selector, CPU at 70 %."""
    work = overlays.named(rendered["base"], "Deployment", "sterna")
    [container] = pod_spec(work)["containers"]
    probes = [container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert (work["spec"]["replicas"], probes) == (3, ["/health", "/readyz", "/livez"])
    assert container["ports"] == [{"name": "http", "containerPort": 8080}]
    assert {"cpu", "memory"} == set(container["resources"]["requests"]) == set(container["resources"]["limits"])
    assert pod_spec(work)["nodeSelector"]
    [metric] = overlays.named(rendered["base"], "HorizontalPodAutoscaler", "sterna")["spec"]["metrics"]
    assert metric["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}


def test_a_mounted_model_is_where_it_is_looked_for(rendered):
    [mount] = overlays.named(rendered["spinkube-model-volume"], "SpinApp", "sterna")["spec"]["volumeMounts"]
    assert mount["mountPath"] in source.image_files()
    [container] = pod_spec(overlays.named(rendered["base-model-image"], "Deployment", "sterna"))["containers"]
    [model] = [entry["value"] for entry in container["env"] if entry["name"] == "STERNA_MODEL"]
    assert model.startswith(container["volumeMounts"][0]["mountPath"] + "/")


def test_the_ticks_of_the_values_file_are_those_of_the_overlay(rendered):
    values = overlays.read("scale-to-zero-ticks/http-add-on.values.yaml")
    env = {
        entry["name"]: entry["value"]
        for item in rendered["scale-to-zero-ticks"]
        for container in pod_spec(item)["containers"]
        for entry in container["env"]
    }
    assert env == {
        **values["interceptor"]["extraEnvs"],
        "KEDA_HTTP_CONNECT_TIMEOUT": values["interceptor"]["tcpConnectTimeout"],
        "KEDA_HTTP_SCALER_STREAM_INTERVAL_MS": str(values["scaler"]["streamInterval"]),
    }


def test_the_llm_configuration_is_what_spin_reads(rendered):
    secret = overlays.named(rendered["llm-compute"], "Secret", "sterna-llm-compute")
    config = overlays.secret_toml(secret, "runtime-config.toml")["llm_compute"]
    assert (config["type"], config["api_type"]) == ("remote_http", "open_ai")
    assert config["auth_token"]
    service = config["url"].removeprefix("http://")
    for below in APPLIED_TO["llm-compute"]:
        assert overlays.named(Cluster(rendered[below]).items, "Service", service)["spec"]["ports"][0]["port"] == 80


def test_the_dashboard_is_a_dashboard(rendered):
    data = overlays.named(rendered["observability"], "ConfigMap", "sterna-dashboard")["data"]
    dashboard = json.loads(data["sterna.json"])
    places = [tuple(panel["gridPos"].values()) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places) > 10
    assert all(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
