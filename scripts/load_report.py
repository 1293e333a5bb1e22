"""What `load.py` measured: percentiles, goodput, a table and a plot."""

from collections import Counter
from xml.sax.saxutils import escape

PERCENTILES = (50, 90, 95, 99)
WIDTH, HEIGHT, LEFT, TOP, RIGHT = 760, 210, 60, 40, 30
LINE, INK, FAINT = "#0f766e", "#1f2933", "#d5dade"


def ttft(request):
    """Seconds from when a request was due to its first token."""
    return request["events"][0] - request["due"]


def gaps(request):
    """Seconds between the tokens of a stream."""
    times = request["events"]
    return [after - before for before, after in zip(times, times[1:])]


def percentile(values, percent):
    """The least of the values that so many percent do not exceed; `None` of none."""
    ordered = sorted(values)
    # Rounded up, in whole numbers.
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(rank, 1) - 1] if ordered else None


def spread(values):
    named = {f"p{percent}": percentile(values, percent) for percent in PERCENTILES}
    return {**named, "mean": sum(values) / len(values) if values else None, "max": max(values, default=None)}


def is_good(request, slo_ttft, slo_itl):
    """It ended well, within both limits."""
    if "failed" in request or ttft(request) > slo_ttft:
        return False
    return (percentile(gaps(request), 99) or 0) <= slo_itl


def report(results, slo_ttft, slo_itl):
    """The figures of all requests together; times in seconds."""
    well = [request for request in results if "failed" not in request]
    began = min(request["due"] for request in results)
    duration = max(request["ended"] for request in results) - began
    good = sum(is_good(request, slo_ttft, slo_itl) for request in results)
    total = lambda key: sum(request[key] for request in well)
    prompt_tokens, cached = total("prompt_tokens"), total("cached_tokens")
    return {
        "requests": len(results),
        "succeeded": len(well),
        "failed": dict(Counter(request["failed"] for request in results if "failed" in request)),
        "duration": duration,
        "tokens": total("tokens"),
        "tokens_per_s": total("tokens") / duration,
        "requests_per_s": len(well) / duration,
        "goodput_per_s": good / duration,
        "good_share": good / len(results),
        "prompt_tokens": prompt_tokens,
        "cached_share": cached / prompt_tokens if prompt_tokens else 0.0,
        "ttft": spread([ttft(request) for request in well]),
        "itl": spread([gap for request in well for gap in gaps(request)]),
        "latency": spread([request["ended"] - request["due"] for request in well]),
        # How late the load itself was.
        "lag": spread([request["sent"] - request["due"] for request in results]),
    }


def rows(results):
    """Each request's figures, for the JSON."""
    for_one = []
    for request in results:
        row = {key: request[key] for key in ("tokens", "prompt_tokens", "cached_tokens")}
        row["latency"] = request["ended"] - request["due"]
        if "failed" in request:
            row["failed"] = request["failed"]
        else:
            row |= {"ttft": ttft(request), "itl": gaps(request)}
        for_one.append(row)
    return for_one


def table(report):
    """The report as a person reads it."""
    failed = ", ".join(f"{kind}: {count}" for kind, count in sorted(report["failed"].items()))
    lines = [
        f"requests     {report['requests']}, {report['succeeded']} ended well" + (f" ({failed})" if failed else ""),
        f"throughput   {report['tokens_per_s']:.1f} tokens/s, {report['requests_per_s']:.2f} requests/s "
        f"over {report['duration']:.1f} s",
        f"goodput      {report['goodput_per_s']:.2f} requests/s, {100 * report['good_share']:.1f} % of all",
        f"prompts      {report['prompt_tokens']} tokens, {100 * report['cached_share']:.1f} % of them cached",
        "",
        "ms           " + "".join(f"{name:>10}" for name in report["ttft"]),
    ]
    for name in ("ttft", "itl", "latency", "lag"):
        values = ("-" if value is None else f"{1e3 * value:.1f}" for value in report[name].values())
        lines.append(f"{name:<13}" + "".join(f"{value:>10}" for value in values))
    return "\n".join(lines)


def text(x, y, words, anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{INK}" text-anchor="{anchor}">{escape(words)}</text>'


def panel(heading, values, top):
    """How large a share of the values is at most so large."""
    ordered = sorted(values)
    largest = ordered[-1] or 1e-9
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - 30
    bottom = top + TOP + high
    lines = [text(12, top + 22, heading)]
    for share in (0, 0.5, 0.9, 0.99):
        y = bottom - share * high
        lines.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{FAINT}"/>')
        lines.append(text(LEFT - 6, y + 4, f"{100 * share:.0f} %", "end"))
    for part in (0, 0.25, 0.5, 0.75, 1):
        lines.append(text(LEFT + part * wide, bottom + 18, f"{1e3 * part * largest:.4g} ms", "middle"))
    points = [f"{LEFT:.1f} {bottom:.1f}"]
    for rank, value in enumerate(ordered, 1):
        points.append(f"{LEFT + value / largest * wide:.1f} {bottom - rank / len(ordered) * high:.1f}")
    # What many values share is one point.
    points = list(dict.fromkeys(points))
    lines.append(f'<path d="M{"L".join(points)}" fill="none" stroke="{LINE}" stroke-width="2"/>')
    return lines


def draw(results):
    """The SVG: time to first token, between tokens, and to the answer's end."""
    well = [request for request in results if "failed" not in request]
    panels = (
        ("Requests whose first token came within", [ttft(request) for request in well]),
        ("Tokens that came so soon after the one before", [gap for request in well for gap in gaps(request)]),
        ("Requests whose answer ended within", [request["ended"] - request["due"] for request in well]),
    )
    panels = [(heading, values) for heading, values in panels if values]
    height = max(HEIGHT * len(panels), 40)
    lines = [line for index, (heading, values) in enumerate(panels) for line in panel(heading, values, index * HEIGHT)]
    if not panels:
        lines = [text(12, 24, "No request ended well.")]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="system-ui, sans-serif" font-size="12">'
    )
    return "\n".join([head, f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>', *lines, "</svg>", ""])
