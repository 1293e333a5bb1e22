"""Anthropic's Messages API with the official `anthropic` package, on the demo model and on the
scripted one of tests/fixtures/scripted, which calls two functions and then answers."""

import anthropic
import pytest

from test_calls import CALLS, TOOLS, USER

FUNCTIONS = [tool["function"] for tool in TOOLS]
CLIENT_TOOLS = [{"name": f["name"], "description": f["description"], "input_schema": f["parameters"]} for f in FUNCTIONS]
# Its newest versions have no argument for it.
GREEDY = {"temperature": 0}
ASK = {"model": "scripted", "max_tokens": 200, "tools": CLIENT_TOOLS}


def connected(openai_client):
    address = str(openai_client.base_url).removesuffix("/v1/")
    return anthropic.Anthropic(base_url=address, api_key="unused", max_retries=0, timeout=120)


@pytest.fixture(scope="session")
def demo(client):
    return connected(client)


@pytest.fixture(scope="session")
def caller(scripted):
    return connected(scripted)


def calls(message):
    return [(block.name, block.input) for block in message.content if block.type == "tool_use"]


def test_a_message_is_the_chats(demo, client):
    turns = [{"role": "user", "content": "One day, a small bird found a shiny stone."}]
    message = demo.messages.create(model="demo", messages=turns, max_tokens=24, extra_body=GREEDY)
    chat = client.chat.completions.create(model="demo", messages=turns, max_tokens=24, temperature=0)
    assert message.content[0].text == chat.choices[0].message.content
    assert (message.stop_reason, message.stop_sequence) == ("max_tokens", None)
    assert message.usage.output_tokens == chat.usage.completion_tokens == 24
    usage = message.usage
    assert usage.input_tokens + usage.cache_read_input_tokens == chat.usage.prompt_tokens
    counted = demo.messages.count_tokens(model="demo", messages=turns)
    assert counted.input_tokens == chat.usage.prompt_tokens
    assert message._request_id.startswith("req_")


def test_the_stop_text_is_told_and_not_shown(demo):
    turns = [{"role": "user", "content": "A dog barked."}]
    ask = {"model": "demo", "messages": turns, "max_tokens": 60, "extra_body": GREEDY}
    whole = demo.messages.create(**ask).content[0].text
    stop = whole.split()[5]
    message = demo.messages.create(stop_sequences=["never so", stop], **ask)
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", stop)
    assert message.content[0].text == whole[: whole.index(stop)]
    with demo.messages.stream(stop_sequences=[stop], **ask) as stream:
        assert "".join(stream.text_stream) == message.content[0].text
        final = stream.get_final_message()
    assert (final.stop_reason, final.stop_sequence) == ("stop_sequence", stop)


def test_a_conversation_with_calls(caller):
    message = caller.messages.create(messages=[USER], **ASK)
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert message.content[0].thinking == "Two calls,\nI think."
    assert message.content[1].text == "Let me look."
    assert calls(message) == CALLS
    assert message.stop_reason == "tool_use"
    ids = [block.id for block in message.content if block.type == "tool_use"]
    assert len(set(ids)) == 2
    results = [{"type": "tool_result", "tool_use_id": id, "content": "7"} for id in ids]
    history = [USER, {"role": "assistant", "content": message.content}, {"role": "user", "content": results}]
    message = caller.messages.create(messages=history, **ASK)
    assert (message.stop_reason, message.content[0].text) == ("end_turn", "It is cold in Köln.")


def test_a_stream_with_calls(caller):
    with caller.messages.stream(messages=[USER], **ASK) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert calls(final) == CALLS
    assert [block.type for block in final.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert final.content[0].thinking == "Two calls,\nI think."
    assert final.stop_reason == "tool_use"
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop"


def test_choices_of_tools(caller):
    auto = {"type": "auto", "disable_parallel_tool_use": True}
    one = caller.messages.create(messages=[USER], tool_choice=auto, **ASK)
    assert calls(one) == CALLS[:1]
    none = caller.messages.create(messages=[USER], tool_choice={"type": "none"}, **ASK)
    assert calls(none) == []
    allowed = caller.messages.create(messages=[USER], thinking={"type": "enabled", "budget_tokens": 1024}, **ASK)
    assert [block.type for block in allowed.content][0] == "thinking"
    quiet = caller.messages.create(messages=[USER], thinking={"type": "disabled"}, **ASK)
    assert quiet.content[0].text == "Without a thought"


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        ({"max_tokens": 0}, "'max_tokens'"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "'tools[0].type'"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "'messages[0].content[0].type'"),
    ],
)
def test_what_cannot_be_done_is_named(caller, extra, named):
    with pytest.raises(anthropic.BadRequestError) as error:
        caller.messages.create(**{"messages": [USER], **ASK, **extra})
    assert error.value.body["error"]["type"] == "invalid_request_error"
    assert named in error.value.body["error"]["message"]


def test_an_unknown_model_and_a_missing_limit(caller):
    with pytest.raises(anthropic.NotFoundError):
        caller.messages.create(**{"messages": [USER], **ASK, "model": "none"})
    with pytest.raises(anthropic.BadRequestError):
        caller.post("/v1/messages", body={"messages": [USER]}, cast_to=object)
