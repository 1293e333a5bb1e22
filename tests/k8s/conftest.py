"""Options of tests/k8s and what its tests share. scripts/k8s.sh calls it."""

import pathlib

import pytest

import overlays
import server
from cluster import pod_spec

ROOT = pathlib.Path(__file__).resolve().parents[2]


def pytest_addoption(parser):
    parser.addoption("--kubectl", required=True, help="a kubectl of 1.27 or later")
    parser.addoption("--sterna", help="the server program; without it nothing is checked against a running server")
    parser.addoption(
        "--crds",
        type=pathlib.Path,
        default=ROOT.parent / "shared" / "data" / "crds",
        help="folder of CustomResourceDefinitions",
    )


@pytest.fixture(scope="session")
def rendered(pytestconfig):
    """Every overlay as kubectl renders it: path below k8s/ -> objects."""
    return overlays.render_all(pytestconfig.getoption("--kubectl"))


@pytest.fixture(scope="session")
def program(pytestconfig):
    given = pytestconfig.getoption("--sterna")
    if given is None:
        pytest.skip("no server program was given (--sterna)")
    return given


@pytest.fixture(scope="session")
def running(rendered, program):
    """The container of k8s/base."""
    [container] = pod_spec(overlays.named(rendered["base"], "Deployment", "sterna"))["containers"]
    with server.Server(program, container) as started:
        yield started


def pytest_terminal_summary(terminalreporter, config):
    """Say plainly what was left out, and where the answers came from."""
    folder = config.getoption("--crds")
    if not folder.is_dir():
        kinds = sorted({f"{o['apiVersion']} {o['kind']}" for o in overlays.custom_objects(config.getoption("--kubectl"))})
        terminalreporter.write_line(f"NOT VALIDATED: there is no {folder}, so these kinds were only rendered: {', '.join(kinds)}")
    if config.getoption("--sterna") is None:
        terminalreporter.write_line("NOT CHECKED against a running server: no --sterna was given")
    terminalreporter.write_line("Not checked anywhere: k8s/examples beyond what core kinds hold.")
