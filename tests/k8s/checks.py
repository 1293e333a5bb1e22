"""Checks of objects in combination. Each check takes a Cluster and gives a list of sentences, one
for each thing that is wrong.
"""

import re

import source
from cluster import has, pod_labels, pod_spec, ports, resolves
from overlays import name, named, of_kind

CHECKS = []

# Made by others: SpinKube's set-up, and the endpoint picker's chart.
FOREIGN_RUNTIME_CLASSES = {"wasmtime-spin-v2"}
FOREIGN_SERVICES = {("sterna-epp", 9002)}
# Run by Spin and not by Sterna's host, so the component's own paths and Spin's variables are all
# there is.
STOCK_EXECUTORS = {"containerd-shim-spin"}
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def check(function):
    CHECKS.append(function)
    return function


def all_problems(cluster):
    return [problem for function in CHECKS for problem in function(cluster)]


def stock_apps(cluster):
    return {app["metadata"]["name"] for app in of_kind(cluster.items, "SpinApp") if app["spec"]["executor"] in STOCK_EXECUTORS}


def our_containers(cluster):
    """(workload, container) of those that run Sterna: by the image's name."""
    return [
        (work, container)
        for work in cluster.workloads()
        for container in pod_spec(work)["containers"]
        if re.search(r"/sterna(-spin)?:", container["image"])
    ]


@check
def probes_ask_what_is_served(cluster):
    found = []
    for work, container in our_containers(cluster):
        stock = work["metadata"]["name"] in stock_apps(cluster)
        served = source.api_paths() if stock else source.api_paths() | source.host_paths()
        for probe in PROBES:
            get = container.get(probe, {}).get("httpGet")
            if get and get["path"] not in served:
                found.append(f"{name(work)}: {probe} asks for {get['path']}, which is not served")
            if get and not resolves(work, get["port"]):
                found.append(f"{name(work)}: {probe} asks port {get['port']}, which the pod does not have")
        if "readinessProbe" not in container:
            found.append(f"{name(work)}: no readinessProbe, so a pod gets requests before it listens")
    return found


@check
def the_address_is_the_port(cluster):
    """The port that the server is told to listen on is the container's."""
    found = []
    for work, container in our_containers(cluster):
        listen = [entry["value"] for entry in container.get("env", []) if entry["name"] in ("STERNA_LISTEN", "SPIN_HTTP_LISTEN_ADDR")]
        args = container.get("args", [])
        listen += [args[i + 1] for i, arg in enumerate(args[:-1]) if arg == "--listen"]
        if not listen:
            found.append(f"{name(work)}: nothing says where to listen, so it is the loopback")
        for address in listen:
            if int(address.rpartition(":")[2]) not in ports(work).values() or not address.startswith("0.0.0.0:"):
                found.append(f"{name(work)}: listens on {address}, and the pod's ports are {ports(work)}")
    return found


@check
def selectors_match_their_own_pods(cluster):
    return [
        f"{name(work)}: its selector does not match its own pods"
        for work in cluster.workloads()
        if not has(pod_labels(work), work["spec"]["selector"]["matchLabels"])
    ]


@check
def services_reach_pods(cluster):
    found = []
    for service in of_kind(cluster.items, "Service"):
        if service["apiVersion"] != "v1":
            continue
        pods = cluster.pods_with(service["spec"]["selector"])
        if not pods:
            found.append(f"{name(service)}: selects no pods")
        for work in pods:
            for port in service["spec"]["ports"]:
                if not resolves(work, port.get("targetPort", port["port"])):
                    found.append(f"{name(service)}: targetPort {port.get('targetPort')} is no port of {name(work)}")
    return found


@check
def budgets_and_policies_select_pods(cluster):
    found = []
    for item in of_kind(cluster.items, "PodDisruptionBudget", "NetworkPolicy"):
        field = "selector" if item["kind"] == "PodDisruptionBudget" else "podSelector"
        pods = cluster.pods_with(item["spec"][field]["matchLabels"])
        if not pods:
            found.append(f"{name(item)}: selects no pods")
        if "minAvailable" in item["spec"]:
            found.append(f"{name(item)}: minAvailable blocks every drain at one replica; use maxUnavailable")
        for rule in item["spec"].get("ingress", []):
            for port in rule.get("ports", []):
                # Numbers are a mesh's own ports, which its proxy opens.
                for work in pods:
                    if isinstance(port["port"], str) and not resolves(work, port["port"]):
                        found.append(f"{name(item)}: port {port['port']} is none of {name(work)}")
    return found


@check
def pods_have_time_to_stop(cluster):
    """Grace >= preStop + drain; 30 s of grace are Kubernetes' default."""
    found = []
    for work, container in our_containers(cluster):
        if work["metadata"]["name"] in stock_apps(cluster):
            continue
        grace = pod_spec(work).get("terminationGracePeriodSeconds", 30)
        sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        drain = next((int(entry["value"]) for entry in container.get("env", []) if entry["name"] == "STERNA_DRAIN_TIMEOUT"), source.drain_seconds())
        if grace < sleep + drain:
            found.append(f"{name(work)}: {grace} s of grace are less than preStop {sleep} + drain {drain}")
    return found


@check
def variables_are_known(cluster):
    found = []
    for work, container in our_containers(cluster):
        for entry in container.get("env", []):
            if entry["name"].startswith("STERNA_") and entry["name"] not in source.variables():
                found.append(f"{name(work)}: the server does not know the variable {entry['name']}")
    for app in of_kind(cluster.items, "SpinApp"):
        if not re.search(r"/sterna(-spin)?:", app["spec"]["image"]):
            continue
        stock = app["metadata"]["name"] in stock_apps(cluster)
        known = source.spin_variables() if stock else source.setting_names()
        for variable in app["spec"].get("variables", []):
            if variable["name"] not in known:
                found.append(f"{name(app)}: there is no variable {variable['name']}")
    return found


@check
def images_have_versions(cluster):
    images = [
        (work, container["image"])
        for work in cluster.workloads()
        for container in [*pod_spec(work)["containers"], *pod_spec(work).get("initContainers", [])]
    ]
    return [f"{name(work)}: image {image} has no version" for work, image in images if not re.search(r":[^/]*\d[^/]*$", image)]


@check
def scalers_have_targets(cluster):
    found, targets = [], []
    for scaler in of_kind(cluster.items, "HorizontalPodAutoscaler", "ScaledObject"):
        target = scaler["spec"]["scaleTargetRef"]
        if not named(cluster.items, target.get("kind", "Deployment"), target["name"]):
            found.append(f"{name(scaler)}: there is no {target['kind']} {target['name']}")
        if target["name"] in targets:
            found.append(f"{name(scaler)}: {target['name']} has two scalers")
        targets.append(target["name"])
        down = scaler["spec"].get("behavior") or scaler["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        if down["scaleDown"]["stabilizationWindowSeconds"] < 300:
            found.append(f"{name(scaler)}: scales down before a stream of 300 s ends")
        if scaler["kind"] == "HorizontalPodAutoscaler":
            for work in filter(None, [named(cluster.items, "Deployment", target["name"])]):
                if (work["spec"].get("replicas") or 0) < scaler["spec"]["minReplicas"]:
                    found.append(f"{name(scaler)}: minReplicas is more than the Deployment's replicas")
                if not all("cpu" in container["resources"]["requests"] for container in pod_spec(work)["containers"]):
                    found.append(f"{name(scaler)}: utilisation is of a request, and a container has none for CPU")
        app = named(cluster.items, "SpinApp", target["name"])
        if app and ("replicas" in app["spec"] or not app["spec"].get("enableAutoscaling")):
            found.append(f"{name(scaler)}: the operator would undo it; the SpinApp needs enableAutoscaling and no replicas")
        for trigger in scaler["spec"].get("triggers", []):
            route = trigger["metadata"].get("interceptorRoute")
            if route and not named(cluster.items, "InterceptorRoute", route):
                found.append(f"{name(scaler)}: there is no InterceptorRoute {route}")
    return found


@check
def spinapps_have_executors_first(cluster):
    found = []
    order = [name(item) for item in cluster.items]
    for app in of_kind(cluster.items, "SpinApp"):
        executor = f"SpinAppExecutor/{app['spec']['executor']}"
        if executor not in order or order.index(executor) > order.index(name(app)):
            found.append(f"{name(app)}: the operator refuses it, since {executor} is not there before it")
        if not app["spec"].get("enableAutoscaling") and app["spec"].get("replicas", 0) < 1:
            found.append(f"{name(app)}: the operator refuses it without replicas")
        for probe in app["spec"].get("checks", {}).values():
            if "initialDelaySeconds" not in probe or "periodSeconds" not in probe:
                found.append(f"{name(app)}: a probe with the operator's defaults costs 10 s at each start")
        secret = app["spec"].get("runtimeConfig", {}).get("loadFromSecret")
        if secret and not named(cluster.items, "Secret", secret):
            found.append(f"{name(app)}: there is no Secret {secret}")
    for executor in of_kind(cluster.items, "SpinAppExecutor"):
        wanted = executor["spec"]["deploymentConfig"].get("runtimeClassName")
        if wanted and wanted not in FOREIGN_RUNTIME_CLASSES and not named(cluster.items, "RuntimeClass", wanted):
            found.append(f"{name(executor)}: there is no RuntimeClass {wanted}")
    return found


@check
def pods_find_the_shim(cluster):
    """Pods of our RuntimeClasses go only where the installer goes."""
    found = []
    for item in of_kind(cluster.items, "RuntimeClass"):
        if item["handler"] != "sterna":
            found.append(f"{name(item)}: the installer configures the handler sterna, and not {item['handler']}")
        if item.get("scheduling", {}).get("nodeSelector", {}).get("sterna-shim") != "true":
            found.append(f"{name(item)}: sends pods to nodes without the shim")
    for item in of_kind(cluster.items, "DaemonSet"):
        if pod_spec(item).get("nodeSelector", {}).get("sterna-shim") != "true":
            found.append(f"{name(item)}: installs on nodes nobody chose")
    return found


@check
def volumes_are_there(cluster):
    found = []
    for work in cluster.workloads():
        spec = pod_spec(work)
        volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in volumes:
                    found.append(f"{name(work)}: no volume {mount['name']}")
        for volume in volumes.values():
            if "configMap" in volume and not named(cluster.items, "ConfigMap", volume["configMap"]["name"]):
                found.append(f"{name(work)}: no ConfigMap {volume['configMap']['name']}")
    return found
