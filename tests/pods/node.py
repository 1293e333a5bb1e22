"""A private containerd, as a node has one: own root, state, socket and network, started and stopped
here, no systemd.
"""

import contextlib
import ipaddress
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

from cri import Runtime

CONFIG = """
version = 2
root = "{base}/root"
state = "{base}/state"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  enable_unprivileged_ports = true
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_bin}"
    conf_dir = "{base}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.sterna]
      runtime_type = "io.containerd.sterna.v1"
"""

# Addresses of pods: each run has 1024 of these. Every pod has a pair of interfaces; packets go
# through the node, so that there is no bridge to clean up.
ADDRESSES = ipaddress.ip_network("10.224.0.0/12")

PAUSE = "sterna.test/pause:1"
EXITED = 2  # a container's state in CRI
CNI_FOLDERS = ["/usr/lib/cni", "/opt/cni/bin"]


def reason_to_skip():
    """Why this machine cannot run pods; None where it can."""
    if os.geteuid() != 0:
        return "it needs root, for namespaces and mounts"
    for program in ["containerd", "runc", "ctr"]:
        if not shutil.which(program):
            return f"{program} is not installed"
    if not any(pathlib.Path(folder, "ptp").exists() for folder in CNI_FOLDERS):
        return "the CNI plugins are not installed (Debian: containernetworking-plugins)"
    probe = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "true"], capture_output=True, text=True
    )
    if probe.returncode:
        return "the system gives no namespaces: " + probe.stderr.strip()
    if "overlay" not in pathlib.Path("/proc/filesystems").read_text():
        return "the kernel has no overlayfs"
    groups = pathlib.Path("/sys/fs/cgroup")
    place = groups if (groups / "cgroup.controllers").exists() else groups / "memory"
    probe = place / "sterna-probe"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        return f"cgroups cannot be made: {error}"
    return None


def free_subnet():
    """Addresses to which no route leads: with those of another run's pods, each would reach the
    other's. Two runs that start at the same moment begin to look at different places.
    """
    routes = [line.split() for line in pathlib.Path("/proc/net/route").read_text().splitlines()[1:]]
    word = lambda text: int.from_bytes(bytes.fromhex(text), "little")  # noqa: E731
    taken = [ipaddress.ip_network((word(route[1]), word(route[7]).bit_count())) for route in routes if word(route[7])]
    subnets = list(ADDRESSES.subnets(new_prefix=22))
    begin = os.getpid() % len(subnets)
    for subnet in subnets[begin:] + subnets[:begin]:
        if not any(subnet.overlaps(network) for network in taken):
            return subnet
    raise SystemExit(f"pods: no addresses are free in {ADDRESSES}")


class Node:
    """Use it as a context: containerd runs inside, and everything it made is gone after it."""

    def __init__(self, base, programs, small=None):
        self.small = small
        self.base = pathlib.Path(base)
        self.programs = pathlib.Path(programs)
        self.socket = self.base / "containerd.sock"
        self.log = self.base / "containerd.log"
        self.pods = {}

    def __enter__(self):
        for folder in ["root", "state", "cni", "logs"]:
            (self.base / folder).mkdir(parents=True, exist_ok=True)
        config = self.base / "config.toml"
        cni_bin = next(f for f in CNI_FOLDERS if pathlib.Path(f, "ptp").exists())
        config.write_text(
            CONFIG.format(base=self.base, socket=self.socket, pause=PAUSE, cni_bin=cni_bin)
        )
        addresses = {"type": "host-local", "ranges": [[{"subnet": str(free_subnet())}]], "dataDir": f"{self.base}/ipam"}
        network = {"cniVersion": "0.4.0", "name": "sterna-pods", "plugins": [{"type": "ptp", "ipam": addresses}]}
        (self.base / "cni" / "10-sterna.conflist").write_text(json.dumps(network))
        environment = dict(os.environ, PATH=f"{self.programs}:{os.environ['PATH']}")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                ["containerd", "--config", config, "--log-level", "warn"],
                env=environment,
                stdout=log,
                stderr=log,
                preexec_fn=self.small and self.small.enter,
                # What ends this whole group (Ctrl-C, timeout) leaves it: it is what the pods are
                # removed by.
                start_new_session=True,
            )
        self.runtime = Runtime(self.socket)
        try:
            self.version = self.runtime.call("Version", version="v1")
        except Exception:
            self.__exit__()
            raise SystemExit("containerd does not answer:\n" + self.log.read_text()[-2000:])
        return self

    def __exit__(self, *_):
        for pod in list(self.pods.values()):
            with contextlib.suppress(Exception):
                self.remove(pod)
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.unmount()

    def unmount(self):
        """The mounts that a pod that could not be removed has left here."""
        mounts = [line.split()[1] for line in open("/proc/self/mounts", encoding="utf-8")]
        for place in reversed(mounts):
            if place.startswith(str(self.base) + "/"):
                subprocess.run(["umount", "--lazy", place], check=False)

    def ctr(self, *words):
        """`ctr` on this containerd, in the namespace of Kubernetes."""
        command = ["ctr", "--address", self.socket, "--namespace", "k8s.io", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def load(self, tar):
        """Import an image and unpack it, as a pull does."""
        self.ctr("image", "import", str(tar))

    def run(self, image, handler="", command=(), args=(), env=None, mounts=(), resources=None, observe=None):
        """Start a pod with one container, call by call as a kubelet does.

        `observe(pod)` is called while the container starts; its result is `pod["observed"]`. Times
        are seconds of `time.monotonic`.
        """
        uid = f"{time.time_ns()}"
        logs = self.base / "logs" / uid
        logs.mkdir()
        sandbox = {
            "metadata": {"name": f"pod-{uid}", "uid": uid, "namespace": "default", "attempt": 0},
            "hostname": "pod",
            "log_directory": str(logs),
            "linux": {
                "cgroup_parent": self.small.cgroup_parent if self.small else "/sterna-pods",
                "security_context": {"namespace_options": {"network": 0, "pid": 1}},
            },
        }
        container = {
            "metadata": {"name": "sterna", "attempt": 0},
            "image": {"image": image},
            "command": list(command),
            "args": list(args),
            "envs": [{"key": k, "value": v} for k, v in (env or {}).items()],
            "mounts": [
                {"host_path": str(host), "container_path": inside, "readonly": 1}
                for host, inside in mounts
            ],
            "log_path": "0.log",
            "linux": {
                "resources": resources or {"cpu_shares": 1024},
                "security_context": {"namespace_options": {"network": 0, "pid": 1}},
            },
        }
        call = self.runtime.call
        pod = {"times": {}, "log": logs / "0.log"}
        start = time.monotonic()
        pod["id"] = call("RunPodSandbox", config=sandbox, runtime_handler=handler)["pod_sandbox_id"]
        self.pods[pod["id"]] = pod
        made = time.monotonic()
        status = call("PodSandboxStatus", pod_sandbox_id=pod["id"])
        pod["ip"] = status["status"]["network"]["ip"]
        asked = time.monotonic()
        pod["container"] = call(
            "CreateContainer", pod_sandbox_id=pod["id"], config=container, sandbox_config=sandbox
        )["container_id"]
        created = time.monotonic()
        starting = self.runtime.begin("StartContainer", container_id=pod["container"])
        if observe:
            pod["observed"] = observe(pod)
        starting.result()
        pod["times"] |= {
            "started_at": created,
            "begun_at": start,
            "sandbox": made - start,
            "create": created - asked,
        }
        return pod

    def stop(self, pod, grace=30):
        """SIGTERM, and SIGKILL after the grace; the exit code."""
        self.runtime.call("StopContainer", container_id=pod["container"], timeout=grace)
        status = self.runtime.call("ContainerStatus", container_id=pod["container"])
        return status["status"].get("exit_code", 0)

    def wait_exit(self, pod, limit=60):
        """The exit code of a container that ends by itself."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            status = self.runtime.call("ContainerStatus", container_id=pod["container"])["status"]
            if status.get("state", 0) == EXITED:
                return status.get("exit_code", 0)
            time.sleep(0.01)
        raise AssertionError(f"still running after {limit} s")

    def remove(self, pod):
        """Stop a pod and forget it."""
        self.pods.pop(pod["id"], None)
        self.runtime.call("StopPodSandbox", pod_sandbox_id=pod["id"])
        self.runtime.call("RemovePodSandbox", pod_sandbox_id=pod["id"])

    def pid(self, pod):
        """The container's first process, as the node sees it."""
        status = self.runtime.call("ContainerStatus", container_id=pod["container"], verbose=1)
        info = next(item["value"] for item in status["info"] if item["key"] == "info")
        return json.loads(info)["pid"]

    def shims(self, handler):
        """Processes of a shim that belong to this containerd."""
        name, address = f"containerd-shim-{handler}", str(self.socket)
        found = []
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes().decode().split("\0")
                if name in words[0] and address in words:
                    found.append(int(folder.name))
        return found
