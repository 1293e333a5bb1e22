"""Reads a Dockerfile as far as this project's goes, and says what cannot work in it. A build needs
Docker and half an hour.
"""

import fnmatch
import json
import re
import shlex

FLAG = re.compile(r"--[a-z-]+(=\S*)?$")


def instructions(text):
    """(keyword, rest) pairs; comments gone, continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [(word.upper(), rest.strip()) for word, _, rest in (line.strip().partition(" ") for line in joined.splitlines()) if word]


def problems(text, root, ignored, rust_version, user):
    """Sentences; none for a sound file. `root` is the build context, `ignored` the patterns of
    .dockerignore.
    """
    found, stages, outside, copied = [], [], {}, set()
    arguments = set()
    for word, rest in instructions(text):
        words = shlex.split(rest) if word in {"FROM", "COPY"} else rest.split()
        flags = dict(w.removeprefix("--").partition("=")[::2] for w in words if FLAG.match(w))
        plain = [w for w in words if not FLAG.match(w)]
        if word == "FROM":
            image = plain[0]
            stages.append(plain[2] if len(plain) == 3 and plain[1].upper() == "AS" else str(len(stages)))
            # What an ARG says holds in its own stage.
            arguments, copied = set(), set()
            if version := re.search(r"/rust:(\d+\.\d+)", image):
                if version[1] != rust_version:
                    found.append(f"{image} is not Rust {rust_version}, which Cargo.toml asks for")
        elif word == "COPY" and "from" in flags:
            if flags["from"] not in stages[:-1]:
                found.append(f"COPY from {flags['from']}, which is no stage before")
            for source in plain[:-1]:
                # What the stage has put into its root folder, by the command that ends in `/`.
                if flags["from"] in outside and source.lstrip("/") not in outside[flags["from"]]:
                    found.append(f"COPY of {source}, which stage {flags['from']} does not make")
                copied.add(plain[-1].rstrip("/") + source)
        elif word == "COPY":
            for source in plain[:-1]:
                if not (root / source).exists() or any(fnmatch.fnmatch(source, pattern) for pattern in ignored):
                    found.append(f"COPY of {source}, which is not in the build context")
        elif word == "ARG":
            arguments.add(rest.partition("=")[0])
        elif word == "RUN":
            found += [f"RUN uses ${name}, which no ARG of its stage declares" for name in re.findall(r"\$\{?([A-Z_]+)", rest)
                      if name not in arguments]
            for script in re.findall(r"\bscripts/[a-z-]+\.sh", rest):
                if not (root / script).exists() or not (root / script).stat().st_mode & 0o100:
                    found.append(f"RUN of {script}, which is no program of the build context")
                # A script that builds a program prints where it lies.
                made = re.findall(r'^echo "\$PWD/.*/([a-z0-9-]+)"$', (root / script).read_text(), re.MULTILINE) if (root / script).exists() else []
                outside.setdefault(stages[-1], set()).update(made)
        elif word == "USER" and rest != user:
            found.append(f"USER is {rest}, and the manifests say {user}")
        elif word == "ENTRYPOINT" and json.loads(rest)[0] not in copied:
            found.append(f"ENTRYPOINT {json.loads(rest)[0]} is not in the last stage")
    if not any(word == "USER" for word, _ in instructions(text)):
        found.append("no USER: the container would be root's")
    return found
