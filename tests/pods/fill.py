"""How many pods of one image a small node holds: pods are started until it is full, and then all of them are asked at once."""

import concurrent.futures
import json

import grpc
import http_client

# A kubelet begins to evict pods when less than this is available (its default `memory.available`).
EVICTION_BYTES = 100 << 20
ANSWER_S = 600


def ask(pod, port, sentences, tokens):
    """One answer to so many sentences; the positions it filled."""
    body = http_client.completion(" ".join([http_client.LILY] * sentences), tokens, stream=False)
    request = http_client.post_request("/v1/completions", body)
    status, text = http_client.exchange(pod["ip"], port, request, ANSWER_S)
    assert status == 200, f"{status}: {text}"
    return json.loads(text)["usage"]["total_tokens"]


def full(small):
    """Why there is no room for another pod, if so."""
    if kills := small.oom_kills():
        return f"the kernel killed {kills} of its processes for memory"
    if small.working_set_bytes() > small.limit_bytes - EVICTION_BYTES:
        return "less than 100 MiB are available, where a kubelet evicts"
    return None


def said(machine):
    """The end of the newest pod's log."""
    log = list(machine.pods.values())[-1]["log"] if machine.pods else None
    return "; its log: " + log.read_text()[-2000:] if log and log.exists() else ""


def fill(machine, name, start, port, sentences, tokens, most):
    """Start up to `most` pods with `start()`; with sentences each answers before the next is started. What was found."""
    small, pods, positions, reason, first = machine.small, [], 0, None, None
    while len(pods) < most and reason is None:
        try:
            pod = start()
            if sentences:
                positions = ask(pod, port, sentences, tokens)
            reason = full(small)
        except (OSError, AssertionError, grpc.RpcError) as error:
            reason = full(small) or f"a pod did not start or answer: {error}{said(machine)}"
        if reason is None:
            pods.append(pod)
            first = first or small.working_set_bytes()
    fit = len(pods)
    last = small.working_set_bytes()
    # The one that was too many goes, so that what is said to fit is what runs.
    for extra in [pod for pod in machine.pods.values() if all(pod is not kept for kept in pods)]:
        machine.remove(extra)
    failures = at_once(pods, port) if sentences else []
    result = {
        "case": name,
        "pods": fit,
        "positions": positions,
        "each_kib": (last - first) / max(1, fit - 1) / 1024 if fit else None,
        "first_kib": first and first / 1024,
        "file_kib": small.file_bytes() / 1024,
        "why_no_more": reason or f"not tried: {most} are enough",
        "failures_at_once": failures,
        "oom_kills": small.oom_kills(),
    }
    state = f"after {positions} tokens each" if sentences else "idle"
    print(f"{fit} pods of {name} fit, {state}; no more since: {result['why_no_more']}")
    if fit:
        print(f"  working set: {result['first_kib']:.0f} KiB with the first, {result['each_kib']:.0f} KiB for each further one; "
              f"page cache {result['file_kib']:.0f} KiB")
    if sentences:
        print(f"  all asked at once: {fit - len(failures)} of {fit} answered, {result['oom_kills']} killed{failures[:1] or ''}")
    return result


def at_once(pods, port):
    """Requests to all pods at a time; what went wrong."""

    def one(pod):
        try:
            ask(pod, port, 1, 4)
        except (OSError, AssertionError) as error:
            return str(error)
        return None

    if not pods:
        return []
    with concurrent.futures.ThreadPoolExecutor(len(pods)) as pool:
        return [error for error in pool.map(one, pods) if error]
