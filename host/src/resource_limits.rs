//! Limits that a shell or a service manager sets for one process (`ulimit`, `LimitNOFILE=`), and what the kernel says
//! of the machine where procfs is not mounted.

use std::mem::MaybeUninit;

/// Bytes of address space this process may map (`ulimit -v`); `None` without a limit.
#[must_use]
pub fn address_space() -> Option<u64> {
    soft(libc::RLIMIT_AS)
}

/// File descriptors this process may have open, after the soft limit (`ulimit -n`) was raised as far as the hard one lets
/// it: a server needs one for each connection, and the low default is for programs that use `select`. `None` without a
/// limit.
#[must_use]
pub fn raise_descriptors() -> Option<u64> {
    let mut limit = get(libc::RLIMIT_NOFILE)?;
    if limit.rlim_cur < limit.rlim_max {
        let before = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: `limit` is whole, and lives while the call runs.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
            limit.rlim_cur = before;
        }
    }
    finite(limit.rlim_cur)
}

fn soft(resource: Resource) -> Option<u64> {
    finite(get(resource)?.rlim_cur)
}

fn finite(limit: libc::rlim_t) -> Option<u64> {
    (limit != libc::RLIM_INFINITY).then_some(limit)
}

#[cfg(target_env = "gnu")]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
type Resource = libc::c_int;

fn get(resource: Resource) -> Option<libc::rlimit> {
    let mut limit = MaybeUninit::uninit();
    // SAFETY: the call fills `limit`, which lives while it runs, unless it says that it failed.
    unsafe { (libc::getrlimit(resource, limit.as_mut_ptr()) == 0).then(|| limit.assume_init()) }
}

/// Memory of the machine in bytes: all of it, and what is free or in buffers. `None` where the system does not say.
#[must_use]
pub fn machine_memory() -> Option<(u64, u64)> {
    let mut info = MaybeUninit::<libc::sysinfo>::uninit();
    // SAFETY: as above.
    let info = unsafe { (libc::sysinfo(info.as_mut_ptr()) == 0).then(|| info.assume_init()) }?;
    let bytes = |units: libc::c_ulong| u64::from(units) * u64::from(info.mem_unit);
    Some((bytes(info.totalram), bytes(info.freeram + info.bufferram)))
}

/// The most memory this process has had resident, in bytes.
#[must_use]
pub fn peak_resident_bytes() -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: as above.
    let usage = unsafe {
        (libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) == 0).then(|| usage.assume_init())
    };
    // In KiB on Linux.
    usage.map_or(0, |usage| u64::try_from(usage.ru_maxrss).unwrap_or(0) << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_about_what_procfs_says() {
        let (total, free) = machine_memory().unwrap();
        let procfs = std::fs::read_to_string("/proc/meminfo").unwrap();
        let listed = crate::cgroup::keyed(&procfs, "MemTotal").unwrap() << 10;
        assert!(total.abs_diff(listed) < listed / 100, "{total} {listed}");
        assert!(free <= total);
        assert!(peak_resident_bytes() > 1 << 20);
    }

    #[test]
    fn limits_are_numbers_or_none() {
        assert!(raise_descriptors().is_none_or(|n| n >= 64));
        assert!(address_space().is_none_or(|bytes| bytes > 1 << 20));
    }
}
