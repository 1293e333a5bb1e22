"""A node with little memory: one control group around containerd, its shims and all pods, as a
machine of that size.
"""

import contextlib
import os
import pathlib
import time

ROOT = pathlib.Path("/sys/fs/cgroup")


class SmallNode:
    """A group of either version of cgroups with a memory limit; `system` below it is for
    containerd, `pods` for the pods.
    """

    def __init__(self, limit_bytes):
        self.version = 2 if (ROOT / "cgroup.controllers").exists() else 1
        self.name = f"sterna-node-{os.getpid()}"
        self.folder = (ROOT if self.version == 2 else ROOT / "memory") / self.name
        self.limit_bytes = limit_bytes
        self.folder.mkdir()
        if self.version == 2:
            (self.folder / "cgroup.subtree_control").write_text("+memory")
        limit = "memory.max" if self.version == 2 else "memory.limit_in_bytes"
        (self.folder / limit).write_text(str(limit_bytes))
        (self.folder / "system").mkdir()

    @property
    def cgroup_parent(self):
        """Of pods, as a kubelet says it."""
        return f"/{self.name}/pods"

    def enter(self):
        """In a child process, before it becomes containerd: what containerd starts is in here
        too.
        """
        (self.folder / "system" / "cgroup.procs").write_text(str(os.getpid()))

    def _stat(self):
        return dict(line.split() for line in (self.folder / "memory.stat").read_text().splitlines())

    def working_set_bytes(self):
        """The memory that a kubelet counts as used (`memory.available` is the rest): all but file
        pages that were not used twice.
        """
        if self.version == 2:
            usage, inactive = "memory.current", "inactive_file"
        else:
            usage, inactive = "memory.usage_in_bytes", "total_inactive_file"
        used = int((self.folder / usage).read_text())
        return max(0, used - int(self._stat()[inactive]))

    def file_bytes(self):
        """Of the page cache: images and programs, which pods share."""
        return int(self._stat()["file" if self.version == 2 else "total_cache"])

    def oom_kills(self):
        """Processes that the kernel has killed in here; version 1 counts each where it was."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        files = [self.folder / name] if self.version == 2 else self.folder.rglob(name)
        kills = 0
        for file in files:
            with contextlib.suppress(OSError):
                kills += int(dict(line.split() for line in file.read_text().splitlines())["oom_kill"])
        return kills

    def remove(self):
        """All that is left here is folders without processes; those of a pod may take a moment to
        be so.
        """
        # Pods are in version 1's other hierarchies too, under the same name.
        folders = [self.folder] if self.version == 2 else list(ROOT.glob(f"*/{self.name}"))
        end = time.monotonic() + 5
        while any(folder.exists() for folder in folders) and time.monotonic() < end:
            for top in folders:
                for folder, _, _ in os.walk(top, topdown=False):
                    with contextlib.suppress(OSError):
                        os.rmdir(folder)
            time.sleep(0.05)
