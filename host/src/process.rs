//! The system's figures for this process and its machine: procfs, and system calls where it is not
//! mounted.

use std::fs;
use std::path::Path;

use crate::cgroup::keyed;
use crate::resource_limits;

/// Resident memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessMemory {
    /// All of it.
    pub resident_bytes: u64,
    /// Memory backed by no file, which cannot be dropped.
    pub anonymous_bytes: u64,
}

/// The process's resident memory. Without procfs the most it has had, and all of that counts as
/// anonymous.
#[must_use]
pub fn memory() -> ProcessMemory {
    let Ok(status) = fs::read_to_string("/proc/self/status") else {
        let peak = resource_limits::peak_resident_bytes();
        return ProcessMemory {
            resident_bytes: peak,
            anonymous_bytes: peak,
        };
    };
    let bytes = |key| keyed(&status, key).unwrap_or(0) << 10;
    ProcessMemory {
        resident_bytes: bytes("VmRSS"),
        anonymous_bytes: bytes("RssAnon"),
    }
}

/// Bytes of address space the process has mapped; `None` without procfs.
#[must_use]
pub fn address_space_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    Some(keyed(&status, "VmSize")? << 10)
}

/// Memory of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineMemory {
    /// All of it.
    pub total_bytes: u64,
    /// Memory it could give without swapping, file pages that can be dropped included.
    pub available_bytes: u64,
}

/// The machine's memory; `None` where nobody says.
#[must_use]
pub fn machine_memory() -> Option<MachineMemory> {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let bytes = |key| Some(keyed(&info, key)? << 10);
    if let Some((total_bytes, available_bytes)) = bytes("MemTotal").zip(bytes("MemAvailable")) {
        return Some(MachineMemory {
            total_bytes,
            available_bytes,
        });
    }
    let total_bytes = resource_limits::machine_memory()?;
    // Where sysfs is hidden too, only this process is known to take any.
    let own = resource_limits::peak_resident_bytes();
    let available = droppable_or_free(Path::new("/sys/devices/system/node"));
    Some(MachineMemory {
        total_bytes,
        available_bytes: available.unwrap_or(total_bytes.saturating_sub(own)),
    })
}

/// Free memory and file pages of all NUMA nodes, from sysfs: lines as `Node 0 MemFree: 123 kB`.
fn droppable_or_free(nodes: &Path) -> Option<u64> {
    let mut bytes = None;
    for node in fs::read_dir(nodes).ok()?.flatten() {
        let Ok(info) = fs::read_to_string(node.path().join("meminfo")) else {
            continue;
        };
        for line in info.lines() {
            let mut words = line.split_whitespace().skip(2);
            let counted = ["MemFree:", "Active(file):", "Inactive(file):"];
            if words.next().is_some_and(|name| counted.contains(&name)) {
                let kib: u64 = words.next()?.parse().ok()?;
                *bytes.get_or_insert(0) += kib << 10;
            }
        }
    }
    bytes
}

/// CPUs the process may run on.
#[must_use]
pub fn cpus() -> f64 {
    sterna_engine::team::default_threads() as f64
}

/// CPU time spent so far, user and system.
#[must_use]
pub fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    cpu_ticks(&stat).unwrap_or(0) as f64 / TICKS_PER_SECOND
}

/// `USER_HZ`: what procfs counts in on every architecture we build for, whatever the kernel's own
/// clock (proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// `utime + stime`, the 14th and 15th fields; the second is the program's name, which may hold
/// anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ').skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "7 (a) b) R 1 2 3 4 5 6 7 8 9 10 40 2 0 0 20 0";
        assert_eq!(cpu_ticks(stat), Some(42));
        assert_eq!(cpu_ticks("7 (a"), None);
    }

    #[test]
    fn sysfs_says_about_what_procfs_says() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(droppable_or_free(folder.path()), None);
        for node in ["node0", "node1", "possible"] {
            fs::create_dir(folder.path().join(node)).unwrap();
        }
        let info = "Node 0 MemTotal: 9 kB\nNode 0 MemFree: 4 kB\nNode 0 Active(file):  2 kB\nNode 0 Inactive(file): 1 kB\n";
        for node in ["node0", "node1"] {
            fs::write(folder.path().join(node).join("meminfo"), info).unwrap();
        }
        assert_eq!(droppable_or_free(folder.path()), Some(14 << 10));
    }

    #[test]
    fn this_process_has_memory_and_so_has_the_machine() {
        let memory = memory();
        assert!(memory.anonymous_bytes > 0 && memory.anonymous_bytes <= memory.resident_bytes);
        assert!(memory.resident_bytes < machine_memory().unwrap().total_bytes);
    }
}
