"""Functions and reasoning with the official `openai` package and the scripted model of
tests/fixtures/scripted, which calls two functions and then answers."""

import json

import openai
import pytest

TOOLS = [
    {"type": "function", "function": {"name": name, "description": name, "parameters": parameters, "strict": True}}
    for name, parameters in {
        "get_weather": {
            "type": "object",
            "properties": {"place": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["place", "days"],
            "additionalProperties": False,
        },
        "clock": {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
    }.items()
]
ASK = {"model": "scripted", "tools": TOOLS}
USER = {"role": "user", "content": "How is the weather in Köln?"}
CALLS = [("get_weather", {"place": "Köln", "days": 2}), ("clock", {})]


def calls(message):
    return [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls]


def test_a_conversation_with_calls(scripted):
    choice = scripted.chat.completions.create(messages=[USER], **ASK).choices[0]
    assert choice.finish_reason == "tool_calls"
    message = choice.message
    assert message.content == "Let me look."
    assert message.reasoning_content == "Two calls,\nI think."
    assert calls(message) == CALLS
    ids = [call.id for call in message.tool_calls]
    assert len(set(ids)) == 2 and all(id.startswith("call_") for id in ids)
    history = [USER, message, *({"role": "tool", "tool_call_id": id, "content": "7"} for id in ids)]
    choice = scripted.chat.completions.create(messages=history, **ASK).choices[0]
    assert (choice.finish_reason, choice.message.content) == ("stop", "It is cold in Köln.")
    assert choice.message.tool_calls is None


def test_a_stream_with_calls(scripted):
    with scripted.chat.completions.stream(messages=[USER], **ASK) as stream:
        events = list(stream)
        final = stream.get_final_completion().choices[0]
    assert final.finish_reason == "tool_calls"
    assert final.message.content == "Let me look."
    assert calls(final.message) == CALLS
    done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    assert [event.name for event in done] == ["get_weather", "clock"]
    chunks = [event.chunk for event in events if event.type == "chunk"]
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    thought = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert thought == "Two calls,\nI think."


def test_one_call_or_none(scripted):
    one = scripted.chat.completions.create(messages=[USER], parallel_tool_calls=False, **ASK).choices[0]
    assert (one.finish_reason, calls(one.message)) == ("tool_calls", CALLS[:1])
    none = scripted.chat.completions.create(messages=[USER], tool_choice="none", **ASK).choices[0]
    assert (none.finish_reason, none.message.tool_calls) == ("stop", None)


def test_an_answer_that_must_call(scripted):
    required = scripted.chat.completions.create(messages=[USER], tool_choice="required", **ASK).choices[0]
    assert (required.finish_reason, required.message.content) == ("tool_calls", None)
    assert required.message.reasoning_content == "Two calls,\nI think."
    # Which ones, its script does not say: it would speak first.
    assert all(call in CALLS for call in calls(required.message))
    named = {"type": "function", "function": {"name": "clock"}}
    one = scripted.chat.completions.create(messages=[USER], tool_choice=named, **ASK).choices[0]
    assert (one.finish_reason, one.message.content, calls(one.message)) == ("tool_calls", None, CALLS[1:])


def test_the_template_is_told_whether_to_reason(scripted):
    for extra in ({"chat_template_kwargs": {"enable_thinking": False}}, {"reasoning_effort": "none"}):
        message = scripted.chat.completions.create(messages=[USER], extra_body=extra, **ASK).choices[0].message
        assert message.content == "Without a thought"
        assert getattr(message, "reasoning_content", None) is None


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"tool_choice": {"type": "function", "function": {"name": "none"}}}, "tool_choice"),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools[0].function.name"),
        ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs.messages"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
    ],
)
def test_what_cannot_be_done_is_named(scripted, extra, param):
    with pytest.raises(openai.BadRequestError) as caught:
        scripted.chat.completions.create(messages=[USER], extra_body=extra, **ASK)
    assert caught.value.param == param


def test_a_model_without_functions_refuses_them(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(messages=[USER], **ASK | {"model": "demo"})
    assert caught.value.param == "tools"
