#!/usr/bin/env python3
"""Loads a server that speaks OpenAI's API, and reports what its users would see.

    scripts/load.py http://127.0.0.1:8080 --rate 2 --requests 100
        [--prompt 128] [--generate 128] [--shared-prefix 0] [--slo-ttft 1.0] [--slo-itl 0.2]
        [--json OUT.json] [--svg OUT.svg]
    scripts/load.py http://127.0.0.1:8080 --clients 16 --prompt 128 --generate 128
    scripts/load.py http://127.0.0.1:8080 --rate 1 --prompt 64:0.8,2000:0.2 --shared-prefix 1024

With `--rate` requests arrive at random (exponential times between them) whether or not earlier ones
have been answered, as those of many users do; a server that falls behind shows it. With `--clients`
each of so many clients sends its next request when the last one has ended. Prompts are random token
ids, the same ones for the same seed, so that every server has the same number of tokens; a list of
lengths has a weight behind each. All begin with the `--shared-prefix`, which counts as a part of
their length. Answers have their full length (`ignore_eos`).

Time to first token (TTFT) runs from when a request was due to its first token; the time between
tokens (ITL) is the gap between two events of a stream. Goodput counts requests that ended well
within both limits of the service (SLO). The exit code is 1 where no request ended well, or, with
`--strict`, where one did not.
"""

import argparse
import asyncio
import json
import random
import ssl
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent))

import load_report

MAX_REQUESTS = 100_000
# Lines of an answer's head and of its events.
MAX_LINE_BYTES = 1 << 20


class Failed(Exception):
    """A request that did not end well; the text is its kind, by which they are counted."""


def lengths(text):
    """`128` or `64:0.8,2000:0.2` as lengths and weights."""
    found = []
    for part in text.split(","):
        length, _, weight = part.partition(":")
        try:
            found.append((int(length), float(weight or 1)))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{part!r} is no LENGTH or LENGTH:WEIGHT") from None
    if any(length < 1 or not weight > 0 for length, weight in found):
        raise argparse.ArgumentTypeError("lengths are at least 1, and weights above 0")
    return found


def at_least(least, kind=int):
    def read(text):
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
        if not least <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"is {text}, must be at least {least}")
        return value

    return read


def bodies(args):
    """The requests' bodies, the same for the same seed."""
    numbers = random.Random(args.seed)
    draw = lambda of: numbers.choices([n for n, _ in of], [weight for _, weight in of])[0]
    ids = lambda count: [numbers.randrange(*args.ids) for _ in range(count)]
    prefix = ids(args.shared_prefix)
    for _ in range(args.requests):
        length, most = draw(args.prompt), draw(args.generate)
        # One token of its own at least: no two prompts are the same.
        prompt = prefix[: length - 1] + ids(max(length - len(prefix), 1))
        body = {"prompt": prompt, "max_tokens": most, "temperature": 0, "ignore_eos": True, "stream": True}
        body["stream_options"] = {"include_usage": True}
        if args.model:
            body["model"] = args.model
        yield body


class Target:
    """The server, and how one request is sent to it."""

    def __init__(self, args):
        url = urlsplit(args.url if "//" in args.url else f"http://{args.url}")
        if url.scheme not in ("http", "https") or not url.hostname:
            raise SystemExit(f"load: {args.url!r} is no http or https URL")
        self.host, self.path = url.hostname, url.path.rstrip("/") + "/v1/completions"
        self.tls = ssl.create_default_context() if url.scheme == "https" else None
        self.port = url.port or (443 if self.tls else 80)
        self.timeout = args.timeout
        self.key = f"Authorization: Bearer {args.api_key}\r\n" if args.api_key else ""

    async def ask(self, body, due):
        """Send a request that was due at `due`, and what became of it."""
        result = {"due": due, "sent": time.monotonic(), "tokens": 0, "prompt_tokens": 0, "cached_tokens": 0, "events": []}
        try:
            async with asyncio.timeout(self.timeout):
                await self.stream(body, result)
        except TimeoutError:
            result["failed"] = "timeout"
        except Failed as failed:
            result["failed"] = str(failed)
        except (OSError, EOFError, ValueError) as error:
            result["failed"] = type(error).__name__
        result["ended"] = time.monotonic()
        return result

    async def stream(self, body, result):
        reader, writer = await asyncio.open_connection(self.host, self.port, ssl=self.tls, limit=MAX_LINE_BYTES)
        try:
            payload = json.dumps(body).encode()
            writer.write(
                f"POST {self.path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(payload)}\r\nConnection: close\r\n{self.key}\r\n".encode() + payload
            )
            await writer.drain()
            version, _, rest = (await reader.readline()).partition(b" ")
            if not version.startswith(b"HTTP/1."):
                raise Failed("no HTTP")
            status = rest[:3].decode(errors="replace")
            chunked = False
            while (line := await reader.readline()).strip():
                chunked |= line.lower().replace(b" ", b"").startswith(b"transfer-encoding:chunked")
            if status != "200":
                raise Failed(f"HTTP {status}")
            await events(lines(reader, chunked), result)
        finally:
            writer.close()


async def lines(reader, chunked):
    """The lines of a body, whatever the chunks in which they come."""
    rest = b""
    while True:
        if chunked:
            size = int((await reader.readline()).partition(b";")[0], 16)
            data = await reader.readexactly(size)
            await reader.readline()
        else:
            data = await reader.read(MAX_LINE_BYTES)
        if not data:
            return
        *whole, rest = (rest + data).split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            raise Failed("a line without an end")
        for line in whole:
            yield line


async def events(body, result):
    """Read a stream to its end."""
    ended = False
    async for line in body:
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            ended = True
            break
        event = json.loads(data)
        if "error" in event:
            raise Failed("error in the stream")
        if event.get("choices") and event["choices"][0].get("finish_reason") is None:
            result["events"].append(time.monotonic())
        if usage := event.get("usage"):
            result["tokens"] = usage["completion_tokens"]
            result["prompt_tokens"] = usage["prompt_tokens"]
            details = usage.get("prompt_tokens_details") or {}
            result["cached_tokens"] = details.get("cached_tokens") or 0
    if not ended:
        raise Failed("stream cut off")
    if not result["events"]:
        raise Failed("no token")


async def open_loop(target, args):
    """Requests at random times, whatever becomes of those before."""
    gaps, running, due = random.Random(args.seed + 1), [], time.monotonic()
    for body in bodies(args):
        await asyncio.sleep(due - time.monotonic())
        running.append(asyncio.create_task(target.ask(body, due)))
        due += gaps.expovariate(args.rate)
    return await asyncio.gather(*running)


async def closed_loop(target, args):
    """As many requests at a time as there are clients."""
    waiting, results = bodies(args), []

    async def client():
        for body in waiting:
            results.append(await target.ask(body, time.monotonic()))

    await asyncio.gather(*(client() for _ in range(args.clients)))
    return results


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="the server, with a path before /v1 where it has one")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--rate", type=at_least(0.001, float), help="requests a second, on the average")
    how.add_argument("--clients", type=at_least(1), help="requests at a time")
    parser.add_argument("--requests", type=at_least(1), default=100, help="in all [100]")
    parser.add_argument("--prompt", type=lengths, default="128", help="tokens of a prompt: N or N:WEIGHT,... [128]")
    parser.add_argument("--generate", type=lengths, default="128", help="tokens of an answer, likewise [128]")
    parser.add_argument("--shared-prefix", type=at_least(0), default=0, help="tokens with which all prompts begin [0]")
    parser.add_argument("--ids", type=at_least(0), nargs=2, default=(100, 250), help="token ids: from, and below [100 250]")
    parser.add_argument("--seed", type=int, default=1, help="of prompts and arrivals [1]")
    parser.add_argument("--model", help="the model's name [the server's default]")
    parser.add_argument("--api-key", help="sent as a bearer token")
    parser.add_argument("--timeout", type=at_least(0.001, float), default=600, help="seconds a request may take [600]")
    parser.add_argument("--slo-ttft", type=at_least(0, float), default=1.0, help="limit of the TTFT in seconds [1]")
    parser.add_argument("--slo-itl", type=at_least(0, float), default=0.2, help="limit of a stream's p99 ITL in seconds [0.2]")
    parser.add_argument("--json", type=Path, help="write the report and every request's figures")
    parser.add_argument("--svg", type=Path, help="draw how many were as fast as that")
    parser.add_argument("--strict", action="store_true", help="fail where one request did not end well")
    args = parser.parse_args()
    if args.requests > MAX_REQUESTS:
        parser.error(f"argument --requests: at most {MAX_REQUESTS}")
    if not args.ids[0] < args.ids[1]:
        parser.error("argument --ids: the first must be below the second")
    return args


def main():
    args = arguments()
    target = Target(args)
    loop = open_loop if args.rate else closed_loop
    results = asyncio.run(loop(target, args))
    report = load_report.report(results, args.slo_ttft, args.slo_itl)
    print(load_report.table(report))
    if args.json:
        settings = {name: value for name, value in vars(args).items() if name not in ("json", "svg", "api_key")}
        text = json.dumps({"settings": settings, "report": report, "requests": load_report.rows(results)})
        args.json.write_text(text + "\n", encoding="utf-8")
    if args.svg:
        args.svg.write_text(load_report.draw(results), encoding="utf-8")
    return 0 if report["succeeded"] and not (args.strict and report["failed"]) else 1


if __name__ == "__main__":
    sys.exit(main())
