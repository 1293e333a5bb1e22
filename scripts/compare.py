#!/usr/bin/env python3
"""Compares `sterna bench` with peers' `llama-bench` on this machine, in one run.

    scripts/compare.py --peer ik /path/to/llama-bench /path/to/2b-iq2_bn.gguf
        [--peer NAME BINARY MODEL ...] [--command NAME 'COMMAND LINE' ...]
        [--threads 1] [--prompt 512] [--generate 64] [--rounds 5] [--cpus 0]
    scripts/compare.py --shape bonsai-4b --command llama.cpp './speed q1_0.gguf {threads} {prompt}
        {generate}' --prompt 128 --ours --weights q1_0

A peer without a `llama-bench` is given as a command line (--command), in which {threads}, {prompt}
and {generate} stand for the numbers, and which prints a line `ppN RATE` and a line `tgN RATE`, N
being the tokens and RATE tokens a second.

Every round runs ours and each peer once, one after the other, each in a process of its own, so that
whatever else the machine does meets all of them. Printed are medians over the rounds, and the ratio
of medians with the smallest and the largest ratio of one round. A ratio is printed only where both
sides ran in every round: else the exit code is 1.
"""

import argparse
import json
import re
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

PHASES = ("prefill", "decode")
MAX_ROUNDS = 100


class Failed(Exception):
    """A side did not run; the text says why."""


def run(command, timeout_s):
    """The standard output of a command that must succeed in time."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(f"did not end within {timeout_s:g} s") from None
    except OSError as error:
        raise Failed(f"cannot be started: {error}") from None
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise Failed(f"ended with code {done.returncode}: {last}")
    return done.stdout


def positive(rate, phase):
    if not isinstance(rate, (int, float)) or not rate > 0:
        raise Failed(f"reported no speed of {phase}")
    return float(rate)


def ours(args):
    """Tokens a second of each phase, by `sterna bench`."""
    command = [*args.prefix, args.sterna, "bench", "--json", "--reps", "1", "--shape", args.shape, "--head", args.head,
               "--threads", str(args.threads), "--prompt", str(args.prompt), "--generate", str(args.generate),
               *args.ours]
    output = run(command, args.timeout)
    try:
        report = json.loads(output)
        args.measured = {name: report[name] for name in ("head", "layout", "isa") if name in report}
        return {phase: positive(report[phase]["tokens_per_s"], phase) for phase in PHASES}
    except (ValueError, KeyError, TypeError) as error:
        raise Failed(f"printed no report: {error!r}") from None


def peer(args, binary, model):
    """Tokens a second of each phase, by a `llama-bench`."""
    command = [*args.prefix, binary, "-m", model, "-t", str(args.threads), "-p", str(args.prompt),
               "-n", str(args.generate), "-r", "1", "-o", "json"]
    output = run(command, args.timeout)
    try:
        # Some print other lines before it.
        tests = json.loads(output[output.index("["):])
        rates = {}
        for test in tests:
            prompt, generate = int(test["n_prompt"]), int(test["n_gen"])
            if (prompt, generate) == (args.prompt, 0):
                rates["prefill"] = test["avg_ts"]
            if (prompt, generate) == (0, args.generate):
                rates["decode"] = test["avg_ts"]
        return {phase: positive(rates[phase], phase) for phase in PHASES}
    except (ValueError, KeyError, TypeError) as error:
        raise Failed(f"printed no results: {error!r}") from None


def command(args, line):
    """Tokens a second of each phase, by any program that prints `ppN RATE` and `tgN RATE`."""
    numbers = {name: str(getattr(args, name)) for name in ("threads", "prompt", "generate")}
    words = [re.sub(r"\{(threads|prompt|generate)\}", lambda found: numbers[found[1]], word)
             for word in shlex.split(line)]
    output = run([*args.prefix, *words], args.timeout)
    printed = dict(re.findall(r"^(pp\d+|tg\d+)\s+(\S+)\s*$", output, re.MULTILINE))
    names = {"prefill": f"pp{args.prompt}", "decode": f"tg{args.generate}"}
    try:
        return {phase: positive(float(printed[name]), phase) for phase, name in names.items()}
    except (ValueError, KeyError) as error:
        raise Failed(f"printed no results: {error!r}") from None


def measure(sides, rounds, log):
    """{side: [rates of a round or the reason there are none]}, the sides taking turns."""
    results = {name: [] for name in sides}
    for number in range(rounds):
        for name, side in sides.items():
            try:
                result = side()
            except Failed as failed:
                result = failed
            results[name].append(result)
            shown = result if isinstance(result, Failed) else \
                ", ".join(f"{phase} {rate:.2f}" for phase, rate in result.items())
            print(f"round {number + 1}: {name}: {shown}", file=log, flush=True)
    return results


def compare(results):
    """A report: medians and ratios, or why there are none."""
    report = {}
    our = results["sterna"]
    for name, rounds in results.items():
        entry = report[name] = {}
        failed = [str(result) for result in rounds if isinstance(result, Failed)]
        ours_failed = [str(result) for result in our if isinstance(result, Failed)]
        if failed:
            entry["failed"] = failed[0]
            continue
        for phase in PHASES:
            theirs = [result[phase] for result in rounds]
            entry[phase] = {"tokens_per_s": statistics.median(theirs), "min": min(theirs), "max": max(theirs)}
            if name == "sterna" or ours_failed:
                continue
            mine = [result[phase] for result in our]
            each = [a / b for a, b in zip(mine, theirs)]
            entry[phase]["ratio"] = statistics.median(mine) / statistics.median(theirs)
            entry[phase]["ratio_min"], entry[phase]["ratio_max"] = min(each), max(each)
    return report


def append(args, report):
    """Add the run to a list of runs."""
    run = {name: getattr(args, name) for name in ("shape", "threads", "prompt", "generate", "rounds", "ours")}
    run = {**run, **args.measured, "report": report}
    args.append.write_text(json.dumps([*earlier_runs(args.append), run], indent=1) + "\n")


def earlier_runs(file):
    """The list in a file that may be absent or empty. `ValueError` if it holds something else."""
    text = file.read_text() if file.exists() else ""
    runs = json.loads(text) if text.strip() else []
    if not isinstance(runs, list):
        raise ValueError("it holds no list of runs")
    return runs


def table(report):
    lines = [f"{'':<24} {'median':>9} {'min':>9} {'max':>9}   sterna is times as fast (one round: min to max)"]
    for name, entry in report.items():
        if "failed" in entry:
            lines.append(f"{name:<24} did not run: {entry['failed']}")
            continue
        for phase in PHASES:
            rate = entry[phase]
            line = f"{name + ' ' + phase:<24} {rate['tokens_per_s']:>9.2f} {rate['min']:>9.2f} {rate['max']:>9.2f}"
            if "ratio" in rate:
                line += f"   {rate['ratio']:.2f} ({rate['ratio_min']:.2f} to {rate['ratio_max']:.2f})"
            lines.append(line)
    return "\n".join(lines)


def arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def count(text):
        number = int(text)
        if number < 1:
            raise argparse.ArgumentTypeError("must be at least 1")
        return number

    here = Path(__file__).resolve().parent.parent
    parser.add_argument("--sterna", default=str(here / "target/release/sterna"), help="our binary [%(default)s]")
    parser.add_argument("--peer", nargs=3, action="append", metavar=("NAME", "BINARY", "MODEL"), default=[],
                        help="a llama-bench and the model it is to run; may be repeated")
    parser.add_argument("--command", nargs=2, action="append", metavar=("NAME", "COMMAND"), default=[],
                        help="any other program and its arguments; may be repeated")
    parser.add_argument("--shape", default="bitnet-2b-4t", help="our shape, that of the peers' models [%(default)s]")
    parser.add_argument("--head", default="q6_k", help="our output head, that of the peers' models [%(default)s]")
    parser.add_argument("--threads", type=count, default=1)
    parser.add_argument("--prompt", type=count, default=512)
    parser.add_argument("--generate", type=count, default=64)
    parser.add_argument("--rounds", type=count, default=5)
    def seconds(text):
        number = float(text)
        if not 0 < number < float("inf"):
            raise argparse.ArgumentTypeError("must be a number of seconds above 0")
        return number

    parser.add_argument("--timeout", type=seconds, default=300, help="seconds one process may take [%(default)s]")
    parser.add_argument("--cpus", help="run every process on these CPUs (taskset -c)")
    parser.add_argument("--ours", nargs=argparse.REMAINDER, default=[],
                        help="further arguments of sterna bench; the last option here")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--append", type=Path, metavar="FILE",
                        help="also append the run to this JSON list, which speed_plot.py draws")
    args = parser.parse_args(argv)
    if not args.peer and not args.command:
        parser.error("--peer, --command: name at least one peer")
    if args.append:
        # Before hours are measured for it.
        try:
            earlier_runs(args.append)
            args.append.touch()
        except (OSError, ValueError) as error:
            parser.error(f"--append: {args.append}: {error}")
    if args.rounds > MAX_ROUNDS:
        parser.error(f"--rounds: at most {MAX_ROUNDS}")
    for _, line in args.command:
        try:
            if not shlex.split(line):
                parser.error("--command: is empty")
        except ValueError as error:
            parser.error(f"--command: {error}: {line}")
    names = [name for name, *_ in args.peer + args.command]
    if len({"sterna", *names}) != len(names) + 1:
        parser.error("--peer, --command: names must differ, and none can be sterna")
    args.prefix = ["taskset", "-c", args.cpus] if args.cpus else []
    return args


def main(argv):
    args = arguments(argv)
    sides = {"sterna": lambda: ours(args)}
    for name, binary, model in args.peer:
        sides[name] = lambda binary=binary, model=model: peer(args, binary, model)
    for name, line in args.command:
        sides[name] = lambda line=line: command(args, line)
    report = compare(measure(sides, args.rounds, sys.stderr))
    print(json.dumps(report, indent=2) if args.json else table(report))
    failed = [name for name, entry in report.items() if "failed" in entry]
    if args.append and not failed:
        append(args, report)
    if failed:
        print(f"compare: no ratio: {', '.join(failed)} did not run in every round", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
