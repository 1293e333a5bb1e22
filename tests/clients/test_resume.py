"""Streams that go on at another process: cut behind each event, killed, drained, with the clients
of clients/ and without."""

import json
import pathlib
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import pytest

from test_calls import TOOLS, USER

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "clients"))
import resume  # noqa: E402

KEY = "a key that these two servers share".replace(" ", "-")
SCRIPTED = ["--model", "tests/fixtures/scripted/scripted.gguf"]


class Server:
    """A server that may be killed."""

    def __init__(self, sterna, *options):
        self.process = subprocess.Popen(
            [sterna, "serve", "--listen", "127.0.0.1:0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.address = None
        for line in self.process.stdout:
            found = re.search(r"http://127\.0\.0\.1:[0-9]+", line)
            if found:
                self.address = found.group(0)
                break
        assert self.address
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def serve(request):
    return lambda *options: Server(request.config.getoption("--sterna"), *options)


@pytest.fixture(scope="module")
def pair(serve):
    """Two servers of the demo model with the same key; the second has others beside it."""
    other = "another-key-that-is-long-enough-to-be-one"
    with serve("--resume-key", KEY) as one, serve("--resume-key", f"{other},{KEY}", "--max-sequences", "2") as two:
        yield one.address, two.address


@pytest.fixture(scope="module")
def callers(serve):
    """The same with a model that calls functions."""
    with serve("--resume-key", KEY, *SCRIPTED) as one, serve("--resume-key", KEY, *SCRIPTED) as two:
        yield one.address, two.address


def ask(address, path, body, last=None):
    headers = {"Content-Type": "application/json"}
    if last:
        headers["Last-Event-ID"] = last
    request = urllib.request.Request(address + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        return list(resume._parse(response))


def but_for_cache(value):
    """JSON without how much of the prompt was cached."""
    if isinstance(value, list):
        return [but_for_cache(item) for item in value]
    if not isinstance(value, dict):
        return value
    value = dict(value)
    if "cache_read_input_tokens" in value:
        value["input_tokens"] += value.pop("cache_read_input_tokens")
    return {name: but_for_cache(item) for name, item in value.items() if name != "cached_tokens"}


def told(events):
    """Names and data of events, choice by choice: their order among each other is the server's."""
    of_choice = []
    for event in events:
        data = event.json()
        choices = (data or {}).get("choices") or [{}]
        index = choices[0].get("index", 1 << 20)
        of_choice.append((index, event.name, but_for_cache(data)))
    of_choice.sort(key=lambda it: it[0])
    return of_choice


PROMPT = {"prompt": "Once upon a time", "max_tokens": 20, "stream": True}
CHAT = {"messages": [{"role": "user", "content": "A dog barked."}], "max_tokens": 20, "stream": True}
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 9}, "age": {"type": "integer", "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "pet", "schema": SCHEMA, "strict": True}}
USAGE = {"stream_options": {"include_usage": True}}
CASES = {
    "chat": ("/v1/chat/completions", CHAT | USAGE),
    "text": ("/v1/completions", PROMPT | USAGE),
    "greedy": ("/v1/completions", PROMPT | {"temperature": 0}),
    "seed": ("/v1/completions", PROMPT | {"temperature": 1, "seed": 7}),
    "hot": ("/v1/chat/completions", CHAT | {"temperature": 2, "top_k": 50, "repetition_penalty": 1.2}),
    "n": ("/v1/chat/completions", CHAT | USAGE | {"n": 3, "temperature": 1}),
    "list": ("/v1/completions", PROMPT | USAGE | {"prompt": ["A cat", "A dog", "Tom"], "n": 2, "max_tokens": 6}),
    "characters": ("/v1/completions", PROMPT | {"prompt": "日本語のテキスト", "temperature": 2, "ignore_eos": True}),
    "stop": ("/v1/completions", PROMPT | {"temperature": 0, "max_tokens": 60, "stop": [" was", "never so"]}),
    "schema": ("/v1/chat/completions", CHAT | {"response_format": FORMAT, "temperature": 1, "max_tokens": 90}),
    "logprobs": ("/v1/chat/completions", CHAT | {"logprobs": True, "top_logprobs": 2, "max_tokens": 8}),
    "responses": ("/v1/responses", {"input": "A dog barked.", "max_output_tokens": 20, "stream": True}),
    "messages": ("/v1/messages", CHAT),
}


def cut_everywhere(one, two, path, body):
    whole = ask(one, path, body)
    assert all(event.id for event in whole) and whole[-1].is_last()
    ids = [event.id for event in whole]
    for cut in range(1, len(whole) + 1):
        rest = told(whole[cut:])
        assert told(ask(two, path, body | {"resume": ids[:cut]})) == rest, cut
        if cut % 5 == 1:
            assert told(ask(two, path, body, last=ids[cut - 1])) == rest, cut
    return whole


@pytest.mark.parametrize("name", CASES)
def test_the_rest_follows_a_cut_behind_any_event(pair, name):
    whole = cut_everywhere(*pair, *CASES[name])
    if name == "schema":
        chunks = [event.json() for event in whole]
        text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk)
        assert set(json.loads(text)) == {"name", "age"}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
def test_calls_and_reasoning_go_on(callers, path):
    functions = [tool["function"] for tool in TOOLS]
    if path == "/v1/responses":
        body = {"input": USER["content"], "tools": [{"type": "function", **it} for it in functions]}
    elif path == "/v1/messages":
        tools = [{"name": it["name"], "input_schema": it["parameters"]} for it in functions]
        body = {"messages": [USER], "tools": tools, "max_tokens": 200}
    else:
        body = {"messages": [USER], "tools": TOOLS}
    whole = cut_everywhere(*callers, path, body | {"stream": True})
    assert any("get_weather" in event.data or functions[0]["name"] in event.data for event in whole)


def test_what_is_resumed_is_taken_in_as_a_prompt_is(pair):
    one, two = pair
    path, body = "/v1/completions", PROMPT | {"max_tokens": 200, "temperature": 1, "ignore_eos": True}
    whole = ask(one, path, body)

    def generated():
        with urllib.request.urlopen(two + "/metrics", timeout=30) as page:
            return int(re.search(r"^sterna_generated_tokens_total (\d+)", page.read().decode(), re.M)[1])

    before = generated()
    ask(two, path, body | {"resume": [event.id for event in whole[:190]]})
    assert generated() - before <= 12


LONG = CHAT | {"max_tokens": 450, "ignore_eos": True, "temperature": 1}


def uncut(address, events, path, body):
    """What a stream that begins with the first of these events is, told by one server."""
    return told([events[0], *ask(address, path, body, last=events[0].id)])


def test_the_python_client_goes_on_where_a_server_was_killed(serve, pair):
    path, sent = "/v1/chat/completions", []
    with serve("--resume-key", KEY) as victim:
        for event in resume.stream([victim.address, pair[0]], path, LONG):
            sent.append(event)
            if len(sent) == 20:
                victim.process.send_signal(signal.SIGKILL)
    assert len(sent) > 400 and told(sent) == uncut(pair[1], sent, path, LONG)


PROGRAM = """
import { stream } from "%s/clients/resume.mjs";
const [, , servers, path, body] = process.argv;
for await (const event of stream(JSON.parse(servers), path, JSON.parse(body))) {
  console.log(JSON.stringify([event.name ?? null, event.data, event.id]));
}
"""


def test_the_javascript_client_goes_on_where_a_server_was_killed(serve, pair, tmp_path):
    program = tmp_path / "client.mjs"
    program.write_text(PROGRAM % ROOT)
    path, sent = "/v1/chat/completions", []
    with serve("--resume-key", KEY) as victim:
        servers = json.dumps([victim.address, pair[0]])
        command = ["node", str(program), servers, path, json.dumps(LONG)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
            for line in client.stdout:
                sent.append(resume.Event(*json.loads(line)))
                if len(sent) == 20:
                    victim.process.send_signal(signal.SIGKILL)
        assert client.returncode == 0
    assert len(sent) > 400 and told(sent) == uncut(pair[1], sent, path, LONG)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
def test_a_stream_goes_on_where_a_server_drained(serve, pair, path):
    body = {"max_tokens": 450} | CHAT | {"max_tokens": 450}
    if path == "/v1/responses":
        body = {"input": "A dog barked.", "max_output_tokens": 450, "stream": True}
    body["temperature"] = 1.5
    sent = []
    with serve("--resume-key", KEY, "--drain-timeout", "0") as victim:
        for event in resume.stream([victim.address, pair[0]], path, body):
            sent.append(event)
            if len(sent) == 8:
                victim.process.send_signal(signal.SIGTERM)
        assert victim.process.wait(timeout=30) == 0
    assert sent[-1].is_last() and told(sent) == uncut(pair[1], sent, path, body)


def refused(address, path, body, **how):
    with pytest.raises(urllib.error.HTTPError) as error:
        ask(address, path, body, **how)
    answer = json.load(error.value)["error"]
    assert (error.value.code, answer["code"], answer["param"]) == (400, "invalid_resume", "resume")
    return answer["message"]


def test_what_cannot_be_resumed_is_refused(serve, pair, callers):
    path, body = "/v1/chat/completions", CHAT
    id = ask(pair[0], path, body)[3].id
    assert "signed" in refused(pair[1], path, body, last=id[:-1] + ("A" if id[-1] != "A" else "B"))
    assert "another request" in refused(pair[1], path, body | {"seed": 1}, last=id)
    assert "another request" in refused(pair[1], "/v1/completions", PROMPT, last=id)
    assert "another model" in refused(callers[0], path, body, last=id)
    assert "'stream': true" in refused(pair[1], path, {**body, "stream": False} | {"resume": id})
    with serve() as alone, serve("--resume-key", "none") as keyless:
        assert "signed" in refused(alone.address, path, body, last=id)
        own = ask(alone.address, path, body)
        rest = ask(alone.address, path, body, last=own[3].id)
        assert told(rest) == told(own[4:])
        assert "resume_key" in refused(keyless.address, path, body, last=id)
        assert not any(event.id for event in ask(keyless.address, path, body))
    with serve("--resume-key", KEY, "--kv-type", "f32") as wider:
        types = [json.load(urllib.request.urlopen(at + "/v1/models"))["data"][0]["kv_type"] for at in (pair[0], wider.address)]
        if types[0] != types[1]:
            assert "another model" in refused(wider.address, path, body, last=id)


def test_a_client_gives_up_and_says_why(pair):
    with pytest.raises(resume.Failed, match="after 2 attempts"):
        list(resume.stream(["http://127.0.0.1:9"], "/v1/completions", PROMPT, attempts=2))
    with pytest.raises(resume.Failed) as error:
        list(resume.stream(pair[0], "/v1/completions", PROMPT | {"max_tokens": -1}))
    assert error.value.status == 400 and "max_tokens" in error.value.body
