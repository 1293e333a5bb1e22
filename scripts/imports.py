#!/usr/bin/env python3
"""Import cycles of Rust crates that reach beyond one folder: `imports.py SRC...`.

SRC is the folder of a crate's root. Files that import each other must lie in one folder below it,
or side by side. What a file imports by way of a re-export it imports from where the name is
defined. A module's declaration (`mod x;`) is no import, and unit tests may import what they like.
Prints each cycle, and then ends with 1.
"""

import re
import sys
from pathlib import Path

COMMENT = re.compile(r"//[^\n]*")
TEXT = re.compile(r'"(?:\\.|[^"\\])*"', re.DOTALL)
UNIT_TESTS = re.compile(r"#\[cfg\(test\)\]\s*mod \w+ \{.*", re.DOTALL)
USE = re.compile(r"\buse\s+([^;]+);")
INLINE = re.compile(r"(?<!in )\b(?:crate|super)(?:::\w+)+")
DEFINITION = re.compile(r"\b(?:fn|struct|enum|trait|type|const|static|union|macro_rules!)\s+(\w+)")


class Crate:
    """The modules of a crate by their paths, with what each imports and defines."""

    def __init__(self, root):
        self.files, self.imports, self.names, self.definitions = {}, {}, {}, {}
        for file in sorted(root.rglob("*.rs")):
            path = module(file.relative_to(root))
            if path is not None:
                self.read(path, file)
        self.edges = {path: self.imported_by(path) for path in self.files}

    def read(self, path, file):
        """Take a file in."""
        source = UNIT_TESTS.sub("", COMMENT.sub("", file.read_text(encoding="utf-8")))
        source = TEXT.sub('""', source)
        used = [one for found in USE.finditer(source) for one in expand(found[1])]
        inline = [found[0].split("::") for found in INLINE.finditer(USE.sub("", source))]
        self.files[path] = file
        self.imports[path] = [names for names, _ in used] + inline
        self.names[path] = {alias: names for names, alias in used}
        self.definitions[path] = set(DEFINITION.findall(source))

    def imported_by(self, path):
        """The modules that a module imports from."""
        found = {self.resolve(path, names) for names in self.imports[path]}
        return found - {None, path}

    def resolve(self, path, names, depth=0):
        """The module that defines what `names` says in module `path`; `None` outside the crate."""
        rest = list(names)
        if rest[0] == "crate":
            at, rest = (), rest[1:]
        elif rest[0] in ("self", "super"):
            at = path
            while rest and rest[0] in ("self", "super"):
                at = at[:-1] if rest[0] == "super" else at
                rest = rest[1:]
        elif (*path, rest[0]) in self.files:
            at = path
        else:
            return None
        while rest and (*at, rest[0]) in self.files:
            at, rest = (*at, rest[0]), rest[1:]
        if not rest or at not in self.files or rest[0] in self.definitions[at]:
            return at
        elsewhere = self.names[at].get(rest[0])
        # Each re-export leads nearer to the definition; an endless chain is no Rust.
        if elsewhere and depth < len(self.files):
            return self.resolve(at, [*elsewhere, *rest[1:]], depth + 1) or at
        return at

    def cycles(self):
        """The sets of files that reach each other, of two or more (Tarjan)."""
        number, low, stack, found = {}, {}, [], []

        def visit(path):
            number[path] = low[path] = len(number)
            stack.append(path)
            for other in sorted(self.edges[path]):
                if other not in number:
                    visit(other)
                if other in stack:
                    low[path] = min(low[path], low[other])
            if low[path] == number[path]:
                cycle = stack[stack.index(path) :]
                del stack[stack.index(path) :]
                if len(cycle) > 1:
                    found.append(cycle)

        for path in self.files:
            if path not in number:
                visit(path)
        return found


def module(file):
    """A file's module path; `None` of programs and of tests in files of their own."""
    path = file.with_suffix("").parts
    if path in (("main",),) or path[0] == "bin" or {"tests", "testing"} & set(path):
        return None
    return () if path == ("lib",) else path[:-1] if path[-1] == "mod" else path


def expand(tree):
    """The paths in a `use` tree, each with the name by which it is known."""
    tree = tree.strip()
    head, brace, body = tree.partition("{")
    if not brace:
        path, _, alias = tree.partition(" as ")
        names = [name.strip() for name in path.split("::")]
        return [(names, alias.strip() or names[-1])]
    first = [name.strip() for name in head.split("::") if name.strip()]
    found = []
    for part in parts(body[: body.rindex("}")]):
        for names, alias in expand(part):
            whole = first if names == ["self"] else first + names
            found.append((whole, whole[-1] if names == ["self"] else alias))
    return found


def parts(body):
    """The parts of a `use` tree between commas."""
    depth, start = 0, 0
    for at, character in enumerate(body + ","):
        depth += (character == "{") - (character == "}")
        if character == "," and depth == 0:
            if body[start:at].strip():
                yield body[start:at]
            start = at + 1


def is_in_one_folder(root, files):
    """True if files lie side by side, or below one folder of the crate."""
    folders = [file.relative_to(root).parts[:-1] for file in files]
    return len(set(folders)) == 1 or len({folder[:1] for folder in folders}) == 1


def main():
    """Every cycle of every crate."""
    failed = False
    for root in map(Path, sys.argv[1:]):
        crate = Crate(root)
        for cycle in crate.cycles():
            files = [crate.files[path] for path in cycle]
            if not is_in_one_folder(root, files):
                failed = True
                print(f"imports: a cycle beyond one folder: {', '.join(map(str, sorted(files)))}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
