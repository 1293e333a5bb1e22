"""Memory of processes, and the page cache."""

import contextlib
import os


def available_kib():
    """The memory that the kernel could still give."""
    for line in open("/proc/meminfo", encoding="utf-8"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1])
    raise AssertionError("no MemAvailable")


def use(pid):
    """KiB of a process: anonymous memory, divided where a fork shares it, and pages of mapped
    files, which the page cache holds.
    """
    fields = {}
    for line in open(f"/proc/{pid}/smaps_rollup", encoding="utf-8"):
        words = line.split()
        if words[-1] == "kB":
            fields[words[0][:-1]] = int(words[1])
    return {"private": fields["Pss_Anon"], "shared": fields["Rss"] - fields["Anonymous"], "processes": 1}


def mapped(pid, name):
    """KiB of a process's mappings of one file, by smaps' fields."""
    fields, inside = {}, False
    for line in open(f"/proc/{pid}/smaps", encoding="utf-8"):
        words = line.split()
        if words[0].endswith(":"):
            if inside and words[-1] == "kB":
                fields[words[0][:-1]] = fields.get(words[0][:-1], 0) + int(words[1])
        else:
            inside = words[-1] == name
    return fields


def add(total, pid):
    """Add a process that may have just ended."""
    with contextlib.suppress(OSError):
        for name, value in use(pid).items():
            total[name] += value


def of_pods(parts):
    """Sums over the processes of each part (`processes.by_part`)."""
    sums = {}
    for part, pids in parts.items():
        sums[part] = {"private": 0, "shared": 0, "processes": 0}
        for pid in pids:
            add(sums[part], pid)
    return sums


def evict(*folders):
    """Drop the files under these folders from the page cache, so that the next start reads them
    from the disk.
    """
    for folder in folders:
        # Pods come and go meanwhile: what is no longer there needs no eviction.
        for place, _, names in os.walk(folder):
            for name in names:
                with contextlib.suppress(OSError):
                    file = os.open(os.path.join(place, name), os.O_RDONLY | os.O_NOFOLLOW)
                    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                    os.close(file)
