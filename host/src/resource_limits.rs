//! Limits that a shell or a service manager sets for one process (`ulimit`, `LimitNOFILE=`), and
//! what the kernel says of the machine where procfs is not mounted.

use std::mem::MaybeUninit;

use anyhow::{Context, ensure};

/// Bytes of address space this process may map (`ulimit -v`); `None` without a limit.
#[must_use]
pub fn address_space() -> Option<u64> {
    soft(libc::RLIMIT_AS)
}

/// Bytes of memory this process may lock (`ulimit -l`); `None` without a limit.
#[must_use]
pub fn locked_memory() -> Option<u64> {
    soft(libc::RLIMIT_MEMLOCK)
}

/// Code, stacks and heap of a server that has no model yet.
const LEAST_ADDRESS_SPACE: u64 = 192 << 20;

/// Prepare for little address space: an allocator that reserves 64 MiB for each thread would use it
/// up.
///
/// # Errors
/// There is less than any command needs.
pub fn prepare() -> anyhow::Result<()> {
    let Some(bytes) = address_space() else {
        return Ok(());
    };
    ensure!(
        bytes >= LEAST_ADDRESS_SPACE,
        "the limit of address space (`ulimit -v`, LimitAS=) is {} MiB, and at least {} MiB are needed: raise it or take it away; \
         what limits memory is a cgroup",
        bytes >> 20,
        LEAST_ADDRESS_SPACE >> 20
    );
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: it only sets a number, and no other thread has been started.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
    Ok(())
}

/// File descriptors this process may have open, after the soft limit (`ulimit -n`) was raised as
/// far as the hard one lets it: a server needs one for each connection, and the low default is for
/// programs that use `select`. `None` without a limit.
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

/// Connections a server may take with so many descriptors: no more than asked for, and some are
/// left for probes, files and what the runtime needs.
#[must_use]
pub fn connections(wanted: usize, descriptors: Option<u64>) -> usize {
    const RESERVED: u64 = 96;
    let room = descriptors.map(|n| n.saturating_sub(RESERVED).max(n / 4).max(1));
    let room = room.and_then(|room| usize::try_from(room).ok());
    room.map_or(wanted, |room| room.min(wanted))
}

/// The remedy for an error that a limit of the process caused; `None` for others.
#[must_use]
pub fn remedy(error: &anyhow::Error) -> Option<&'static str> {
    let mut numbers = error.chain().filter_map(|cause| {
        let cause: &std::io::Error = cause.downcast_ref()?;
        cause.raw_os_error()
    });
    numbers.find_map(|number| match number {
        libc::EMFILE => Some("raise the limit of open files (`ulimit -n`, LimitNOFILE=)"),
        libc::EAGAIN => Some(
            "raise the limit of processes and threads (`ulimit -u`, LimitNPROC=, pids.max of the cgroup), or compute on fewer \
             (--threads)",
        ),
        libc::ENOMEM => Some(
            "raise the limit of address space or memory (`ulimit -v`, LimitAS=, memory.max of the cgroup)",
        ),
        libc::ENOSPC | libc::EDQUOT => Some("make room on the disk, or write to another one"),
        _ => None,
    })
}

/// A runtime on all CPUs.
///
/// # Errors
/// The system gives no thread, or no descriptor.
pub fn server_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let build = || {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
    };
    // tokio panics where it gets no thread for its workers: an error to us, which is told below.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let built = std::panic::catch_unwind(build);
    std::panic::set_hook(hook);
    let refused = |_| std::io::Error::from_raw_os_error(libc::EAGAIN);
    let built = built.unwrap_or_else(|panic| Err(refused(panic)));
    built.context("cannot start the server's threads")
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

/// Memory of the machine in bytes, all of it; `None` where the system does not say.
#[must_use]
pub fn machine_memory() -> Option<u64> {
    let mut info = MaybeUninit::<libc::sysinfo>::uninit();
    // SAFETY: as above.
    let info = unsafe { (libc::sysinfo(info.as_mut_ptr()) == 0).then(|| info.assume_init()) }?;
    Some(info.totalram * u64::from(info.mem_unit))
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
        let total = machine_memory().unwrap();
        let procfs = std::fs::read_to_string("/proc/meminfo").unwrap();
        let listed = crate::cgroup::keyed(&procfs, "MemTotal").unwrap() << 10;
        assert!(total.abs_diff(listed) < listed / 100, "{total} {listed}");
        assert!(peak_resident_bytes() > 1 << 20);
    }

    #[test]
    fn connections_are_those_there_are_descriptors_for() {
        for (descriptors, expected) in [
            (None, 512),
            (Some(20_000), 512),
            (Some(256), 160),
            (Some(20), 5),
        ] {
            assert_eq!(connections(512, descriptors), expected);
        }
    }

    #[test]
    fn an_error_of_a_limit_names_it() {
        let error = |number| {
            let cause = std::io::Error::from_raw_os_error(number);
            anyhow::Error::from(cause).context("cannot do it")
        };
        assert!(remedy(&error(libc::EMFILE)).unwrap().contains("ulimit -n"));
        assert!(remedy(&error(libc::EAGAIN)).unwrap().contains("ulimit -u"));
        assert!(remedy(&error(libc::ENOMEM)).unwrap().contains("ulimit -v"));
        assert_eq!(remedy(&error(libc::ENOENT)), None);
    }

    #[test]
    fn limits_are_numbers_or_none() {
        assert!(raise_descriptors().is_none_or(|n| n >= 64));
        assert!(address_space().is_none_or(|bytes| bytes > 1 << 20));
    }
}
