"""As checks.py, for what sends requests to replicas and what scrapes them."""

import source
from checks import FOREIGN_SERVICES, check
from cluster import has, ports
from overlays import group, name, named, of_kind


def service_has(cluster, wanted, port):
    """True if there is a Service of this name with this port, by number or name."""
    service = named([item for item in cluster.items if item["apiVersion"] == "v1"], "Service", wanted)
    return service is not None and any(port in (entry["port"], entry.get("name")) for entry in service["spec"]["ports"])


@check
def meshes_name_the_service(cluster):
    found = []
    for rule in of_kind(cluster.items, "DestinationRule"):
        if not service_has(cluster, rule["spec"]["host"], 80):
            found.append(f"{name(rule)}: there is no Service {rule['spec']['host']}")
    for item in of_kind(cluster.items, "VirtualService"):
        for route in item["spec"]["http"]:
            for target in route["route"]:
                to = target["destination"]
                if not service_has(cluster, to["host"], to["port"]["number"]):
                    found.append(f"{name(item)}: there is no Service {to['host']} with port {to['port']['number']}")
            if "timeout" in route:
                found.append(f"{name(item)}: a timeout would cut long streams")
    return found


@check
def interceptors_name_the_service(cluster):
    return [
        f"{name(route)}: there is no Service {route['spec']['target']['service']} with port {route['spec']['target'].get('port')}"
        for route in of_kind(cluster.items, "InterceptorRoute")
        if not service_has(cluster, route["spec"]["target"]["service"], route["spec"]["target"].get("port"))
    ]


@check
def pools_hold_pods(cluster):
    found = []
    for pool in of_kind(cluster.items, "InferencePool"):
        pods = cluster.pods_with(pool["spec"]["selector"]["matchLabels"])
        if not pods:
            found.append(f"{name(pool)}: selects no pods")
        for work in pods:
            for port in pool["spec"]["targetPorts"]:
                if port["number"] not in ports(work).values():
                    found.append(f"{name(pool)}: {port['number']} is no port of {name(work)}")
        picker = pool["spec"]["endpointPickerRef"]
        if (picker["name"], picker["port"]["number"]) not in FOREIGN_SERVICES:
            found.append(f"{name(pool)}: k8s/README.md says nothing of a picker {picker['name']}")
    return found


@check
def routes_lead_somewhere(cluster):
    found = []
    for route in of_kind(cluster.items, "HTTPRoute"):
        for parent in route["spec"]["parentRefs"]:
            gateway = named([item for item in cluster.items if group(item) == "gateway.networking.k8s.io"], "Gateway", parent["name"])
            if not gateway:
                found.append(f"{name(route)}: there is no Gateway {parent['name']}")
            elif not set(route["spec"]["hostnames"]) <= {entry["hostname"] for entry in gateway["spec"]["listeners"]}:
                found.append(f"{name(route)}: its host names are none of the Gateway's")
        for rule in route["spec"]["rules"]:
            for target in rule["backendRefs"]:
                if target.get("kind") == "InferencePool":
                    known = named(cluster.items, "InferencePool", target["name"])
                else:
                    known = service_has(cluster, target["name"], target["port"])
                if not known:
                    found.append(f"{name(route)}: there is no {target.get('kind', 'Service')} {target['name']}")
            for match in rule["matches"]:
                path = match["path"]["value"]
                below = match["path"]["type"] == "PathPrefix" and any(it.startswith(f"{path}/") for it in source.api_paths())
                if path not in source.api_paths() and not below:
                    found.append(f"{name(route)}: {path} is no path of the API")
    return found


@check
def scrapes_hit_metrics(cluster):
    found = []
    for monitor in of_kind(cluster.items, "ServiceMonitor"):
        services = [
            item
            for item in of_kind(cluster.items, "Service")
            if has(item["metadata"].get("labels", {}), monitor["spec"]["selector"]["matchLabels"])
        ]
        for service in services:
            for endpoint in monitor["spec"]["endpoints"]:
                if endpoint["port"] not in [port.get("name") for port in service["spec"]["ports"]]:
                    found.append(f"{name(monitor)}: {name(service)} has no port named {endpoint['port']}")
        found += wrong_paths(monitor, monitor["spec"]["endpoints"])
    for monitor in of_kind(cluster.items, "PodMonitor"):
        for work in cluster.pods_with(monitor["spec"]["selector"]["matchLabels"]):
            for endpoint in monitor["spec"]["podMetricsEndpoints"]:
                if endpoint["port"] not in ports(work):
                    found.append(f"{name(monitor)}: {name(work)} has no port named {endpoint['port']}")
        found += wrong_paths(monitor, monitor["spec"]["podMetricsEndpoints"])
    monitors = of_kind(cluster.items, "ServiceMonitor", "PodMonitor")
    if monitors and not any(scraped(cluster, monitor) for monitor in monitors):
        found.append("nothing is scraped")
    return found


def scraped(cluster, monitor):
    labels = monitor["spec"]["selector"]["matchLabels"]
    if monitor["kind"] == "PodMonitor":
        return bool(cluster.pods_with(labels))
    return any(has(item["metadata"].get("labels", {}), labels) for item in of_kind(cluster.items, "Service"))


def wrong_paths(monitor, endpoints):
    return [f"{name(monitor)}: {e['path']} is not served" for e in endpoints if e["path"] not in source.host_paths()]
