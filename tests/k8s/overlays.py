"""k8s/ as files and as kubectl renders them."""

import base64
import functools
import pathlib
import re
import subprocess
import tomllib

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"

# Groups whose objects the API server itself knows; everything else needs a CRD.
CORE_GROUPS = {"", "apps", "autoscaling", "policy", "networking.k8s.io", "node.k8s.io"}


def all_kustomizations():
    """Folders below k8s/ that kustomize can render (components cannot be rendered alone)."""
    found = []
    for file in sorted(K8S.rglob("kustomization.yaml")):
        if yaml.safe_load(file.read_text())["kind"] == "Kustomization":
            found.append(str(file.parent.relative_to(K8S)))
    return found


def command(overlay):
    """The `kubectl apply` line in an overlay's comment; None for folders that only others build
    on.
    """
    for line in (K8S / overlay / "kustomization.yaml").read_text().splitlines():
        line = line.lstrip("# ").removeprefix("Apply: ")
        if "kubectl apply" in line and line.endswith(f" -k k8s/{overlay}"):
            return line[line.index("kubectl ") :]
    return None


def applied():
    """The overlays that a reader applies."""
    return [overlay for overlay in all_kustomizations() if command(overlay)]


def readme_rows():
    """The table of k8s/README.md: overlay -> its cells."""
    rows = re.findall(r"^\| `.*kubectl apply.*$", (K8S / "README.md").read_text(), re.MULTILINE)
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {row[0].strip("`"): row for row in cells}


def kubernetes(overlay):
    """The version of Kubernetes that the table says an overlay needs, or None."""
    version = re.search(r"Kubernetes (\d+\.\d+)", readme_rows().get(overlay, ["", "", ""])[2])
    return version and version[1]


def is_part(overlay):
    """True if its objects are parts of objects that somebody else made (server-side apply)."""
    return "--server-side" in (command(overlay) or "")


@functools.cache
def render(kubectl, overlay):
    done = subprocess.run([kubectl, "kustomize", K8S / overlay], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"k8s/{overlay} does not render: {done.stderr}")
    return [item for item in yaml.safe_load_all(done.stdout) if item]


@functools.cache
def render_all(kubectl):
    return {overlay: render(kubectl, overlay) for overlay in all_kustomizations()}


def group(item):
    return item["apiVersion"].rpartition("/")[0]


def custom_objects(kubectl):
    return [item for items in render_all(kubectl).values() for item in items if group(item) not in CORE_GROUPS]


def name(item):
    return f"{item['kind']}/{item['metadata']['name']}"


def of_kind(items, *kinds):
    return [item for item in items if item["kind"] in kinds]


def named(items, kind, wanted):
    """The object of this kind and name, or None."""
    return next((item for item in of_kind(items, kind) if item["metadata"]["name"] == wanted), None)


def read(path):
    """A YAML file below k8s/, as it is."""
    return yaml.safe_load((K8S / path).read_text())


def secret_toml(secret, key):
    """A TOML file inside a Secret."""
    return tomllib.loads(base64.b64decode(secret["data"][key]).decode())
