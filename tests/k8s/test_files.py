"""k8s/ as a reader meets it: commands, comments, links."""

import re

import pytest
import yaml

import overlays


def test_the_readme_has_every_overlay_and_its_own_command():
    rows = overlays.readme_rows()
    assert set(rows) == set(overlays.applied()) - {"examples/linkerd"}
    for overlay, cells in rows.items():
        assert cells[1].strip("`").endswith(overlays.command(overlay)), overlay


def test_every_row_says_what_it_needs_and_costs():
    for cells in overlays.readme_rows().values():
        assert len(cells) == 4
        assert all(cells)


def test_parts_of_others_objects_are_applied_by_the_server_under_a_manager(rendered):
    for overlay in overlays.applied():
        parts = any(item["kind"] == "Deployment" and "selector" not in item["spec"] for item in rendered[overlay])
        assert parts == overlays.is_part(overlay), overlay
        if parts:
            assert "--field-manager=" in overlays.command(overlay)


DOCUMENTS = [
    pytest.param(text, id=f"{file.relative_to(overlays.K8S)}:{index}")
    for file in sorted(overlays.K8S.rglob("*.yaml"))
    for index, text in enumerate(re.split(r"^---$", file.read_text(), flags=re.MULTILINE))
]


@pytest.mark.parametrize("text", DOCUMENTS)
def test_every_object_says_why(text):
    """A sentence before its first line, beside whatever stands at its fields."""
    before = text[: text.index(next(line for line in text.splitlines() if line and not line.startswith("#")))]
    assert len(re.findall(r"^# \S.*", before, re.MULTILINE)) > 0
    assert yaml.safe_load(text)


def test_links_lead_to_files():
    for page in (overlays.K8S / "README.md", overlays.K8S / "examples" / "README.md"):
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / link).exists(), link


def test_what_a_comment_points_at_exists():
    for file in [*overlays.K8S.rglob("*.yaml"), *overlays.K8S.rglob("*.toml")]:
        for path in re.findall(r"\bk8s/[a-z0-9/.-]*[a-z0-9]", file.read_text()):
            assert (overlays.ROOT / path).exists(), f"{file.name}: {path}"


def test_examples_are_listed_and_ask_for_what_is_served():
    listed = (overlays.K8S / "examples" / "README.md").read_text()
    for file in (overlays.K8S / "examples").rglob("*.yaml"):
        folder = file.parent.name
        assert f"`{folder}/{file.name}`" in listed or f"`{folder}/`" in listed
    service = overlays.read("examples/knative/service.yaml")
    [container] = service["spec"]["template"]["spec"]["containers"]
    base = overlays.read("base/deployment.yaml")["spec"]["template"]["spec"]["containers"][0]
    assert container["env"] == base["env"]
    assert container["args"] == base["args"]
    assert container["ports"][0]["containerPort"] == base["ports"][0]["containerPort"]
    for probe in ("readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] == base[probe]["httpGet"]["path"]
    shim = overlays.read("examples/runtime-class-manager/shim.yaml")
    assert shim["spec"]["runtimeClass"]["name"] == overlays.read("shim/runtime-class/runtimeclass.yaml")["metadata"]["name"]
    assert shim["spec"]["nodeSelector"] == overlays.read("shim/runtime-class/runtimeclass.yaml")["scheduling"]["nodeSelector"]
