"""The Dockerfile, without Docker: each name in it leads somewhere. docs/pods.md says how it was built."""

import re

import pytest

import overlays
from cluster import pod_spec
from dockerfile import instructions, problems

TEXT = (overlays.ROOT / "Dockerfile").read_text()


def check(text):
    """Its problems, as this repository's."""
    manifest = (overlays.ROOT / "Cargo.toml").read_text()
    pod = pod_spec(overlays.read("base/deployment.yaml"))
    user = pod["securityContext"]["runAsUser"]
    return problems(
        text,
        overlays.ROOT,
        (overlays.ROOT / ".dockerignore").read_text().split(),
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
        ("USER 65532:65532", "USER 0:0", "the manifests say 65532"),
        ("USER 65532:65532", "", "no USER"),
        ('ENTRYPOINT ["/sterna"]', 'ENTRYPOINT ["/serve"]', "/serve is not in the last stage"),
    ],
)
def test_a_fault_is_found(old, new, said):
    assert old in TEXT
    assert any(said in problem for problem in check(TEXT.replace(old, new))), check(TEXT.replace(old, new))


def test_packages_are_those_that_the_scripts_would_install():
    """scripts/shim.sh and scripts/setup.sh install what is missing; in an image that would be done again at each build."""
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
