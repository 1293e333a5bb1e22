"""The program's paths, variables, settings and defaults, read from its source."""

import functools
import re
import tomllib

from overlays import ROOT

HOST = ROOT / "host" / "src"
API = ROOT / "component" / "api" / "src"


@functools.cache
def text(folder):
    """All Rust source below a folder."""
    return "\n".join(file.read_text() for file in sorted(folder.rglob("*.rs")))


@functools.cache
def api_paths():
    """Paths that the API component answers, wherever it runs."""
    table = (API / "route" / "table.rs").read_text()
    block = re.search(r"const ROUTES: [^=]* = &\[(.*?)\n\];", table, re.DOTALL)
    return set(re.findall(r'"(/[^"]*)"', block[1]))


@functools.cache
def host_paths():
    """Paths that the native server answers itself, besides the component's."""
    server = text(HOST / "server")
    return {path for path in ("/livez", "/readyz", "/metrics") if f'"{path}"' in server}


@functools.cache
def setting_names():
    """The settings of component/config, as Spin spells them."""
    table = (ROOT / "component" / "config" / "src" / "table.rs").read_text()
    block = re.search(r"pub const SETTINGS: \[Setting; (\d+)\] = \[(.*?)\n\];", table, re.DOTALL)
    names = re.findall(r'^        name: "([a-z_]+)"', block[2], re.MULTILINE)
    assert len(names) == int(block[1]), names
    return set(names)


@functools.cache
def variables():
    """Environment variables that `sterna serve` reads."""
    options = set(re.findall(r'env = "(STERNA_[A-Z_]+)"', text(HOST)))
    return options | {f"STERNA_{name.upper()}" for name in setting_names()} | {"STERNA_LOG"}


@functools.cache
def drain_seconds():
    """The drain time where nobody sets one."""
    serve = (HOST / "commands" / "serve" / "mod.rs").read_text()
    option = re.search(r'env = "STERNA_DRAIN_TIMEOUT",.*?default_value_t = (\d+)', serve, re.DOTALL)
    return int(option[1])


@functools.cache
def image_files():
    """The paths at which `sterna up` looks for a model."""
    up = (HOST / "commands" / "up" / "mod.rs").read_text()
    found = re.search(r"const IMAGE_FILES: \[&str; \d+\] = \[(.*?)\];", up, re.DOTALL)
    return {f"/{name}" for name in re.findall(r'"([^"]+)"', found[1])}


@functools.cache
def spin_variables():
    """The variables of spin.toml."""
    return set(tomllib.loads((ROOT / "spin.toml").read_text())["variables"])
