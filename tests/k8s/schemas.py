"""Strict validation of one object: unknown fields are refused, those of metadata included.

Core kinds by kubernetes-validate's schemas, custom ones by the openAPIV3Schema of their CRD and the
rules in it (rules.py). Such a schema drops what it does not know; here it is closed first.
"""

import copy
import functools
import json

import jsonschema
import kubernetes_validate
import yaml

import overlays
import rules

# The oldest that k8s/README.md promises where it names none (preStop.sleep), and the newest that
# the package knows.
OLDEST, NEWEST = "1.30", "1.37"


def problems(item, crds, oldest=OLDEST):
    """The faults of an object: a list of sentences. `crds` as [`load`] gives them; core kinds also
    for Kubernetes `oldest`.
    """
    if overlays.group(item) in overlays.CORE_GROUPS:
        return [problem for version in (oldest, NEWEST) for problem in core_problems(item, version)]
    key = (item["apiVersion"], item["kind"])
    if key not in crds:
        return [f"{overlays.name(item)}: no schema of {item['apiVersion']} {item['kind']} is at hand; move it to k8s/examples"]
    found = [
        f"{overlays.name(item)}: {error.json_path}: {error.message}"
        for error in jsonschema.Draft202012Validator(crds[key]).iter_errors(item)
    ]
    found += [f"{overlays.name(item)}: {problem}" for problem in rules.problems(item, crds[key])]
    return found + metadata_problems(item)


def core_problems(item, version):
    return list(core_problems_of(json.dumps(item), version))


# Overlays share most objects, and each check reads megabytes of schemas.
@functools.cache
def core_problems_of(text, version):
    item = json.loads(text)
    try:
        kubernetes_validate.validate(item, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        path = ".".join(map(str, error.path))
        return [f"{overlays.name(item)}: Kubernetes {version}: {path}: {error.message}"]
    except kubernetes_validate.SchemaNotFoundError as error:
        return [f"{overlays.name(item)}: {error.message}"]
    return []


def metadata_problems(item):
    """CRDs leave metadata to the API server, so it is checked as that of a ConfigMap."""
    stand_in = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": item.get("metadata")}
    return [problem.replace("ConfigMap/", item["kind"] + "/") for problem in core_problems(stand_in, NEWEST)]


def complete(part):
    """A Deployment of which only a part is applied, with what the schema demands beside it."""
    whole = copy.deepcopy(part)
    whole["spec"].setdefault("selector", {"matchLabels": {"stands": "in"}})
    return whole


@functools.cache
def load(folder):
    """The schemas in a folder of CRDs: (apiVersion, kind) -> closed JSON schema. Versions that are
    not served are left out.
    """
    found = {}
    for file in sorted(folder.glob("*.yaml")):
        for crd in yaml.safe_load_all(file.read_text()):
            if not crd:
                continue
            spec = crd["spec"]
            for version in spec["versions"]:
                if version["served"]:
                    key = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
                    found[key] = closed(version["schema"]["openAPIV3Schema"], at_top=True)
    return found


def closed(schema, at_top=False):
    """A structural schema as JSON schema that refuses fields it does not list.

    Structural schemas list every field outside of allOf, anyOf, oneOf and not, so only
    `properties`, `items` and `additionalProperties` are followed.
    """
    schema = dict(schema)
    if schema.pop("nullable", False) and isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("type", None)
        schema.setdefault("anyOf", [{"type": "integer"}, {"type": "string"}])
    if "properties" in schema:
        schema["properties"] = {key: closed(value) for key, value in schema["properties"].items()}
        if at_top:
            # The API server's own fields, which a CRD need not list. Metadata is checked apart.
            schema["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
        if "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema[key] = closed(schema[key])
    return schema
