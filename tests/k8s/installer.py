"""Runs k8s/shim/install.sh on a folder that stands for a node."""

import os
import pathlib
import shutil
import subprocess

import overlays

SCRIPT = overlays.K8S / "shim" / "install.sh"


class Node:
    """A node's root, and an image with both programs."""

    def __init__(self, folder):
        self.root = folder / "node"
        self.image = folder / "image"
        self.config = self.root / "etc" / "containerd" / "config.toml"
        self.restarts = folder / "restarts"
        self.config.parent.mkdir(parents=True)
        self.image.mkdir()
        self.put("sterna", "one")
        self.put("containerd-shim-sterna-v1", "one")

    def put(self, program, content):
        (self.image / program).write_text(content)

    def installed(self, program):
        return self.root / "usr" / "local" / "bin" / program

    def restarted(self):
        return len(self.restarts.read_text().splitlines()) if self.restarts.exists() else 0

    def install(self, restart=None):
        """(exit status, what it said)"""
        # As in the pod where busybox is at hand, otherwise the system's sh.
        shell = [shutil.which("busybox"), "sh"] if shutil.which("busybox") else ["sh"]
        done = subprocess.run(
            [*shell, SCRIPT],
            env={
                "PATH": os.environ["PATH"],
                "NODE": str(self.root),
                "BIN": "/usr/local/bin",
                "CONFIG": "/etc/containerd/config.toml",
                "RESTART": restart or f"tee -a {self.restarts}",
                "IMAGE": str(self.image),
            },
            input="restarted\n",
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


def containerd_reads(config: pathlib.Path):
    """The configuration as this machine's containerd reads it, or None where there is none."""
    if not shutil.which("containerd"):
        return None
    done = subprocess.run(["containerd", "--config", config, "config", "dump"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
