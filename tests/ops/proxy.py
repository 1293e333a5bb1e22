"""Two replicas behind HAProxy, which sends each request to the one with the fewest. One is told to
stop under load.
"""

import collections
import contextlib
import shutil
import tempfile

from servers import Process, Stream, Sterna, ask, free_port, running, wait_until, write

STREAMS = 50
# A 503 of a replica that stops says that nothing was computed, so that even a POST may be sent
# again. HAProxy can do that only with a request that it had whole before it sent it on: hence
# http-buffer-request, without which a body that comes a moment after its head, as from a busy
# client, is not sent again.
CONFIGURATION = """
global
    maxconn 1000
defaults
    mode http
    timeout connect 5s
    timeout client 300s
    timeout server 300s
    retries 3
    option redispatch 1
    option http-buffer-request
    retry-on conn-failure empty-response 503
frontend clients
    bind 127.0.0.1:{port}
    default_backend replicas
backend replicas
    balance leastconn
    option httpchk GET /readyz
    server first {first} check inter 200ms fall 1 rise 1
    server second {second} check inter 200ms fall 1 rise 1
"""


def test(binary):
    """The missing parts, if any."""
    if shutil.which("haproxy") is None:
        return "haproxy is not installed (apt-get install haproxy)"
    finish(binary)
    cut(binary)
    return None


@contextlib.contextmanager
def replicas(binary, *options):
    """Two servers, and the address of the proxy before them."""
    # A thread each: as many tokens as there are, whatever the machine, and streams that last.
    options = ("--threads", "1", *options)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        first, second = (stack.enter_context(running(Sterna(binary, *options))) for _ in range(2))
        port = free_port()
        text = CONFIGURATION.format(port=port, first=first.address, second=second.address)
        stack.enter_context(running(Process(["haproxy", "-db", "-f", write(folder, "haproxy.cfg", text)])))
        proxy = f"127.0.0.1:{port}"
        wait_until("the proxy", lambda: reachable(proxy))
        yield first, second, proxy


def reachable(proxy):
    stream = Stream(proxy, ask(1))
    stream.join()
    return stream.done


def under_load(proxy, first, tokens):
    """Streams through the proxy, of which some have begun, on both replicas."""
    before = first.metrics()["sterna_generations_started_total"]
    streams = [Stream(proxy, ask(tokens, seed)) for seed in range(STREAMS)]
    share = STREAMS * 2 // 5
    wait_until("a fair share of streams on the first", lambda: first.metrics()["sterna_generations_started_total"] - before >= share)
    wait_until("a stream that has begun", lambda: any(stream.begun.is_set() for stream in streams))
    return streams


def finish(binary):
    """Enough time: everything that runs finishes, everything that comes goes to the other
    replica.
    """
    with replicas(binary, "--drain-timeout", "300") as (first, second, proxy):
        streams = under_load(proxy, first, 150)
        first.signal()
        first.wait_for("stopping")
        taken = first.metrics()["sterna_generations_started_total"]
        running_on = first.metrics()["sterna_http_requests_in_flight"]
        assert first.get("/readyz")[0] == 503
        late = [Stream(proxy, ask(20, seed)) for seed in range(20)]
        for stream in late:
            stream.join()
        if first.child.poll() is None:
            assert first.metrics()["sterna_generations_started_total"] == taken, "it took work after it was told to stop"
        for stream in streams:
            stream.join()
        failed = [stream.broken or stream.error for stream in streams + late if not stream.done]
        assert not failed, f"{len(failed)} requests failed, for example {failed[0]}"
        assert first.wait() == 0, first.log
        assert "cut off" not in first.log, first.log
        print(
            f"ops: proxy: SIGTERM to one of two replicas with {running_on:.0f} requests in flight there: all {STREAMS} streams "
            f"complete, and all {len(late)} that came later; exit 0"
        )


def cut(binary):
    """Too little time: what is left ends with an event that says so, and can be had again by what
    that event holds.
    """
    with replicas(binary, "--drain-timeout", "1") as (first, second, proxy):
        streams = under_load(proxy, first, 300)
        first.signal()
        assert first.wait() == 0, first.log
        for stream in streams:
            stream.join()
        ends = collections.Counter(
            "broken" if stream.broken else "complete" if stream.done else "cut" for stream in streams
        )
        broken = [stream.broken for stream in streams if stream.broken]
        assert not broken, f"{len(broken)} streams have no proper end, for example {broken[0]}"
        ended = [stream for stream in streams if stream.error]
        assert ended, "nothing was cut, so this tested nothing: the drain time is too long for this machine"
        for stream in ended:
            error = stream.error
            assert error["code"] == "unavailable" and "stopping" in error["message"], error
            assert error["resume"]["seed"] == stream.body["seed"], error
            assert len(error["resume"]["tokens"]) == error["resume"]["completion_tokens"], error
        begun = max(ended, key=lambda stream: len(stream.text))
        again = Stream(proxy, begun.body | {"seed": begun.error["resume"]["seed"]})
        again.join()
        assert again.done and again.text.startswith(begun.text), (begun.text, again.text, again.broken)
        print(
            f"ops: proxy: the same with a drain time of 1 s: {dict(ends)}; each cut stream's last event is well-formed; one of "
            f"{begun.error['resume']['completion_tokens']} tokens was had again from the other replica; exit 0"
        )
