#!/usr/bin/env python3
"""Writes the texts of cases.json anew with Python's Jinja2, set up as transformers'
`apply_chat_template` does.

    pip install jinja2 && python3 component/engine/tests/engine/jinja/oracle.py

A case is a template; its text, or `null` where Jinja2 refuses it. The conversation is the file's
first entry.
"""
import json
import pathlib

import jinja2.ext
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

FILE = pathlib.Path(__file__).with_name("cases.json")


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("said"), [], [], body).set_lineno(line)

    def said(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


environment = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols", "jinja2.ext.do"]
)
environment.filters["tojson"] = tojson
environment.globals["raise_exception"] = raise_exception


def text(template, messages):
    try:
        return environment.from_string(template).render(
            messages=messages, bos_token="<s>", eos_token="</s>", add_generation_prompt=True, tools=None, documents=None
        )
    except Exception:
        return None


def main():
    messages, *cases = json.loads(FILE.read_text())
    lines = [messages] + [[template, text(template, messages)] for template, _ in cases]
    FILE.write_text("[\n" + ",\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n]\n")


if __name__ == "__main__":
    main()
