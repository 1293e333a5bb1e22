#!/usr/bin/env python3
"""Draws what `compare.py --append` measured: `speed_plot.py RUNS.json OUT.svg`.

A panel for each phase, a group of bars for each run: the medians of both sides, with the least and
the greatest round as a line, and how many times as fast Sterna was. Runs in which a side failed are
refused: nothing is left out in silence.
"""

import json
import sys
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT = 760, 150, 90
BAR, GAP, GROUP_GAP, HEAD = 15, 3, 30, 48
OURS, THEIRS, INK, FAINT = "#0f766e", "#a8b0b8", "#1f2933", "#6b7680"
PANELS = (("decode", "Generation"), ("prefill", "Prompt"))


def title(run, phase):
    """What a run measured, in a few words."""
    ours = dict(zip(run["ours"][::2], run["ours"][1::2]))
    where = "prompt of" if phase == "prefill" else "behind"
    words = [run["shape"], ours.get("--weights", ""), f"{where} {run['prompt']}"]
    threads = run["threads"]
    return " ".join(filter(None, words)) + f", {threads} thread{'s' if threads > 1 else ''}"


def text(x, y, words, fill=INK, anchor="start", weight="normal"):
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" text-anchor="{anchor}" font-weight="{weight}">{escape(words)}</text>'


def bar(name, rate, y, scale):
    """One side's bar, named and with its figures."""
    ours = name == "sterna"
    x = [LEFT + scale * rate[key] for key in ("min", "tokens_per_s", "max")]
    middle = y + BAR / 2
    figures = f"{rate['tokens_per_s']:.1f}"
    if not ours:
        figures += f"  (Sterna is {rate['ratio']:.1f} times as fast)"
    return [
        text(LEFT - 8, y + BAR - 3, "Sterna" if ours else name, anchor="end"),
        f'<rect x="{LEFT}" y="{y:.1f}" width="{x[1] - LEFT:.1f}" height="{BAR}" fill="{OURS if ours else THEIRS}"/>',
        f'<path d="M{x[0]:.1f} {middle:.1f}H{x[2]:.1f}" stroke="{INK}"/>',
        text(x[2] + 6, y + BAR - 3, figures),
    ]


def panel(runs, phase, heading, y):
    """The lines of a panel that begins at `y`, and where it ends."""
    lines = [text(12, y + 18, f"{heading}, tokens a second", weight="bold")]
    largest = max(entry[phase]["max"] for run in runs for entry in run["report"].values())
    scale = (WIDTH - LEFT - RIGHT) / largest
    y += HEAD
    for run in runs:
        lines.append(text(LEFT, y - 6, title(run, phase), fill=FAINT))
        for name, entry in run["report"].items():
            lines += bar(name, entry[phase], y, scale)
            y += BAR + GAP
        y += GROUP_GAP
    return lines, y - GROUP_GAP + 16


def draw(runs):
    """The SVG's text."""
    if not runs:
        raise ValueError("holds no runs")
    for run in runs:
        for name, entry in run["report"].items():
            if "failed" in entry:
                raise ValueError(f"{name} of {title(run, 'prefill')} failed: {entry['failed']}")
    lines, y = [], 0
    for phase, heading in PANELS:
        drawn, y = panel(runs, phase, heading, y)
        lines += drawn
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" '
        'font-family="system-ui, sans-serif" font-size="12">'
    )
    return "\n".join([head, f'<rect width="{WIDTH}" height="{y}" fill="#fff"/>', *lines, "</svg>", ""])


def main(argv):
    if len(argv) != 2:
        sys.exit("usage: speed_plot.py RUNS.json OUT.svg")
    try:
        svg = draw(json.loads(Path(argv[0]).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        sys.exit(f"speed_plot: {argv[0]}: {error!r}")
    try:
        Path(argv[1]).write_text(svg, encoding="utf-8")
    except OSError as error:
        sys.exit(f"speed_plot: {argv[1]}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
