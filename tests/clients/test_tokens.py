"""What the official client is told of tokens, and says of them: n, logprobs, logit_bias, echo."""

import math

import pytest

GREEDY = {"temperature": 0}
PROMPT = "Once upon a time, there was a"
HELLO = [{"role": "user", "content": "One day, a small bird found a shiny stone."}]
IDS = {"return_token_ids": True}


def test_choices_differ_and_are_the_same_again(client):
    ask = {"model": "demo", "messages": HELLO, "n": 3, "seed": 5, "temperature": 1.5, "max_completion_tokens": 12}
    reply = client.chat.completions.create(**ask)
    texts = [choice.message.content for choice in reply.choices]
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    assert len(set(texts)) == 3, texts
    again = client.chat.completions.create(**ask)
    assert [choice.message.content for choice in again.choices] == texts
    alone = client.chat.completions.create(**{**ask, "n": 1, "seed": 6})
    assert alone.choices[0].message.content == texts[1]
    assert reply.usage.prompt_tokens == alone.usage.prompt_tokens
    streamed = ["", "", ""]
    for chunk in client.chat.completions.create(stream=True, **ask):
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert streamed == texts


def test_the_best_of_several_is_the_likeliest(client):
    ask = {"model": "demo", "prompt": PROMPT, "seed": 1, "temperature": 1.2, "max_tokens": 8, "logprobs": 0}

    def mean(choice):
        logprobs = choice.logprobs.token_logprobs
        return sum(logprobs) / len(logprobs)

    everything = client.completions.create(n=4, **ask).choices
    best = client.completions.create(n=2, best_of=4, **ask).choices
    expected = sorted(everything, key=mean, reverse=True)[:2]
    assert [choice.text for choice in best] == [choice.text for choice in expected]


def test_a_chats_log_probabilities(client):
    ask = {"model": "demo", "messages": HELLO, "logprobs": True, "top_logprobs": 5, "max_completion_tokens": 10}
    choice = client.chat.completions.create(**ask, **GREEDY).choices[0]
    content = choice.logprobs.content
    assert len(content) == 10
    assert b"".join(bytes(token.bytes) for token in content).decode() == choice.message.content
    for token in content:
        assert (token.token, token.logprob) == (token.top_logprobs[0].token, token.top_logprobs[0].logprob)
        shares = [math.exp(top.logprob) for top in token.top_logprobs]
        assert len(shares) == 5 and shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 1.0001
    chunks = client.chat.completions.create(stream=True, **ask, **GREEDY)
    told = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices]
    assert [token for logprobs in told if logprobs for token in logprobs.content] == content


def test_an_echo_has_the_bits_that_generating_had(client):
    ask = {"model": "demo", "logprobs": 2, **GREEDY}
    echoed = client.completions.create(prompt=PROMPT, echo=True, max_tokens=6, **ask).choices[0]
    assert echoed.text.startswith(PROMPT)
    generated = client.completions.create(prompt=PROMPT, max_tokens=6, extra_body=IDS, **ask).choices[0]
    whole, first = generated.prompt_token_ids + generated.token_ids, len(generated.prompt_token_ids)
    # As lm-eval asks for the likelihood of a continuation.
    scored = client.completions.create(prompt=[whole], echo=True, max_tokens=1, seed=1234, **ask).choices[0].logprobs
    assert scored.token_logprobs[first:-1] == generated.logprobs.token_logprobs
    assert scored.token_logprobs[1:-1] == echoed.logprobs.token_logprobs[1:]
    tops = [max(top.values()) for top in scored.top_logprobs[first:-1]]
    assert tops == scored.token_logprobs[first:-1], "the greedy ones are the likeliest"
    for token, offset in zip(echoed.logprobs.tokens[1:], echoed.logprobs.text_offset[1:]):
        assert echoed.text[offset:].startswith(token)
    alone = client.completions.create(prompt=[whole], echo=True, max_tokens=0, **ask).choices[0]
    assert alone.logprobs.token_logprobs == scored.token_logprobs[:-1]
    assert alone.finish_reason == "length"


@pytest.mark.parametrize("chat", [False, True])
def test_prompt_log_probabilities_are_those_of_an_echo(client, chat):
    extra = {"prompt_logprobs": 1, **IDS}
    if chat:
        reply = client.chat.completions.create(model="demo", messages=HELLO, max_tokens=1, extra_body=extra)
        told = reply
    else:
        reply = client.completions.create(model="demo", prompt=PROMPT, max_tokens=1, extra_body=extra)
        told = reply.choices[0]
    places, ids = told.prompt_logprobs, told.prompt_token_ids
    echo = client.completions.create(model="demo", prompt=ids, echo=True, logprobs=1, max_tokens=0).choices[0].logprobs
    assert places[0] is None and echo.token_logprobs[0] is None
    logprobs = [place[str(token)]["logprob"] for place, token in zip(places[1:], ids[1:])]
    assert logprobs == echo.token_logprobs[1:]


def test_biases_and_bans(client):
    ask = {"model": "demo", "prompt": PROMPT, "max_tokens": 6, **GREEDY}
    plain = client.completions.create(extra_body=IDS, **ask).choices[0]
    first = plain.token_ids[0]
    without = client.completions.create(logit_bias={str(first): -100}, extra_body=IDS, **ask)
    assert first not in without.choices[0].token_ids
    only = client.completions.create(extra_body={"allowed_token_ids": [first], **IDS}, **ask)
    assert set(only.choices[0].token_ids) == {first}
    word = plain.text.split()[0]
    banned = client.completions.create(extra_body={"bad_words": [word]}, **ask).choices[0].text
    assert word not in banned.split() and banned != plain.text


def test_a_last_message_is_continued(client):
    turns = [*HELLO, {"role": "assistant", "content": "The bird was very"}]
    extra = {"continue_final_message": True, "add_generation_prompt": False, **IDS}
    reply = client.chat.completions.create(model="demo", messages=turns, max_tokens=4, extra_body=extra, **GREEDY)
    plain = client.completions.create(model="demo", prompt=reply.prompt_token_ids, max_tokens=4, **GREEDY)
    assert plain.choices[0].text == reply.choices[0].message.content
    echo = client.completions.create(model="demo", prompt=reply.prompt_token_ids, echo=True, max_tokens=0)
    assert echo.choices[0].text.endswith("The bird was very")


def test_a_prompts_end_is_kept(client):
    extra = {"truncate_prompt_tokens": 5, **IDS}
    reply = client.completions.create(model="demo", prompt=list(range(10, 60)), max_tokens=1, extra_body=extra)
    assert reply.choices[0].prompt_token_ids == list(range(55, 60))
    assert reply.usage.prompt_tokens == 5
