"""Just enough HTTP to time a server: connections of its own, no retries that would hide a wait."""

import json
import socket
import time

LILY = "Once upon a time, there was a little girl named Lily."


def get(ip, port, path, timeout=10):
    """Status and body; OSError while nothing listens."""
    request = f"GET {path} HTTP/1.1\r\nhost: pod\r\nconnection: close\r\n\r\n"
    return exchange(ip, port, request, timeout)


def post(ip, port, path, body, headers=()):
    """The same with a JSON body."""
    return exchange(ip, port, post_request(path, body, headers), 60)


def post_request(path, body, headers=()):
    """The bytes of a POST, as text."""
    text = json.dumps(body)
    lines = [f"POST {path} HTTP/1.1", "host: pod", "connection: close"]
    lines += ["content-type: application/json", f"content-length: {len(text)}", *headers]
    return "\r\n".join(lines) + "\r\n\r\n" + text


def exchange(ip, port, request, timeout):
    """Send and read to the end."""
    with socket.create_connection((ip, port), timeout) as link:
        link.sendall(request.encode())
        answer = b"".join(iter(lambda: link.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


def completion(prompt=LILY, tokens=1, stream=True, **more):
    """A greedy request."""
    return {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": stream} | more


class Stream:
    """A running answer of server-sent events."""

    def __init__(self, ip, port, body):
        self.link = socket.create_connection((ip, port), 60)
        self.link.settimeout(60)
        self.link.sendall(post_request("/v1/completions", body).encode())
        self.bytes = b""

    def wait_token(self):
        """Until the first event is there."""
        while b"data:" not in self.bytes:
            more = self.link.recv(65536)
            if not more:
                raise AssertionError("the stream ended: " + self.bytes.decode())
            self.bytes += more

    def text(self):
        """Read to the end; the text, and whether the stream ended as OpenAI's do."""
        while more := self.link.recv(65536):
            self.bytes += more
        self.link.close()
        # Chunk sizes stand on lines of their own between the events.
        events = [line[6:] for line in self.bytes.decode().splitlines() if line.startswith("data: ")]
        text = "".join(
            choice["text"]
            for event in events
            if event != "[DONE]"
            for choice in json.loads(event).get("choices", [])
        )
        return text, events[-1:] == ["[DONE]"]


def wait_ready(ip, port, path="/readyz", limit=60):
    """The time of the first 200, asking every half millisecond."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        try:
            status, _ = get(ip, port, path)
            if status == 200:
                return time.monotonic()
        except OSError:
            pass
        time.sleep(0.0005)
    raise AssertionError(f"not ready after {limit} s")
