"""docs/dependencies.md against what the manifests and scripts declare: no row is missing or
wrong.
"""

import json
import re
import subprocess
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = "docs/dependencies.md"


def table(heading):
    """The rows below a heading of the page: the first cell, and the others."""
    section = (ROOT / PAGE).read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line.strip("|") for line in section.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.split("|")] for line in lines[2:]]
    return [(name, rest) for name, *rest in rows]


def crates():
    """The crates that are no members of the workspace, and the members that declare each."""
    command = ["cargo", "metadata", "--format-version", "1", "--no-deps"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    users = {}
    for member in metadata["packages"]:
        for dependency in member["dependencies"]:
            # A member of the workspace comes from no registry.
            if dependency["source"]:
                users.setdefault(dependency["name"], set()).add(member["name"])
    return {name: sorted(members) for name, members in users.items()}


def tools():
    """The packages that requirements pin, and those that shell scripts install by themselves."""
    found = set()
    for path in ROOT.glob("tests/*/requirements.txt"):
        found.update(line.split("==")[0] for line in path.read_text(encoding="utf-8").splitlines())
    for path in [*ROOT.glob("scripts/*.sh"), *ROOT.glob("tests/*/*.sh")]:
        text = path.read_text(encoding="utf-8")
        found.update(re.findall(r"""="?([a-z][a-z-]+)(?:==|@)[0-9]""", text))
        found.update(re.findall(r"cargo install(?: --[a-z]+)* ([a-z][a-z-]+)", text))
    return found


class Dependencies(unittest.TestCase):
    """Each table, in both directions."""

    def test_crates(self):
        rows = table("Crates")
        declared = {f"| {name} | {', '.join(users)} |" for name, users in crates().items()}
        listed = {f"| {name} | {rest[0]} |" for name, rest in rows}
        self.assertEqual(listed, declared, f"{PAGE}, 'Crates', is not what the Cargo.toml files declare")
        self.in_order([name for name, _ in rows])

    def test_tools(self):
        names = [name for name, _ in table("Tools of the tests")]
        self.assertEqual(set(names), tools(), f"{PAGE}, 'Tools of the tests', is not what the scripts install")
        self.in_order(names)

    def test_workspace_dependencies_are_used(self):
        manifest = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
        section = manifest.split("\n[workspace.dependencies]\n")[1].split("\n[")[0]
        declared = re.findall(r"^([a-z][a-z0-9_-]*) = (?!\{ path)", section, re.MULTILINE)
        self.assertEqual([], [name for name in declared if name not in crates()], "no member uses these")

    def in_order(self, names):
        self.assertEqual(names, sorted(names, key=str.lower), f"{PAGE}: rows are not in alphabetical order")


if __name__ == "__main__":
    unittest.main()
