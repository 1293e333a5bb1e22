"""Ollama's API with the official `ollama` package, on the demo model and on the scripted one of
tests/fixtures/scripted, which calls two functions and then answers."""

import ollama
import pytest

from test_calls import CALLS, TOOLS, USER


def connected(openai_client):
    return ollama.Client(host=str(openai_client.base_url).removesuffix("/v1/"))


@pytest.fixture(scope="session")
def demo(client):
    return connected(client)


@pytest.fixture(scope="session")
def caller(scripted):
    return connected(scripted)


def calls(message):
    return [(call.function.name, call.function.arguments) for call in message.tool_calls or []]


def test_lists_and_shows_models(demo):
    [model] = demo.list().models
    assert (model.model, model.modified_at.year >= 2020) == ("demo", True)
    shown = demo.show("demo:latest")
    assert "completion" in shown.capabilities
    assert shown.modelinfo["general.architecture"] == shown.details.family
    assert demo.ps().models[0].context_length > 0


def test_a_chat_is_the_chats(demo, client):
    turns = [{"role": "user", "content": "One day, a small bird found a shiny stone."}]
    options = {"num_predict": 24, "temperature": 0, "num_ctx": 256}
    answer = demo.chat("demo", turns, options=options)
    chat = client.chat.completions.create(model="demo", messages=turns, max_tokens=24, temperature=0)
    assert answer.message.content == chat.choices[0].message.content
    assert (answer.done, answer.done_reason) == (True, "length")
    assert answer.eval_count == chat.usage.completion_tokens == 24
    assert answer.prompt_eval_count == chat.usage.prompt_tokens
    pieces = list(demo.chat("demo", turns, options=options, stream=True))
    assert "".join(piece.message.content for piece in pieces) == answer.message.content
    assert len(pieces) > 12, "the text came in few pieces: it was not streamed"
    assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]


def test_a_raw_prompt_is_a_completion(demo, expected):
    case = max(expected, key=lambda case: case["min_margin"])
    options = {"num_predict": 16, "temperature": 0}
    answer = demo.generate("demo", case["prompt"], raw=True, options=options)
    assert case["text"].startswith(answer.response)
    pieces = demo.generate("demo", case["prompt"], raw=True, options=options, stream=True)
    assert "".join(piece.response for piece in pieces) == answer.response
    assert demo.generate("demo").done_reason == "load"


def test_a_conversation_with_calls(caller):
    answer = caller.chat("scripted", [USER], tools=TOOLS)
    message = answer.message
    assert (message.thinking, message.content) == ("Two calls,\nI think.", "Let me look.")
    assert calls(message) == CALLS
    results = [{"role": "tool", "tool_name": name, "content": "7"} for name, _ in CALLS]
    answer = caller.chat("scripted", [USER, message, *results], tools=TOOLS)
    assert answer.message.content == "It is cold in Köln."
    quiet = caller.chat("scripted", [USER], tools=TOOLS, think=False)
    assert quiet.message.content == "Without a thought"


def test_a_stream_with_calls(caller):
    pieces = [piece.message for piece in caller.chat("scripted", [USER], tools=TOOLS, stream=True)]
    assert "".join(piece.content for piece in pieces) == "Let me look."
    assert "".join(piece.thinking or "" for piece in pieces) == "Two calls,\nI think."
    assert [call for piece in pieces for call in calls(piece)] == CALLS


def test_embeddings_are_openais(demo, client):
    texts = ["The dog barked.", "A cat slept."]
    vectors = [item.embedding for item in client.embeddings.create(model="demo", input=texts).data]
    answer = demo.embed("demo", texts)
    close = pytest.approx
    assert [list(vector) for vector in answer.embeddings] == [close(vector, abs=1e-6) for vector in vectors]
    assert answer.prompt_eval_count > 0
    one = demo.embeddings("demo", texts[0])
    assert list(one.embedding) == close(vectors[0], abs=1e-6)


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        ({"options": {"mirostat": 2}}, "'options.mirostat'"),
        ({"options": {"num_ctx": 1 << 30}}, "'options.num_ctx'"),
        ({"logprobs": True}, "'logprobs'"),
    ],
)
def test_what_cannot_be_done_is_named(caller, extra, named):
    with pytest.raises(ollama.ResponseError) as error:
        caller.chat("scripted", [USER], **extra)
    assert error.value.status_code == 400
    assert named in error.value.error


def test_an_unknown_model(demo):
    with pytest.raises(ollama.ResponseError) as error:
        demo.chat("none", [USER])
    assert error.value.status_code == 404
