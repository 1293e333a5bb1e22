"""OpenAI's Responses API with the official `openai` package, on the demo model and on the scripted
one of tests/fixtures/scripted, which calls two functions and then answers."""

import json

import openai
import pytest

from test_calls import CALLS, TOOLS, USER

FLAT = [{"type": "function", **tool["function"]} for tool in TOOLS]
ASK = {"model": "scripted", "tools": FLAT, "store": False}


def calls(response):
    found = [item for item in response.output if item.type == "function_call"]
    return [(call.name, json.loads(call.arguments)) for call in found]


def test_a_text_is_the_chats(client):
    prompt = "One day, a small bird found a shiny stone."
    response = client.responses.create(model="demo", input=prompt, max_output_tokens=24, temperature=0)
    chat = client.chat.completions.create(
        model="demo", messages=[{"role": "user", "content": prompt}], max_tokens=24, temperature=0
    )
    assert response.output_text == chat.choices[0].message.content
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert response.usage.output_tokens == chat.usage.completion_tokens == 24
    assert response.usage.input_tokens == chat.usage.prompt_tokens
    assert response.usage.total_tokens == chat.usage.total_tokens
    assert response.usage.output_tokens_details.reasoning_tokens == 0
    assert not response.store


def test_a_stream_comes_to_the_whole(client):
    ask = {"model": "demo", "input": "A dog barked.", "max_output_tokens": 16, "temperature": 0}
    whole = client.responses.create(**ask)
    events = list(client.responses.create(stream=True, **ask))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == whole.output_text
    assert len(deltas) > 8, "the text came in few pieces: it was not streamed"
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.usage == whole.usage


def test_a_conversation_with_calls(scripted):
    response = scripted.responses.create(input=[USER], **ASK)
    assert [item.type for item in response.output] == ["reasoning", "message", "function_call", "function_call"]
    assert response.output[0].content[0].text == "Two calls,\nI think."
    assert response.output_text == "Let me look."
    assert calls(response) == CALLS
    assert response.usage.output_tokens_details.reasoning_tokens > 0
    ids = [item.call_id for item in response.output if item.type == "function_call"]
    assert len(set(ids)) == 2
    results = [{"type": "function_call_output", "call_id": id, "output": "7"} for id in ids]
    history = [USER, *response.output, *results]
    response = scripted.responses.create(input=history, **ASK)
    assert (response.status, response.output_text) == ("completed", "It is cold in Köln.")


def test_a_stream_with_calls(scripted):
    with scripted.responses.stream(input=[USER], **ASK) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert calls(final) == CALLS
    assert final.output_text == "Let me look."
    thought = [event.delta for event in events if event.type == "response.reasoning_text.delta"]
    assert "".join(thought) == "Two calls,\nI think."
    done = [event for event in events if event.type == "response.function_call_arguments.done"]
    assert [json.loads(event.arguments) for event in done] == [arguments for _, arguments in CALLS]


def test_one_call_or_none(scripted):
    one = scripted.responses.create(input=[USER], parallel_tool_calls=False, **ASK)
    assert calls(one) == CALLS[:1]
    none = scripted.responses.create(input=[USER], tool_choice="none", **ASK)
    assert calls(none) == []


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"tools": [{"type": "file_search", "vector_store_ids": []}]}, "tools[0].type"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input[0].content[0].type"),
    ],
)
def test_what_cannot_be_done_is_named(scripted, extra, param):
    with pytest.raises(openai.BadRequestError) as error:
        scripted.responses.create(**{"input": [USER], **ASK, **extra})
    assert error.value.body["param"] == param
