"""Counts the pods of one image that a small node holds: pods are started until it is full, and then
all of them are asked at once.
"""

import concurrent.futures
import json
import time

import grpc
import http_client

# A kubelet begins to evict pods when less than this is available (its default `memory.available`).
EVICTION_BYTES = 100 << 20
ANSWER_S = 600
# Tokens of the answer that makes a pod active; the prompt has the rest of the positions.
ANSWER_TOKENS = 32


def ask(pod, port, sentences, tokens):
    """One answer to so many sentences; its usage, in tokens."""
    body = http_client.completion(" ".join([http_client.LILY] * sentences), tokens, stream=False)
    request = http_client.post_request("/v1/completions", body)
    status, text = http_client.exchange(pod["ip"], port, request, ANSWER_S)
    assert status == 200, f"{status}: {text}"
    return json.loads(text)["usage"]


def sentences_for(positions, pod, port):
    """The largest number of sentences of prompt that fill so many positions with the answer; models
    count their tokens differently.
    """
    one, two = (ask(pod, port, sentences, 1)["prompt_tokens"] for sentences in (1, 2))
    return max(1, 1 + (positions - ANSWER_TOKENS - one) // (two - one))


def pods_beside_the_model(file_bytes):
    """The number of pods when what they share began to leave the page cache; `file_bytes` after
    each pod.
    """
    return max((n for n, size in enumerate(file_bytes, 1) if size >= 0.95 * max(file_bytes[:n])), default=0)


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


def fill(machine, name, start, port, positions, most, minutes):
    """Start up to `most` pods with `start()`; with positions each fills them before the next is
    started. What was found.
    """
    end = time.monotonic() + 60 * minutes
    small, pods, files, sentences, filled, reason, first = machine.small, [], [], 0, 0, None, None
    while len(pods) < most and reason is None and time.monotonic() < end:
        try:
            pod = start()
            if positions:
                sentences = sentences or sentences_for(positions, pod, port)
                filled = ask(pod, port, sentences, ANSWER_TOKENS)["total_tokens"]
            reason = full(small)
        except (OSError, AssertionError, grpc.RpcError) as error:
            reason = full(small) or f"a pod did not start or answer: {error}{said(machine)}"
        if reason is None:
            pods.append(pod)
            files.append(small.file_bytes())
            first = first or small.working_set_bytes()
    fit = len(pods)
    last = small.working_set_bytes()
    # The one that was too many goes, so that what is said to fit is what runs.
    for extra in [pod for pod in machine.pods.values() if all(pod is not kept for kept in pods)]:
        machine.remove(extra)
    failures = at_once(pods, port) if positions else []
    result = {
        "case": name,
        "pods": fit,
        "positions": filled,
        "each_kib": (last - first) / max(1, fit - 1) / 1024 if fit else None,
        "first_kib": first and first / 1024,
        "file_kib": files[-1] / 1024 if files else 0,
        "beside_the_model": pods_beside_the_model(files),
        "why_no_more": reason or "more were not tried",
        "failures_at_once": failures,
        "oom_kills": small.oom_kills(),
    }
    state = f"after {filled} tokens each" if positions else "idle"
    print(f"{fit} pods of {name} fit, {state}; no more since: {result['why_no_more']}")
    if fit:
        print(f"  working set: {result['first_kib']:.0f} KiB with the first, {result['each_kib']:.0f} KiB for each further one; "
              f"page cache {result['file_kib']:.0f} KiB, at its largest up to pod {result['beside_the_model']}")
    if positions:
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
