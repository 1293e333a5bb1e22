"""The CEL rules of CRDs (x-kubernetes-validations), evaluated on one object as the API server does
when it is created.

Defaults are filled in first, since rules rely on them. Rules about a change (`oldSelf`) do not
concern new objects.
"""

import copy
import functools

import celpy
from celpy.adapter import json_to_cel


def problems(item, schema):
    """The messages of all rules that an object breaks."""
    return list(broken(defaulted(item, schema), schema, "$"))


def broken(value, schema, path):
    for rule in schema.get("x-kubernetes-validations", []):
        if "oldSelf" not in rule["rule"] and not holds(rule["rule"], value):
            yield f"{path}: {rule.get('message', rule['rule'])}"
    for inner, inner_schema, inner_path in children(value, schema, path):
        yield from broken(inner, inner_schema, inner_path)


def children(value, schema, path):
    """The parts of a value that its schema describes."""
    if isinstance(value, dict):
        others = schema.get("additionalProperties")
        for key, inner in value.items():
            inner_schema = schema.get("properties", {}).get(key, others)
            if isinstance(inner_schema, dict):
                yield inner, inner_schema, f"{path}.{key}"
    if isinstance(value, list) and "items" in schema:
        for index, inner in enumerate(value):
            yield inner, schema["items"], f"{path}[{index}]"


def defaulted(value, schema):
    if isinstance(value, dict):
        missing = {key: inner["default"] for key, inner in schema.get("properties", {}).items() if "default" in inner and key not in value}
        value = {**copy.deepcopy(missing), **value}
        return {**value, **{path: defaulted(inner, inner_schema) for inner, inner_schema, path in keyed(value, schema)}}
    if isinstance(value, list) and "items" in schema:
        return [defaulted(inner, schema["items"]) for inner in value]
    return value


def keyed(value, schema):
    return [(inner, inner_schema, path[1:]) for inner, inner_schema, path in children(value, schema, "")]


def holds(rule, value):
    outcome = program(rule).evaluate({"self": json_to_cel(value)})
    return bool(outcome)


@functools.cache
def program(rule):
    environment = celpy.Environment()
    return environment.program(environment.compile(rule))
