"""Every object of every overlay fits its schema, strictly; and a broken one does not."""

import copy

import pytest

import overlays
import schemas


@pytest.fixture(scope="module")
def crds(pytestconfig):
    folder = pytestconfig.getoption("--crds")
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}: custom resources are not validated")
    return schemas.load(folder)


@pytest.mark.parametrize("overlay", overlays.all_kustomizations())
def test_core_objects_fit(rendered, overlay):
    for item in rendered[overlay]:
        if overlays.group(item) in overlays.CORE_GROUPS:
            item = schemas.complete(item) if overlays.is_part(overlay) else item
            assert schemas.problems(item, {}, oldest=overlays.kubernetes(overlay) or schemas.OLDEST) == []


@pytest.mark.parametrize("overlay", overlays.all_kustomizations())
def test_custom_objects_fit(rendered, crds, overlay):
    for item in rendered[overlay]:
        if overlays.group(item) not in overlays.CORE_GROUPS:
            assert schemas.problems(item, crds) == []


def test_every_overlay_has_objects_but_the_one_that_only_configures(rendered):
    assert [overlay for overlay, items in rendered.items() if not items] == ["spinkube/image-names"]


def set_at(item, path, value):
    """A copy with a value set at a path of keys and indices."""
    item = copy.deepcopy(item)
    place = item
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return item


CORE_FAULTS = [
    ("Deployment", ["spec", "template", "spec", "containers", 0, "livenes"], {}, "livenes"),
    ("Deployment", ["spec", "replicas"], "three", "replicas"),
    ("Deployment", ["metadata", "label"], {}, "label"),
    ("Service", ["spec", "ports", 0, "targetport"], 1, "targetport"),
    ("HorizontalPodAutoscaler", ["spec", "maxReplicas"], "many", "maxReplicas"),
    ("NetworkPolicy", ["spec", "ingres"], [], "ingres"),
    ("PodDisruptionBudget", ["apiVersion"], "policy/v0", "schema"),
]


@pytest.mark.parametrize(("kind", "path", "value", "named"), CORE_FAULTS)
def test_a_broken_core_object_is_refused(rendered, kind, path, value, named):
    item = overlays.of_kind(rendered["base"], kind)[0]
    found = schemas.problems(set_at(item, path, value), {})
    assert found and named in found[0], found


CUSTOM_FAULTS = [
    ("spinkube", "SpinApp", ["spec", "nodeSelector"], {"a": "b"}, "nodeSelector"),
    ("spinkube", "SpinApp", ["spec", "checks", "readiness", "httpGet", "port"], 80, "port"),
    ("spinkube", "SpinApp", ["spec", "replicas"], "3", "replicas"),
    ("spinkube", "SpinApp", ["metadata", "labels", "a"], 1, "1 is not"),
    ("scale-to-zero", "InterceptorRoute", ["spec", "scalingMetric", "concurrency", "targetValue"], 0, "0"),
    ("scale-to-zero", "InterceptorRoute", ["spec", "hosts"], [], "hosts"),
    ("scale-to-zero", "ScaledObject", ["spec", "triggers", 0, "metadata", "a"], 1, "1 is not"),
    ("routing/istio", "DestinationRule", ["spec", "trafficPolicy", "loadBalancer", "simple"], "FASTEST", "FASTEST"),
    ("routing/istio", "DestinationRule", ["spec", "trafficPolicy", "loadBalancer", "warmup", "time"], "1s", "time"),
    ("routing/gateway", "InferencePool", ["spec", "targetPorts", 0, "number"], 70000, "70000"),
    ("routing/gateway", "HTTPRoute", ["spec", "rules", 0, "matches", 0, "path", "type"], "Glob", "Glob"),
    ("observability", "PrometheusRule", ["spec", "groups", 0, "rules", 0, "expression"], "1", "expression"),
    ("observability", "ServiceMonitor", ["spec", "endpoints", 0, "interval"], "often", "often"),
]


@pytest.mark.parametrize(("overlay", "kind", "path", "value", "named"), CUSTOM_FAULTS)
def test_a_broken_custom_object_is_refused(rendered, crds, overlay, kind, path, value, named):
    item = overlays.of_kind(rendered[overlay], kind)[0]
    found = schemas.problems(set_at(item, path, value), crds)
    assert found and any(named in problem for problem in found), found


# Fields that are right each by itself: what the schemas' CEL rules are for.
RULE_FAULTS = [
    ("scale-to-zero", "InterceptorRoute", ["spec", "target", "portName"], "http", "exactly one of 'port' or 'portName'"),
    ("scale-to-zero", "InterceptorRoute", ["spec", "scalingMetric"], {}, "at least one of 'concurrency' or 'requestRate'"),
    ("routing/istio", "VirtualService", ["spec", "http", 0, "timeout"], "0s", "a valid duration greater than 1ms"),
    ("routing/istio", "DestinationRule", ["spec", "trafficPolicy", "loadBalancer", "warmup", "duration"], "0s", "a valid duration"),
    # Only once the default of `kind` is filled in.
    ("routing/gateway", "InferencePool", ["spec", "endpointPickerRef"], {"name": "sterna-epp"}, "port is required when kind is 'Service'"),
    ("routing/gateway", "HTTPRoute", ["spec", "rules", 0, "timeouts", "backendRequest"], "2s", None),
    ("routing/gateway", "HTTPRoute", ["spec", "rules", 0, "timeouts"], {"request": "1s", "backendRequest": "2s"}, "cannot be longer than"),
]


@pytest.mark.parametrize(("overlay", "kind", "path", "value", "said"), RULE_FAULTS)
def test_a_broken_rule_is_refused(rendered, crds, overlay, kind, path, value, said):
    item = overlays.of_kind(rendered[overlay], kind)[0]
    found = schemas.problems(set_at(item, path, value), crds)
    # A request timeout of 0s is none, so nothing is longer than it.
    assert found == [] if said is None else any(said in problem for problem in found), found


def test_a_field_newer_than_the_cluster_is_refused(rendered):
    [work] = overlays.of_kind(rendered["base-model-image"], "Deployment")
    assert overlays.kubernetes("base-model-image") == "1.35"
    assert "'image' was unexpected" in schemas.problems(work, {}, oldest="1.30")[0]


def test_a_kind_without_a_schema_is_refused(crds):
    item = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {}}
    assert "move it to k8s/examples" in schemas.problems(item, crds)[0]


def test_a_missing_field_is_refused(rendered, crds):
    item = copy.deepcopy(overlays.of_kind(rendered["spinkube"], "SpinApp")[0])
    del item["spec"]["image"]
    assert "'image' is a required property" in schemas.problems(item, crds)[0]
