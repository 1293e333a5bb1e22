"""Every check finds what it is for: one fault in sound objects, and the sentence that names it."""

import copy

import pytest

import overlays
import routing_checks  # noqa: F401 (adds its checks)
from checks import CHECKS, all_problems
from cluster import Cluster

POD = ["spec", "template", "spec"]
CONTAINER = [*POD, "containers", 0]

# (overlays from the bottom up, kind/name of the object, path in it, value or DELETE, what the
# problem says)
DELETE = object()
FAULTS = [
    (["base"], "Deployment/sterna", [*CONTAINER, "readinessProbe", "httpGet", "path"], "/ready", "/ready, which is not served"),
    (["base"], "Deployment/sterna", [*CONTAINER, "livenessProbe", "httpGet", "port"], 8081, "asks port 8081"),
    (["base"], "Deployment/sterna", [*CONTAINER, "startupProbe", "httpGet", "port"], "web", "asks port web"),
    (["base"], "Deployment/sterna", [*CONTAINER, "readinessProbe"], DELETE, "no readinessProbe"),
    (["base"], "Deployment/sterna", [*CONTAINER, "env", 0, "value"], "0.0.0.0:9000", "listens on 0.0.0.0:9000"),
    (["base"], "Deployment/sterna", [*CONTAINER, "env", 0, "value"], "127.0.0.1:8080", "listens on 127.0.0.1:8080"),
    (["base"], "Deployment/sterna", [*CONTAINER, "env", 0, "name"], "STERNA_LISTENS", "does not know the variable STERNA_LISTENS"),
    (["base"], "Deployment/sterna", [*CONTAINER, "env", 0, "name"], "STERNA_LISTENS", "nothing says where to listen"),
    (["base"], "Deployment/sterna", [*CONTAINER, "env", 1, "value"], "41", "less than preStop 5 + drain 41"),
    (["base"], "Deployment/sterna", [*CONTAINER, "lifecycle", "preStop", "sleep", "seconds"], 16, "less than preStop 16 + drain 30"),
    (["base"], "Deployment/sterna", [*POD, "terminationGracePeriodSeconds"], DELETE, "30 s of grace are less"),
    (["base"], "Deployment/sterna", [*CONTAINER, "image"], "registry.example.com/sterna:latest", "has no version"),
    (["base"], "Deployment/sterna", [*CONTAINER, "resources", "requests", "cpu"], DELETE, "a container has none for CPU"),
    (["base"], "Deployment/sterna", ["spec", "replicas"], 2, "minReplicas is more"),
    (["base"], "Deployment/sterna", ["spec", "template", "metadata", "labels", "app.kubernetes.io/name"], "x", "does not match its own pods"),
    (["base"], "Deployment/sterna", [*POD, "volumes"], [{"name": "a", "configMap": {"name": "none"}}], "no ConfigMap none"),
    (["base"], "Deployment/sterna", [*CONTAINER, "volumeMounts"], [{"name": "b", "mountPath": "/b"}], "no volume b"),
    (["base"], "Service/sterna", ["spec", "selector", "app.kubernetes.io/name"], "x", "Service/sterna: selects no pods"),
    (["base"], "Service/sterna", ["spec", "ports", 0, "targetPort"], "web", "targetPort web is no port"),
    (["base"], "PodDisruptionBudget/sterna", ["spec", "selector", "matchLabels", "a"], "b", "selects no pods"),
    (["base"], "PodDisruptionBudget/sterna", ["spec", "minAvailable"], 1, "blocks every drain"),
    (["base"], "NetworkPolicy/sterna", ["spec", "podSelector", "matchLabels", "a"], "b", "selects no pods"),
    (["base"], "NetworkPolicy/sterna", ["spec", "ingress", 0, "ports", 0, "port"], "http-app", "port http-app is none of"),
    (["base"], "HorizontalPodAutoscaler/sterna", ["spec", "scaleTargetRef", "name"], "x", "there is no Deployment x"),
    (["base"], "HorizontalPodAutoscaler/sterna", ["spec", "behavior", "scaleDown", "stabilizationWindowSeconds"], 60, "before a stream"),
    (["spinkube"], "SpinApp/sterna", ["spec", "checks", "readiness", "httpGet", "path"], "/healthz", "/healthz, which is not served"),
    (["spinkube"], "SpinApp/sterna", ["spec", "checks", "readiness", "initialDelaySeconds"], DELETE, "costs 10 s"),
    (["spinkube"], "SpinApp/sterna", ["spec", "checks"], DELETE, "no readinessProbe"),
    (["spinkube"], "SpinApp/sterna", ["spec", "executor"], "stern", "SpinAppExecutor/stern is not there"),
    (["spinkube"], "SpinApp/sterna", ["spec", "replicas"], DELETE, "refuses it without replicas"),
    (["spinkube"], "SpinApp/sterna", ["spec", "variables", 0, "name"], "maximum", "there is no variable maximum"),
    (["spinkube"], "SpinAppExecutor/sterna", ["spec", "deploymentConfig", "runtimeClassName"], "x", "there is no RuntimeClass x"),
    (["spinkube"], "RuntimeClass/sterna", ["handler"], "spin", "and not spin"),
    (["spinkube"], "RuntimeClass/sterna", ["scheduling"], DELETE, "nodes without the shim"),
    (["spinkube"], "NetworkPolicy/sterna", ["spec", "ingress", 0, "ports", 0, "port"], "http", "port http is none of"),
    (["spinkube-model-volume"], "SpinApp/sterna", ["spec", "volumeMounts", 0, "name"], "x", "no volume x"),
    # The component has no host around it that would answer.
    (["spinkube-stock"], "SpinApp/sterna-spin", ["spec", "checks", "readiness", "httpGet", "path"], "/metrics", "/metrics, which is not"),
    (["spinkube-stock"], "SpinApp/sterna-spin", ["spec", "variables", 0, "name"], "drain", "there is no variable drain"),
    (["shim"], "DaemonSet/sterna-shim", [*POD, "nodeSelector"], DELETE, "on nodes nobody chose"),
    (["shim"], "DaemonSet/sterna-shim", [*POD, "volumes", 1, "configMap", "name"], "x", "no ConfigMap x"),
    (["shim"], "DaemonSet/sterna-shim", [*POD, "initContainers", 0, "image"], "busybox", "image busybox has no version"),
    (["scale-to-zero"], "SpinApp/sterna", ["spec", "replicas"], 3, "the operator would undo it"),
    (["scale-to-zero"], "SpinApp/sterna", ["spec", "enableAutoscaling"], DELETE, "the operator would undo it"),
    (["scale-to-zero"], "ScaledObject/sterna", ["spec", "triggers", 0, "metadata", "interceptorRoute"], "x", "no InterceptorRoute x"),
    (["scale-to-zero"], "InterceptorRoute/sterna", ["spec", "target", "service"], "x", "there is no Service x"),
    (["scale-to-zero"], "InterceptorRoute/sterna", ["spec", "target", "port"], 8080, "with port 8080"),
    (["spinkube", "spinkube-drain"], "Deployment/sterna", [*POD, "terminationGracePeriodSeconds"], 34, "34 s of grace"),
    (["base", "routing/istio"], "DestinationRule/sterna", ["spec", "host"], "x", "there is no Service x"),
    (["base", "routing/istio"], "VirtualService/sterna", ["spec", "http", 0, "route", 0, "destination", "port", "number"], 8080, "with port 8080"),
    (["base", "routing/istio"], "VirtualService/sterna", ["spec", "http", 0, "timeout"], "15s", "would cut long streams"),
    (["base", "routing/gateway"], "InferencePool/sterna", ["spec", "targetPorts", 0, "number"], 80, "80 is no port"),
    (["base", "routing/gateway"], "InferencePool/sterna", ["spec", "selector", "matchLabels", "a"], "b", "selects no pods"),
    (["base", "routing/gateway"], "InferencePool/sterna", ["spec", "endpointPickerRef", "name"], "x", "nothing of a picker x"),
    (["base", "routing/gateway"], "HTTPRoute/sterna", ["spec", "parentRefs", 0, "name"], "x", "there is no Gateway x"),
    (["base", "routing/gateway"], "HTTPRoute/sterna", ["spec", "hostnames"], ["a.example"], "none of the Gateway's"),
    (["base", "routing/gateway"], "HTTPRoute/sterna", ["spec", "rules", 0, "backendRefs", 0, "name"], "x", "no InferencePool x"),
    (["base", "routing/gateway"], "HTTPRoute/sterna", ["spec", "rules", 1, "backendRefs", 0, "port"], 81, "there is no Service sterna"),
    (["base", "routing/gateway"], "HTTPRoute/sterna", ["spec", "rules", 0, "matches", 0, "path", "value"], "/v1/chat", "/v1/chat is no path"),
    (["base", "observability"], "ServiceMonitor/sterna", ["spec", "endpoints", 0, "port"], "web", "no port named web"),
    (["base", "observability"], "ServiceMonitor/sterna", ["spec", "endpoints", 0, "path"], "/stats", "/stats is not served"),
    (["base", "observability"], "ServiceMonitor/sterna", ["spec", "selector", "matchLabels", "a"], "b", "nothing is scraped"),
    (["spinkube", "observability"], "PodMonitor/sterna", ["spec", "podMetricsEndpoints", 0, "port"], "http", "no port named http"),
    (["spinkube", "llm-compute"], "SpinApp/my-spin-app", ["spec", "runtimeConfig", "loadFromSecret"], "x", "there is no Secret x"),
]


def broken(layers, wanted, path, value):
    """The layers, with the last object of that name changed."""
    layers = copy.deepcopy(layers)
    item = [item for layer in layers for item in layer if overlays.name(item) == wanted][-1]
    place = item
    for key in path[:-1]:
        place = place[key]
    if value is DELETE:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return layers


@pytest.mark.parametrize(("stack", "wanted", "path", "value", "said"), FAULTS)
def test_a_fault_is_found(rendered, stack, wanted, path, value, said):
    layers = [rendered[overlay] for overlay in stack]
    found = all_problems(Cluster(*broken(layers, wanted, path, value)))
    assert any(said in problem for problem in found), found


def test_each_check_finds_a_fault(rendered):
    idle = set(CHECKS)
    for stack, wanted, path, value, _ in FAULTS:
        cluster = Cluster(*broken([rendered[overlay] for overlay in stack], wanted, path, value))
        idle -= {check for check in idle if check(cluster)}
    assert not idle


def test_an_executor_after_its_application_is_found(rendered):
    layers = [list(reversed(rendered["spinkube"]))]
    assert any("is not there before it" in problem for problem in all_problems(Cluster(*layers)))


def test_two_scalers_of_one_deployment_are_found(rendered):
    scaled = [rendered["base"], rendered["scale-on-queue"]]
    assert any("has two scalers" in problem for problem in all_problems(Cluster(*scaled)))
