#!/usr/bin/env python3
"""Runs the parts of run.sh that this machine can run: `ops.py PATH-TO-sterna [part ...]`."""

import sys
import time

import cgroup
import metrics_page
import proxy

PARTS = {"prometheus": metrics_page.test, "proxy": proxy.test, "cgroup": cgroup.test}


def main():
    binary, *names = sys.argv[1:]
    unknown = set(names) - set(PARTS)
    if unknown:
        sys.exit(f"ops: no part is called {', '.join(unknown)}; there are {', '.join(PARTS)}")
    for name in names or PARTS:
        began = time.monotonic()
        skipped = PARTS[name](binary)
        took = f"{time.monotonic() - began:.0f} s"
        print(f"ops: {name}: SKIPPED: {skipped}" if skipped else f"ops: {name}: passed in {took}", flush=True)


if __name__ == "__main__":
    main()
