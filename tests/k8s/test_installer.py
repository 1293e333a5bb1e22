"""The shim's installer, run on folders that stand for nodes."""

import re
import shutil
import tomllib

import pytest

import installer
import overlays
from cluster import pod_spec

V1 = '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]\n  runtime_type = "io.containerd.runc.v2"\n'
V2 = "version = 2\n" + V1
SYSTEMD = "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\n  SystemdCgroup = true\n"
V3 = "version = 3\n" + V1.replace("io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime")


@pytest.fixture
def node(tmp_path):
    return installer.Node(tmp_path)


def runtimes(node, plugin="io.containerd.grpc.v1.cri"):
    return tomllib.loads(node.config.read_text())["plugins"][plugin]["containerd"]["runtimes"]


@pytest.mark.parametrize(
    ("config", "plugin"),
    [(V2, "io.containerd.grpc.v1.cri"), (V3, "io.containerd.cri.v1.runtime"), (V3.replace("3", "4", 1), "io.containerd.cri.v1.runtime")],
)
def test_a_node_gets_programs_runtime_and_one_restart(node, config, plugin):
    node.config.write_text(config)
    status, said = node.install()
    assert status == 0, said
    for program in ("sterna", "containerd-shim-sterna-v1"):
        assert node.installed(program).read_text() == "one"
        assert node.installed(program).stat().st_mode & 0o777 == 0o755
    assert runtimes(node, plugin)["sterna"] == {"runtime_type": "io.containerd.sterna.v1"}
    assert "runc" in runtimes(node, plugin)
    assert node.config.with_name("config.toml.before-sterna").read_text() == config
    assert node.restarted() == 1
    # Again: nothing to do.
    before = node.config.read_text()
    assert node.install()[0] == 0
    assert (node.config.read_text(), node.restarted()) == (before, 1)


def test_the_cgroup_driver_is_runcs(node):
    node.config.write_text(V2 + SYSTEMD)
    assert node.install()[0] == 0
    assert runtimes(node)["sterna"]["options"] == {"SystemdCgroup": True}


def test_a_node_without_a_configuration_gets_one(node):
    assert node.install()[0] == 0
    assert tomllib.loads(node.config.read_text())["version"] == 2
    assert runtimes(node)["sterna"]["runtime_type"] == "io.containerd.sterna.v1"


def test_new_programs_need_no_restart(node):
    node.config.write_text(V2)
    node.install()
    node.put("sterna", "two")
    # A program that runs cannot be written to; it can be replaced.
    old = node.installed("sterna").stat().st_ino
    assert node.install()[0] == 0
    assert node.installed("sterna").read_text() == "two"
    assert node.installed("sterna").stat().st_ino != old
    assert node.restarted() == 1


def test_a_restart_that_failed_is_made_good(node):
    node.config.write_text(V2)
    status, said = node.install(restart="false")
    assert status == 1
    assert "containerd did not restart" in said
    assert node.install()[0] == 0
    assert node.install()[0] == 0
    assert node.restarted() == 1


@pytest.mark.parametrize(
    ("config", "said"),
    [(V1, "is of version 1"), ("version = 1\n" + V1, "is of version 1"), ('version = 2\ndisabled_plugins = ["cri"]\n', "disables the plugin cri")],
)
def test_a_configuration_that_cannot_work_is_refused_untouched(node, config, said):
    node.config.write_text(config)
    status, output = node.install()
    assert status == 1
    assert said in output
    assert node.config.read_text() == config
    assert not node.installed("sterna").exists()
    assert node.restarted() == 0


def test_an_image_without_the_shim_is_refused(node):
    (node.image / "containerd-shim-sterna-v1").unlink()
    status, said = node.install()
    assert status == 1
    assert "no /containerd-shim-sterna-v1" in said


@pytest.mark.skipif(not shutil.which("containerd"), reason="there is no containerd here to read what the installer writes")
def test_a_real_containerd_reads_it(node):
    node.config.write_text(V2 + SYSTEMD)
    assert node.install()[0] == 0
    dump = installer.containerd_reads(node.config)
    table = re.search(r"\.runtimes\.sterna\]\n(.*?)\n\n", dump, re.DOTALL)[1]
    assert 'runtime_type = "io.containerd.sterna.v1"' in table
    assert "SystemdCgroup = true" in dump.split(".runtimes.sterna.options]")[1].split("[")[0]


def test_the_daemonset_gives_what_the_script_wants(rendered):
    spec = pod_spec(overlays.named(rendered["shim"], "DaemonSet", "sterna-shim"))
    install = spec["initContainers"][1]
    given = {entry["name"] for entry in install["env"]}
    wanted = set(re.findall(r"\$\{([A-Z]+):\?\}", installer.SCRIPT.read_text()))
    assert wanted
    assert wanted <= given
    mounts = {mount["name"]: mount["mountPath"] for mount in install["volumeMounts"]}
    assert next(entry["value"] for entry in install["env"] if entry["name"] == "NODE") == mounts["node"]
    assert install["command"] == [f"{mounts['tools']}/sh", f"{mounts['installer']}/install.sh"]
    [config] = overlays.of_kind(rendered["shim"], "ConfigMap")
    assert config["data"]["install.sh"] == installer.SCRIPT.read_text()
    # What serves in the base is what is installed.
    base = pod_spec(overlays.named(rendered["base"], "Deployment", "sterna"))
    assert install["image"] == base["containers"][0]["image"]
