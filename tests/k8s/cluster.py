"""A cluster's view of objects, as far as the checks need it: pods, Services, and the operator's
part in them.

A SpinApp becomes a Deployment and a Service as SpinKube's operator 0.6 builds them (its
internal/controller); a part of a Deployment (server-side apply) is merged into the whole.
"""

import copy

import overlays


class Cluster:
    """The objects of one or more overlays, applied one after the other."""

    def __init__(self, *layers):
        self.items = []
        for layer in layers:
            for item in layer:
                self.apply(item)

    def apply(self, item):
        key = (item["apiVersion"], item["kind"], item["metadata"]["name"])
        known = [other for other in self.items if (other["apiVersion"], other["kind"], other["metadata"]["name"]) == key]
        for other in known:
            if item["kind"] == "Deployment":
                item = merged(other, item)
            self.items.remove(other)
        self.items.append(copy.deepcopy(item))
        if item["kind"] == "SpinApp":
            executor = overlays.named(self.items, "SpinAppExecutor", item["spec"]["executor"])
            if executor:
                self.apply(operators_deployment(item, executor))
                self.apply(operators_service(item))

    def workloads(self):
        """Everything with a pod template, whole."""
        return [item for item in self.items if "template" in item.get("spec", {}) and "selector" in item["spec"]]

    def pods_with(self, labels):
        """Workloads whose pods have all of these labels."""
        return [work for work in self.workloads() if has(pod_labels(work), labels)]


def pod_labels(work):
    return work["spec"]["template"].get("metadata", {}).get("labels", {})


def pod_spec(work):
    return work["spec"]["template"]["spec"]


def has(labels, wanted):
    return wanted.items() <= labels.items()


def ports(work):
    """Of all containers: name -> number."""
    return {
        port.get("name", str(port["containerPort"])): port["containerPort"]
        for container in pod_spec(work)["containers"]
        for port in container.get("ports", [])
    }


def resolves(work, port):
    """True if the pods declare a port, by name or number."""
    return port in ports(work) if isinstance(port, str) else port in ports(work).values()


def merged(whole, part):
    """A strategic merge, as far as parts of Deployments need it: maps by key, lists of named things
    by name, others replaced.
    """
    if isinstance(whole, dict) and isinstance(part, dict):
        return {**whole, **{key: merged(whole[key], value) if key in whole else value for key, value in part.items()}}
    by_name = isinstance(whole, list) and isinstance(part, list) and all("name" in entry for entry in [*whole, *part])
    if not by_name:
        return part
    names = [entry["name"] for entry in whole]
    result = [merged(entry, next((p for p in part if p["name"] == entry["name"]), entry)) for entry in whole]
    return result + [entry for entry in part if entry["name"] not in names]


def operators_deployment(app, executor):
    name, spec = app["metadata"]["name"], app["spec"]
    config = executor["spec"]["deploymentConfig"]
    ready = {"core.spinkube.dev/app-name": name, f"core.spinkube.dev/app.{name}.status": "ready"}
    container = {
        "name": name,
        "image": spec["image"],
        "ports": [{"name": "http-app", "containerPort": 80}],
        "env": [
            *({"name": f"SPIN_VARIABLE_{entry['name'].upper()}", "value": entry.get("value", "")} for entry in spec.get("variables", [])),
            {"name": "SPIN_HTTP_LISTEN_ADDR", "value": "0.0.0.0:80"},
        ],
        "resources": spec.get("resources", {}),
    }
    for probe, field in (("readiness", "readinessProbe"), ("liveness", "livenessProbe")):
        if probe in spec.get("checks", {}):
            check = copy.deepcopy(spec["checks"][probe])
            check["httpGet"]["port"] = 80
            container[field] = check
    if "spinImage" in config:
        container["image"] = config["spinImage"]
        container["args"] = ["up", "--listen", "0.0.0.0:80", "-f", spec["image"], "--runtime-config-file", "/runtime-config.toml"]
    else:
        container["command"] = ["/"]
    container["volumeMounts"] = spec.get("volumeMounts", [])
    pod = {"containers": [container], "volumes": spec.get("volumes", [])}
    if "runtimeClassName" in config:
        pod["runtimeClassName"] = config["runtimeClassName"]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"core.spinkube.dev/app-name": name}},
        "spec": {
            "replicas": spec.get("replicas"),
            "selector": {"matchLabels": ready},
            "template": {"metadata": {"labels": {**spec.get("podLabels", {}), **ready}}, "spec": pod},
        },
    }


def operators_service(app):
    name = app["metadata"]["name"]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {"core.spinkube.dev/app-name": name}},
        "spec": {
            "ports": [{"port": 80, "targetPort": "http-app"}],
            "selector": {f"core.spinkube.dev/app.{name}.status": "ready"},
        },
    }
