"""The metrics that k8s/ asks for, and those that a server shows."""

import json
import re

import promql_parser

import overlays

# Prometheus's own.
FOREIGN = {"up"}
# Labels that it puts on every series.
PROMETHEUS = {"job", "namespace", "pod"}
# Of Grafana, in the dashboard.
GRAFANA = {"$__rate_interval": "5m", "$job": "sterna"}


def expressions(rendered):
    """(where, PromQL) of every alert, panel and scaler."""
    for overlay, items in rendered.items():
        for item in items:
            where = f"{overlay} {overlays.name(item)}"
            if item["kind"] == "PrometheusRule":
                for group in item["spec"]["groups"]:
                    for rule in group["rules"]:
                        yield f"{where} {rule['alert']}", rule["expr"]
            if item["kind"] == "ScaledObject":
                for trigger in item["spec"]["triggers"]:
                    if trigger["type"] == "prometheus":
                        yield where, trigger["metadata"]["query"]
            if item["kind"] == "ConfigMap" and "sterna.json" in item["data"]:
                for panel in json.loads(item["data"]["sterna.json"])["panels"]:
                    for target in panel["targets"]:
                        yield f"{where} {panel['title']}", target["expr"]


def selectors(promql):
    """(metric, [(label, operator, value)]) of every vector that an expression reads. A syntax error
    is an exception.
    """
    for placeholder, value in GRAFANA.items():
        promql = promql.replace(placeholder, value)
    found = []

    def walk(node):
        selector = getattr(node, "vector_selector", node)
        if isinstance(selector, promql_parser.VectorSelector):
            matchers = [(m.name, str(m.op), m.value) for m in selector.matchers.matchers]
            found.append((selector.name, matchers))
            return
        for child in ("lhs", "rhs", "expr"):
            if hasattr(node, child) and getattr(node, child) is not None:
                walk(getattr(node, child))
        for argument in getattr(node, "args", None) or []:
            walk(argument)

    walk(promql_parser.parse(promql))
    return found


def listed():
    """The list of metrics that the host's own tests hold it to: name -> labels; a histogram's three
    series apart.
    """
    found = {}
    for line in (overlays.ROOT / "tests" / "ops" / "metrics.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, kind, labels = line.split()
            labels = set() if labels == "-" else set(labels.split(","))
            if kind == "histogram":
                found |= {f"{name}_bucket": {"le"}, f"{name}_sum": set(), f"{name}_count": set()}
            else:
                found[name] = labels
    return found


def unlisted(promql):
    """The metrics and labels of an expression that the list does not have."""
    known, found = listed(), []
    for name, matchers in selectors(promql):
        if name in FOREIGN:
            continue
        if name not in known:
            found.append(name)
            continue
        labels = {label for label, _, _ in matchers} | {label for by in re.findall(r"\bby \((.*?)\)", promql) for label in by.split(",")}
        found += [f"{name}{{{label}}}" for label in sorted(labels - known[name] - PROMETHEUS)]
    return found


def series(page):
    """The metrics of a page: name -> list of label maps."""
    shown = {}
    for line in page.splitlines():
        if line and not line.startswith("#"):
            name, labels = re.match(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*?)\})? ", line).groups()
            shown.setdefault(name, []).append(dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or "")))
    return shown


def unknown(promql, shown):
    """The metrics and label values of an expression that a server does not show."""
    found = []
    for name, matchers in selectors(promql):
        if name in FOREIGN:
            continue
        if name not in shown:
            found.append(name)
            continue
        for label, operator, value in matchers:
            if label in PROMETHEUS:
                continue
            for wanted in value.split("|"):
                if not any(labels.get(label) == wanted for labels in shown[name]):
                    found.append(f'{name}{{{label}="{wanted}"}}')
    return found
