#!/usr/bin/env python3
"""Lines of at most 100 columns in documents and comments: `columns.py PATH...`, files or folders.

Looks at prose in Markdown, at Python's docstrings and at lines that hold a comment alone, of the
files that git knows.
Tables, code blocks, commands (three spaces after the comment's mark) and lines with an address or a
path that does not fit may be longer. Prints each line that is too long, and then ends with 1.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

LIMIT = 100
SLASHES = re.compile(r"\s*//[/!]? ?(.*)")
HASH = re.compile(r"\s*#(?!!) ?(.*)")
MARKS = {
    **dict.fromkeys((".rs", ".wit", ".cjs", ".js"), SLASHES),
    **dict.fromkeys((".sh", ".py", ".toml", ".yaml", "Dockerfile", "Makefile"), HASH),
    ".md": re.compile("(.*)"),
}


def too_long(path):
    """The numbers of the lines of a file that should be wrapped."""
    mark = MARKS[path.suffix or path.name]
    source = path.read_text(encoding="utf-8")
    documented = docstring_lines(source) if path.suffix == ".py" else ()
    fenced = False
    for number, line in enumerate(source.splitlines(), 1):
        text = re.fullmatch("(.*)", line) if number in documented else mark.fullmatch(line)
        if not text:
            fenced = False
            continue
        text = text[1]
        if re.match(r"\s*(```|~~~)", text):
            fenced = not fenced
        elif len(line) > LIMIT and not fenced and not may_be_long(text, line, path.suffix):
            yield number


def docstring_lines(source):
    """The numbers of the lines of Python's docstrings."""
    lines = set()
    for node in ast.walk(ast.parse(source)):
        documented = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        if documented and ast.get_docstring(node, clean=False) is not None:
            lines.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return lines


def may_be_long(text, line, suffix):
    """True if the line is of a table, a command, or holds a word that wrapping leaves too long."""
    is_table = text.lstrip().startswith("|")
    is_command = suffix not in (".md", ".py") and text.startswith("  ")
    room = LIMIT - (len(line) - len(line.lstrip()))
    return is_table or is_command or max(map(len, re.split(r"\s", text))) > room - 5


def main():
    """Every line of every path that is too long."""
    command = ["git", "ls-files", "-z", *sys.argv[1:]]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    files = [Path(name) for name in listed.split("\0") if name]
    read = [path for path in files if (path.suffix or path.name) in MARKS]
    found = [(path, number) for path in read for number in too_long(path)]
    for path, number in found:
        print(f"{path}:{number}: more than {LIMIT} columns")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
