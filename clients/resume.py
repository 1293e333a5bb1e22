"""Streams from Sterna that survive the server: what one server began, another one of the same model
goes on with, and the caller sees one stream. Python 3.9 or later, nothing else.

    import resume

    servers = ["http://10.0.0.1:8080", "http://10.0.0.2:8080"]
    body = {"messages": [{"role": "user", "content": "Tell me a story."}], "stream": True}
    for event in resume.stream(servers, "/v1/chat/completions", body):
        chunk = event.json()
        if chunk:
            print(chunk["choices"][0]["delta"].get("content", ""), end="")

One address is enough where it leads to several servers. docs/resume.md has the protocol.
"""

import http.client
import json
import time
import urllib.parse

# Statuses that another server, or the same one later, may not have.
AGAIN = (408, 429, 500, 502, 503, 504)
# Characters of ids that are sent back; beyond them the last one alone, which is enough.
MOST_IDS = 1 << 20


class Failed(Exception):
    """No server answers, or one refuses the request: then `status` and `body` are its answer."""

    def __init__(self, message, status=None, body=None):
        super().__init__(message)
        self.status = status
        self.body = body


class Event:
    """An event of a stream: `name` (None where it has none), `data` as text, `id`."""

    def __init__(self, name, data, id):
        self.name, self.data, self.id = name, data, id

    def json(self):
        """The data as an object; None for `[DONE]`."""
        return None if self.data == "[DONE]" else json.loads(self.data)

    def is_last(self):
        """True if the answer is whole with it."""
        ends = ("message_stop", "response.completed", "response.incomplete")
        return self.data == "[DONE]" or self.name in ends


def stream(servers, path, body, headers=None, attempts=8, silence=60.0):
    """The events of a request that streams, each once and in order, wherever they come from.

    After `attempts` failures in a row without a new event it gives up. A server that says nothing
    for `silence` seconds, not even a comment, counts as failed.
    """
    servers = [servers] if isinstance(servers, str) else list(servers)
    ids, failures, at = [], 0, 0
    while True:
        failures, wait = failures + 1, None
        try:
            for event in _events(servers[at % len(servers)], path, body, headers, ids, silence):
                error, token = _fault(event)
                if error and token:
                    # It names the tokens of all events before it.
                    ids[:] = [token]
                    break
                if error:
                    yield event
                    return
                # Without an id it is no part of the answer: a sign of life.
                if event.id:
                    ids.append(event.id)
                    failures = 1
                    yield event
                if event.is_last():
                    return
            reason = "the stream was cut"
        except _Busy as busy:
            reason, wait = str(busy), busy.wait
        except (OSError, http.client.HTTPException) as error:
            reason = f"{type(error).__name__}: {error}"
        if failures >= attempts:
            raise Failed(f"{reason}; no server went on after {attempts} attempts")
        at += 1
        if wait is None:
            # At once elsewhere; a server that was asked before gets time.
            wait = 0 if failures < len(servers) else min(0.25 * 2**failures, 5)
        time.sleep(wait)


class _Busy(Exception):
    def __init__(self, message, wait):
        super().__init__(message)
        self.wait = wait


def _events(server, path, body, headers, ids, silence):
    url = urllib.parse.urlsplit(server)
    https = url.scheme == "https"
    connect = http.client.HTTPSConnection if https else http.client.HTTPConnection
    connection = connect(url.hostname, url.port, timeout=silence)
    try:
        sent = dict(body)
        if ids:
            sent["resume"] = ids if sum(map(len, ids)) <= MOST_IDS else ids[-1:]
        own = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        own.update(headers or {})
        connection.request("POST", url.path.rstrip("/") + path, json.dumps(sent), own)
        response = connection.getresponse()
        if response.status != 200:
            text = response.read().decode("utf-8", "replace")
            if response.status in AGAIN:
                raise _Busy(f"status {response.status}: {text}", _seconds(response))
            message = f"{server} answers {response.status}: {text}"
            raise Failed(message, response.status, text)
        yield from _parse(response)
    finally:
        connection.close()


def _parse(lines):
    name, data, id = None, [], None
    for line in lines:
        line = line.decode("utf-8").rstrip("\r\n")
        field, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if not line:
            if data:
                yield Event(name, "\n".join(data), id)
            name, data, id = None, [], None
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id":
            id = value


def _fault(event):
    """The error that an event tells, and the token with which the stream goes on elsewhere: each
    None where there is none."""
    if event.data == "[DONE]" or '"error"' not in event.data:
        return None, None
    data = json.loads(event.data)
    if event.name == "response.failed":
        error, resume = data["response"]["error"], data["response"].get("resume")
    else:
        error = data.get("error")
        resume = data.get("resume") if event.name == "error" else (error or {}).get("resume")
    if not error:
        return None, None
    # A request that is at fault fails elsewhere too.
    is_at_fault = error.get("type") == "invalid_request_error" or error.get("code") == "invalid_prompt"
    return error, None if is_at_fault else (resume or {}).get("token")


def _seconds(response):
    try:
        return min(float(response.headers.get("Retry-After", "")), 30.0)
    except ValueError:
        return None
