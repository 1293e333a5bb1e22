"""The Dockerfile, without Docker: each name in it leads somewhere. docs/pods.md says how it was
built.
"""

import fnmatch
import re
import subprocess
import tomllib
from pathlib import PurePosixPath

import pytest

import overlays
from cluster import pod_spec
from dockerfile import instructions, problems

TEXT = (overlays.ROOT / "Dockerfile").read_text()


def patterns(name):
    """The lines of an ignore file that are not comments."""
    lines = (overlays.ROOT / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def check(text):
    """Its problems, as this repository's."""
    manifest = (overlays.ROOT / "Cargo.toml").read_text()
    pod = pod_spec(overlays.read("base/deployment.yaml"))
    user = pod["securityContext"]["runAsUser"]
    return problems(
        text,
        overlays.ROOT,
        patterns(".dockerignore"),
        re.search(r'^rust-version = "([^"]+)"', manifest, re.MULTILINE)[1],
        f"{user}:{user}",
    )


def test_every_name_leads_somewhere():
    assert check(TEXT) == []


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("--from=build", "--from=builder", "builder, which is no stage"),
        (" AS build", "", "build, which is no stage"),
        ("COPY . .", "COPY sources .", "sources, which is not in the build context"),
        ("COPY . .", "COPY target .", "target, which is not in the build context"),
        ("rust:1.95-", "rust:1.94-", "is not Rust 1.95"),
        ("scripts/static.sh", "scripts/statics.sh", "statics.sh, which is no program"),
        ("/containerd-shim-sterna-v1 /", "/containerd-shim-sterna-v2 /", "v2, which stage build does not make"),
        ("ARG PROFILE=release", "", "$PROFILE, which no ARG"),
        ("ARG TARGETARCH", "", "$TARGETARCH, which no ARG"),
        ("USER 65532:65532", "USER 0:0", "the manifests say 65532"),
        ("USER 65532:65532", "", "no USER"),
        ('ENTRYPOINT ["/sterna"]', 'ENTRYPOINT ["/serve"]', "/serve is not in the last stage"),
    ],
)
def test_a_fault_is_found(old, new, said):
    assert old in TEXT
    assert any(said in problem for problem in check(TEXT.replace(old, new))), check(TEXT.replace(old, new))


def test_what_git_ignores_is_not_sent_to_the_builder():
    """Docker's patterns begin at the root, so that a name anywhere needs `**/`."""
    ignored = {f"**/{name.strip('/')}" if not name.startswith("/") else name[1:] for name in patterns(".gitignore")}
    assert ignored | {".git"} <= set(patterns(".dockerignore"))


def is_sent(path, ignored):
    """True if a file is in the build context: a pattern takes a path, or a folder above it."""
    ways = [pattern for line in ignored for pattern in ({line, line[3:]} if line.startswith("**/") else {line})]
    above = [path, *map(str, PurePosixPath(path).parents)]
    return not any(fnmatch.fnmatch(name, way) for name in above for way in ways)


def test_a_file_is_sent_unless_a_pattern_takes_it():
    ignored = ["target", "**/*.log", "**/.venv", "docs"]
    for path in ["a", "a/target/b", "scripts/docs.sh", "host/src/log.rs"]:
        assert is_sent(path, ignored), path
    for path in ["target/a/b", "a.log", "a/b.log", ".venv/a", "a/.venv/b", "docs/a"]:
        assert not is_sent(path, ignored), path


def test_all_files_of_the_build_are_sent_to_the_builder():
    manifest = tomllib.loads((overlays.ROOT / "Cargo.toml").read_text())
    read = ["Cargo.toml", "Cargo.lock", "spin.toml", "wit", "scripts", *manifest["workspace"]["members"]]
    listed = subprocess.run(["git", "ls-files", "-z", "--", *read], cwd=overlays.ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip(f"git does not list the files: {listed.stderr}")
    files = listed.stdout.rstrip("\0").split("\0")
    assert len(files) > 300, "the list is not the repository's"
    assert [file for file in files if not is_sent(file, patterns(".dockerignore"))] == []


def test_nothing_that_is_compiled_in_is_kept_from_the_builder():
    kept = [name for name in patterns(".dockerignore") if "*" not in name and name != "target"]
    for source in [*overlays.ROOT.glob("host/**/*.rs"), *overlays.ROOT.glob("component/**/*.rs"), *overlays.ROOT.glob("kernels/**/*.rs")]:
        for path in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', source.read_text()):
            target = (source.parent / path).resolve().relative_to(overlays.ROOT)
            assert target.parts[0] not in kept, f"{source}: {path}"


def test_packages_are_those_that_the_scripts_would_install():
    """scripts/shim.sh and scripts/setup.sh install what is missing; in an image that would be done
    again at each build.
    """
    [apt] = [rest for word, rest in instructions(TEXT) if word == "RUN" and "apt-get install" in rest]
    asked = re.findall(r"missing\+=\(([a-z0-9-]+)\)", (overlays.ROOT / "scripts" / "shim.sh").read_text())
    assert len(asked) == 3
    for package in [*asked, "gcc", "libc6-dev"]:
        assert package in apt.split(), package
    assert "rustup target add wasm32-wasip2" in apt


def test_the_port_is_the_manifests():
    settings = dict(instructions(TEXT))
    [container] = pod_spec(overlays.read("base/deployment.yaml"))["containers"]
    assert settings["EXPOSE"] == str(container["ports"][0]["containerPort"])
    assert settings["ENV"] == "STERNA_LISTEN=0.0.0.0:" + settings["EXPOSE"]
    assert settings["CMD"] == '["up"]' and container["args"] == ["up"]
