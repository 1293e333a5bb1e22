"""The official `openai` package, as any user would point it at Sterna."""

import concurrent.futures
import time

import openai
import pytest

GREEDY = {"temperature": 0}


def test_lists_models(client):
    models = client.models.list().data
    assert [model.id for model in models] == ["demo"]
    assert client.models.retrieve("demo").object == "model"


def test_completions_are_the_same_as_on_any_machine(client, expected):
    assert len(expected) == 4
    for case in expected:
        reply = client.completions.create(model="demo", prompt=case["prompt"], max_tokens=len(case["greedy"]), **GREEDY)
        assert reply.choices[0].text == case["text"]
        assert reply.choices[0].finish_reason == "length"
        assert reply.usage.completion_tokens == len(case["greedy"])
        assert reply.usage.prompt_tokens == len(case["ids"])


def test_token_ids_are_a_prompt(client, expected):
    case = max(expected, key=lambda case: case["min_margin"])
    reply = client.completions.create(model="demo", prompt=case["ids"], max_tokens=16, **GREEDY)
    assert case["text"].startswith(reply.choices[0].text)


def test_streamed_completion_equals_the_plain_one(client):
    ask = {"model": "demo", "prompt": "The dog and the cat", "max_tokens": 40, "seed": 7, "temperature": 0.8}
    plain = client.completions.create(**ask)
    chunks = list(client.completions.create(stream=True, stream_options={"include_usage": True}, **ask))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == plain.choices[0].text
    assert chunks[-1].usage.completion_tokens == plain.usage.completion_tokens
    assert len(chunks) > 20, "the text came in few pieces: it was not streamed"


def test_chat_plain_and_streamed(client):
    ask = {
        "model": "demo",
        "messages": [{"role": "user", "content": "One day, a small bird found a shiny stone."}],
        "max_completion_tokens": 32,
        **GREEDY,
    }
    plain = client.chat.completions.create(**ask)
    assert plain.choices[0].message.role == "assistant"
    assert plain.choices[0].message.content.strip()
    stream = client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **ask)
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == plain.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"
    assert chunks[-1].usage.total_tokens == plain.usage.total_tokens


def test_stop_text_ends_the_completion_before_it(client):
    reply = client.completions.create(model="demo", prompt="The dog and the cat", max_tokens=60, stop=["park"], **GREEDY)
    assert reply.choices[0].finish_reason == "stop"
    assert "park" not in reply.choices[0].text
    assert reply.choices[0].text.endswith("in the ")


def test_embeddings_of_texts_and_token_ids(client, expected):
    texts = [case["prompt"] for case in expected[:3]]
    # The client asks for base64 by itself, and decodes it.
    reply = client.embeddings.create(model="demo", input=texts)
    assert [item.index for item in reply.data] == [0, 1, 2]
    assert reply.usage.prompt_tokens == sum(len(case["ids"]) for case in expected[:3]) == reply.usage.total_tokens
    vectors = [item.embedding for item in reply.data]
    for vector in vectors:
        assert sum(v * v for v in vector) == pytest.approx(1, abs=1e-5)
    assert vectors[0] != vectors[1]
    plain = client.embeddings.create(model="demo", input=texts[0], encoding_format="float")
    assert plain.data[0].embedding == pytest.approx(vectors[0], abs=1e-7)
    ids = client.embeddings.create(model="demo", input=[case["ids"] for case in expected[:3]], user="u")
    assert [item.embedding for item in ids.data] == vectors
    short = client.embeddings.create(model="demo", input=texts[0], dimensions=16).data[0].embedding
    scale = sum(v * v for v in vectors[0][:16]) ** 0.5
    assert [v * scale for v in short] == pytest.approx(vectors[0][:16], abs=1e-6)


def test_an_input_that_is_too_long_names_it(client):
    with pytest.raises(openai.BadRequestError) as error:
        client.embeddings.create(model="demo", input=["a", "word " * 4000])
    assert error.value.param == "input[1]"


def test_same_seed_same_text(client):
    def tell(seed):
        reply = client.completions.create(model="demo", prompt="Tom wanted to", max_tokens=40, temperature=1.0, seed=seed)
        return reply.choices[0].text

    assert tell(11) == tell(11)
    assert len({tell(seed) for seed in range(5)}) > 1


def test_twenty_streams_at_once_are_all_right(client, expected):
    case = max(expected, key=lambda case: case["min_margin"])

    def stream(_):
        chunks = client.completions.create(model="demo", prompt=case["ids"], max_tokens=48, stream=True, **GREEDY)
        return "".join(chunk.choices[0].text for chunk in chunks)

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(stream, range(20)))
    assert answers == [case["text"]] * 20


def gauge(text, name):
    """The value of an unlabelled metric."""
    return float(next(line.split()[-1] for line in text.splitlines() if line.startswith(name + " ")))


def test_clients_that_leave_free_their_work(client, get):
    before = gauge(get("/metrics"), "sterna_generations_cancelled_total")

    def leave(_):
        stream = client.completions.create(model="demo", prompt="Once upon a time", max_tokens=480, stream=True, temperature=1.0)
        next(iter(stream))
        stream.close()

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        list(pool.map(leave, range(10)))
    deadline = time.monotonic() + 30
    while True:
        metrics = get("/metrics")
        cancelled = gauge(metrics, "sterna_generations_cancelled_total") - before
        if gauge(metrics, "sterna_sequences_running") == 0 and gauge(metrics, "sterna_sequences_queued") == 0:
            break
        assert time.monotonic() < deadline, metrics
        time.sleep(0.05)
    # A story may end by itself before its reader leaves, but not most of them.
    assert cancelled >= 5, metrics


def test_a_list_of_prompts_gets_a_choice_each(client, expected):
    case = max(expected, key=lambda case: case["min_margin"])
    for prompts in (["The dog", case["prompt"], "The dog"], [case["ids"], [5, 6, 7]]):
        ask = {"model": "demo", "prompt": prompts, "max_tokens": 12, **GREEDY}
        alone = [client.completions.create(**ask | {"prompt": prompt}) for prompt in prompts]
        reply = client.completions.create(**ask)
        assert [choice.index for choice in reply.choices] == list(range(len(prompts)))
        assert [choice.text for choice in reply.choices] == [one.choices[0].text for one in alone]
        assert reply.usage.total_tokens == sum(one.usage.total_tokens for one in alone)
        texts = [""] * len(prompts)
        for chunk in client.completions.create(stream=True, stream_options={"include_usage": True}, **ask):
            for choice in chunk.choices:
                texts[choice.index] += choice.text
        assert texts == [choice.text for choice in reply.choices]
        assert chunk.usage.total_tokens == reply.usage.total_tokens


def test_a_history_with_calls_and_refusals(client):
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"at": "dog"}'}}
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    reply = client.chat.completions.create(
        model="demo",
        messages=[
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": [{"type": "text", "text": "The dog"}]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": "a dog"},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"role": "user", "name": "Al", "content": "The cat"},
        ],
        tools=[tool],
        tool_choice="none",
        parallel_tool_calls=False,
        max_completion_tokens=4,
        **GREEDY,
    )
    assert reply.usage.completion_tokens == 4


def test_an_answer_can_be_replayed_as_it_came(client):
    history = [{"role": "user", "content": "One day"}]
    for _ in range(2):
        ask = {"model": "demo", "messages": history, "max_completion_tokens": 4, **GREEDY}
        message = client.chat.completions.create(**ask).choices[0].message
        history += [message, {"role": "user", "content": "And then?"}]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 0),
        ("temperature", -1),
        ("top_p", 2),
        ("n", 129),
        ("best_of", 0),
        ("logprobs", 21),
        ("logit_bias", {"4096": 1}),
        ("allowed_token_ids", [4096]),
        ("truncate_prompt_tokens", 0),
        ("stop", [""]),
        ("guided_json", [1]),
        ("structured_outputs", {"choice": ["a"], "regex": "b"}),
        ("bad_words", [""]),
        ("chat_template", "x"),
        ("stop_token_ids", [4096]),
        ("colour", "red"),
    ],
)
def test_bad_fields_are_named(client, field, value):
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="demo", prompt="x", extra_body={field: value})
    assert caught.value.param.startswith(field)


def test_what_clients_send_beside_the_answer_changes_nothing(client):
    ask = {"model": "demo", "prompt": "The dog", "max_tokens": 8, **GREEDY}
    plain = client.completions.create(**ask)
    extras = {"metadata": {"a": "b"}, "store": True, "service_tier": "auto", "cache_prompt": True, "logprobs": None}
    reply = client.completions.create(user="me", best_of=1, n=1, logit_bias={}, extra_body=extras, **ask)
    assert reply.choices[0].text == plain.choices[0].text


def test_unknown_role_and_model(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="demo", messages=[{"role": "wizard", "content": "x"}])
    assert "role" in caught.value.param
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="gpt-9", prompt="x")


def test_prompt_longer_than_the_context(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="demo", prompt="word " * 2000)
    assert caught.value.code == "context_length_exceeded"
