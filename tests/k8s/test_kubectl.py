"""scripts/kubectl.sh takes a kubectl that is new enough, says which, and no other."""

import os
import subprocess

import pytest

import overlays


@pytest.fixture
def fake(tmp_path):
    """A folder with a `kubectl` that says it is of some version."""

    def make(version):
        program = tmp_path / "kubectl"
        program.write_text(f"#!/bin/sh\necho 'Client Version: {version}'\n")
        program.chmod(0o755)
        return program

    return make


def find(**variables):
    env = {key: value for key, value in os.environ.items() if key != "KUBECTL"} | variables
    return subprocess.run([overlays.ROOT / "scripts" / "kubectl.sh"], env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("version", ["v1.20.2", "v1.26.15", "unknown"])
def test_one_that_is_too_old_or_none_at_all_is_refused(fake, version):
    done = find(KUBECTL=str(fake(version)))
    assert done.returncode == 1
    assert "is no kubectl of 1.27 or later" in done.stderr


@pytest.mark.parametrize("version", ["v1.27.0", "v1.32.4-dispatcher", "v1.37.1"])
def test_one_that_is_named_or_on_the_path_is_used_and_told(fake, version):
    program = fake(version)
    for variables in ({"KUBECTL": str(program)}, {"PATH": f"{program.parent}:{os.environ['PATH']}"}):
        done = find(**variables)
        assert done.stdout.strip() == str(program)
        assert f"kubectl: {program} (Client Version: {version})" in done.stderr
