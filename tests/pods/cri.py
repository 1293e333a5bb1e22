"""A kubelet's side of the Container Runtime Interface: the few calls that start and stop a pod,
over gRPC.

The messages are written out by hand as tables of field numbers (CRI v1,
k8s.io/cri-api/pkg/apis/runtime/v1), since that is all a client needs of a schema: no generated
code, no protoc.
"""

import grpc

# Message name -> {field: (number, kind)}; a kind is str, int, another message, or a list of one of
# these.
SCHEMA = {
    "Version": {"version": (1, str)},
    "RunPodSandbox": {"config": (1, "Sandbox"), "runtime_handler": (2, str)},
    "Sandbox": {
        "metadata": (1, "SandboxName"),
        "hostname": (2, str),
        "log_directory": (3, str),
        "linux": (8, "LinuxSandbox"),
    },
    "SandboxName": {"name": (1, str), "uid": (2, str), "namespace": (3, str), "attempt": (4, int)},
    "LinuxSandbox": {"cgroup_parent": (1, str), "security_context": (2, "SandboxSecurity")},
    "SandboxSecurity": {"namespace_options": (1, "Namespaces")},
    # 0 the pod's, 1 the container's, 2 the node's
    "Namespaces": {"network": (1, int), "pid": (2, int), "ipc": (3, int)},
    "CreateContainer": {
        "pod_sandbox_id": (1, str),
        "config": (2, "Container"),
        "sandbox_config": (3, "Sandbox"),
    },
    "Container": {
        "metadata": (1, "ContainerName"),
        "image": (2, "Image"),
        "command": (3, [str]),
        "args": (4, [str]),
        "envs": (6, ["Variable"]),
        "mounts": (7, ["Mount"]),
        "log_path": (11, str),
        "linux": (15, "LinuxContainer"),
    },
    "ContainerName": {"name": (1, str), "attempt": (2, int)},
    "Image": {"image": (1, str)},
    "Variable": {"key": (1, str), "value": (2, str)},
    "Mount": {"container_path": (1, str), "host_path": (2, str), "readonly": (3, int)},
    "LinuxContainer": {"resources": (1, "Resources"), "security_context": (2, "ContainerSecurity")},
    "Resources": {
        "cpu_period": (1, int),
        "cpu_quota": (2, int),
        "cpu_shares": (3, int),
        "memory_limit_in_bytes": (4, int),
    },
    "ContainerSecurity": {"namespace_options": (3, "Namespaces")},
    "ContainerId": {"container_id": (1, str), "timeout": (2, int)},
    "ContainerStatus": {"container_id": (1, str), "verbose": (2, int)},
    "SandboxId": {"pod_sandbox_id": (1, str), "verbose": (2, int)},
    # Answers
    "VersionAnswer": {"runtime_name": (2, str), "runtime_version": (3, str)},
    "SandboxStatusAnswer": {"status": (1, "SandboxStatus")},
    "SandboxStatus": {"id": (1, str), "state": (3, int), "network": (5, "Network")},
    "Network": {"ip": (1, str)},
    "ContainerStatusAnswer": {"status": (1, "ContainerState"), "info": (2, ["Info"])},
    "ContainerState": {"id": (1, str), "state": (3, int), "exit_code": (7, int), "reason": (10, str)},
    "Info": {"key": (1, str), "value": (2, str)},
    "Nothing": {},
}

# Call -> request and answer.
CALLS = {
    "Version": ("Version", "VersionAnswer"),
    "RunPodSandbox": ("RunPodSandbox", "SandboxId"),
    "PodSandboxStatus": ("SandboxId", "SandboxStatusAnswer"),
    "CreateContainer": ("CreateContainer", "ContainerId"),
    "StartContainer": ("ContainerId", "Nothing"),
    "ContainerStatus": ("ContainerStatus", "ContainerStatusAnswer"),
    "StopContainer": ("ContainerId", "Nothing"),
    "StopPodSandbox": ("SandboxId", "Nothing"),
    "RemovePodSandbox": ("SandboxId", "Nothing"),
}


def _varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode(message, fields):
    """The bytes of a message, from a dictionary of its fields."""
    out = bytearray()
    for name, value in fields.items():
        number, kind = SCHEMA[message][name]
        for item in value if isinstance(kind, list) else [value]:
            one = kind[0] if isinstance(kind, list) else kind
            if one is int:
                out += _varint(number << 3) + _varint(item)
            else:
                data = item.encode() if one is str else encode(one, item)
                out += _varint(number << 3 | 2) + _varint(len(data)) + data
    return bytes(out)


def decode(message, data):
    """The fields of a message that the table names; the others are skipped."""
    by_number = {number: (name, kind) for name, (number, kind) in SCHEMA[message].items()}
    fields, at = {}, 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            value = varint()
        elif key & 7 == 2:
            size = varint()
            value = data[at : at + size]
            at += size
        else:
            at += 8 if key & 7 == 1 else 4
            continue
        name, kind = by_number.get(key >> 3, (None, None))
        if name is None:
            continue
        one = kind[0] if isinstance(kind, list) else kind
        if one is str:
            value = value.decode()
        elif one is not int:
            value = decode(one, value)
        if isinstance(kind, list):
            fields.setdefault(name, []).append(value)
        else:
            fields[name] = value
    return fields


class Runtime:
    """The runtime behind a socket. `runtime.call("StartContainer", container_id=..)`; `begin` does
    not wait.
    """

    def __init__(self, socket):
        self.channel = grpc.insecure_channel("unix://" + str(socket))

    def begin(self, call, **fields):
        """Send a call; `.result()` of what comes back waits for its answer."""
        request, answer = CALLS[call]
        method = self.channel.unary_unary(
            "/runtime.v1.RuntimeService/" + call,
            request_serializer=lambda fields: encode(request, fields),
            response_deserializer=lambda data: decode(answer, data),
        )
        return method.future(fields, timeout=120, wait_for_ready=True)

    def call(self, call, **fields):
        """Send a call and wait for its answer."""
        return self.begin(call, **fields).result()
