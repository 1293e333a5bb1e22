//! The control groups this process runs in: how much CPU and memory they leave it, and how often
//! they held it back.
//!
//! Both versions are read. A limit may stand on any level from the process's own group up to the
//! mount point, and the tightest one counts; usage and throttling are those of the level that
//! limits, since others in it count too. Kernel documentation: admin-guide/cgroup-v2.rst,
//! admin-guide/cgroup-v1/memory.rst, scheduler/sched-bwc.rst.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// The control groups of the process; `None` for a controller that is not mounted.
#[derive(Clone, Debug, Default)]
pub struct Cgroup {
    cpu: Option<Levels>,
    memory: Option<Levels>,
}

/// The number of times the quota throttled the process's group since the group was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttling {
    /// Scheduling periods in which the group wanted to run.
    pub periods: u64,
    /// Those in which it had to stop.
    pub throttled_periods: u64,
    /// For how long, summed over CPUs.
    pub throttled: Duration,
}

/// The memory of the limited group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// All that is charged to it, file pages included.
    pub total_bytes: u64,
    /// The same without the file pages the kernel would drop first; what a kubelet evicts by.
    pub working_set_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// One controller's groups, from the process's own to the topmost one in sight.
#[derive(Clone, Debug)]
struct Levels {
    version: Version,
    paths: Vec<PathBuf>,
}

impl Cgroup {
    /// The groups of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        let groups = Self::read(Path::new("/proc/self"));
        match groups {
            Cgroup {
                cpu: None,
                memory: None,
            } => Self::mounted(Path::new("/sys/fs/cgroup")),
            groups => groups,
        }
    }

    /// Without procfs: what is mounted at the usual place, which in a container is its own group.
    #[must_use]
    pub fn mounted(root: &Path) -> Self {
        let level = |version, path: PathBuf| Levels {
            version,
            paths: vec![path],
        };
        if root.join("cgroup.controllers").is_file() {
            let all = level(Version::V2, root.to_owned());
            return Cgroup {
                cpu: Some(all.clone()),
                memory: Some(all),
            };
        }
        let of = |controller: &str| {
            let path = root.join(controller);
            path.is_dir().then(|| level(Version::V1, path))
        };
        Cgroup {
            cpu: of("cpu"),
            memory: of("memory"),
        }
    }

    /// The groups of the process whose folder in procfs this is.
    #[must_use]
    pub fn read(proc: &Path) -> Self {
        let groups = fs::read_to_string(proc.join("cgroup")).unwrap_or_default();
        let mounts = fs::read_to_string(proc.join("mountinfo")).unwrap_or_default();
        Cgroup {
            cpu: Levels::find(&groups, &mounts, "cpu"),
            memory: Levels::find(&groups, &mounts, "memory"),
        }
    }

    /// CPUs the quota allows, for example 0.5; `None` without a quota.
    #[must_use]
    pub fn cpu_limit(&self) -> Option<f64> {
        Some(self.cpu.as_ref()?.tightest(cpu_quota)?.0)
    }

    /// The throttling by the quota; all zero where there is none.
    #[must_use]
    pub fn throttling(&self) -> Throttling {
        let read = |levels: &Levels| {
            let (_, path) = levels.tightest(cpu_quota)?;
            let stat = fs::read_to_string(path.join("cpu.stat")).ok()?;
            let throttled = match levels.version {
                Version::V1 => Duration::from_nanos(keyed(&stat, "throttled_time")?),
                Version::V2 => Duration::from_micros(keyed(&stat, "throttled_usec")?),
            };
            Some(Throttling {
                periods: keyed(&stat, "nr_periods")?,
                throttled_periods: keyed(&stat, "nr_throttled")?,
                throttled,
            })
        };
        self.cpu.as_ref().and_then(read).unwrap_or_default()
    }

    /// Bytes above which the kernel kills, or slows down to a crawl (`memory.high`); `None` without
    /// a limit.
    #[must_use]
    pub fn memory_limit(&self) -> Option<u64> {
        Some(self.memory.as_ref()?.tightest(memory_limit)?.0)
    }

    /// Memory of the limited group that no file backs, so that it cannot be dropped; `None` where
    /// nobody counts.
    #[must_use]
    pub fn memory_anonymous_bytes(&self) -> Option<u64> {
        let (levels, path) = self.limited_memory()?;
        let stat = fs::read_to_string(path.join("memory.stat")).ok()?;
        match levels.version {
            Version::V1 => keyed(&stat, "total_rss"),
            Version::V2 => keyed(&stat, "anon"),
        }
    }

    /// The level that limits, else the process's own.
    fn limited_memory(&self) -> Option<(&Levels, &Path)> {
        let levels = self.memory.as_ref()?;
        let path = match levels.tightest(memory_limit) {
            Some((_, path)) => path,
            None => levels.paths.first()?,
        };
        Some((levels, path))
    }

    /// The memory of the limited group, else of the process's own; `None` where nobody counts.
    #[must_use]
    pub fn memory_usage(&self) -> Option<MemoryUsage> {
        let (levels, path) = self.limited_memory()?;
        let (usage, inactive) = match levels.version {
            Version::V1 => ("memory.usage_in_bytes", "total_inactive_file"),
            Version::V2 => ("memory.current", "inactive_file"),
        };
        let total_bytes = number(&path.join(usage))?;
        let stat = fs::read_to_string(path.join("memory.stat")).unwrap_or_default();
        let droppable: u64 = keyed(&stat, inactive).unwrap_or(0);
        Some(MemoryUsage {
            total_bytes,
            working_set_bytes: total_bytes.saturating_sub(droppable),
        })
    }
}

impl Levels {
    /// `groups` is `/proc/PID/cgroup`, `mounts` is `/proc/PID/mountinfo`.
    fn find(groups: &str, mounts: &str, controller: &str) -> Option<Levels> {
        let has = |list: &str| list.split(',').any(|name| name == controller);
        let line = |wanted: &dyn Fn(&str) -> bool| {
            groups.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let (controllers, path) = (parts.next()?, parts.next()?);
                wanted(controllers).then_some(path)
            })
        };
        // A controller that version 1 has is not in version 2's hierarchy, though that may be
        // mounted as well.
        let (version, group) = match line(&has) {
            Some(group) => (Version::V1, group),
            None => (Version::V2, line(&str::is_empty)?),
        };
        mounts.lines().find_map(|mount| {
            let (before, after) = mount.split_once(" - ")?;
            let mut fields = before.split(' ').skip(3);
            let (root, point) = (unescape(fields.next()?), unescape(fields.next()?));
            let mut fields = after.split(' ');
            let (kind, options) = (fields.next()?, fields.nth(1)?);
            let fits = match version {
                Version::V1 => kind == "cgroup" && has(options),
                Version::V2 => kind == "cgroup2",
            };
            if !fits {
                return None;
            }
            // In a container the mount may begin at the container's own group, and the group be
            // named from the host's root.
            let below = Path::new(group)
                .strip_prefix(&root)
                .or_else(|_| Path::new(group).strip_prefix("/"))
                .ok()?;
            let own = Path::new(&point).join(below);
            // A group named from outside the container does not exist inside: the mount point is
            // the container's then.
            let own = if own.is_dir() { own } else { (&point).into() };
            let paths = own
                .ancestors()
                .take_while(|path| path.starts_with(&point))
                .map(Path::to_owned)
                .collect();
            Some(Levels { version, paths })
        })
    }

    /// The smallest limit of all levels, and where it stands.
    fn tightest<T: PartialOrd + Copy>(
        &self,
        limit: fn(Version, &Path) -> Option<T>,
    ) -> Option<(T, &Path)> {
        let mut tightest: Option<(T, &Path)> = None;
        for path in &self.paths {
            if let Some(limit) = limit(self.version, path)
                && tightest.is_none_or(|(least, _)| limit < least)
            {
                tightest = Some((limit, path));
            }
        }
        tightest
    }
}

/// CPUs.
fn cpu_quota(version: Version, group: &Path) -> Option<f64> {
    let (quota, period): (f64, f64) = match version {
        // `max 100000` or `50000 100000`
        Version::V2 => {
            let text = fs::read_to_string(group.join("cpu.max")).ok()?;
            let (quota, period) = text.trim().split_once(' ')?;
            (quota.parse().ok()?, period.parse().ok()?)
        }
        // A quota of -1 is none.
        Version::V1 => (
            number(&group.join("cpu.cfs_quota_us"))?,
            number(&group.join("cpu.cfs_period_us"))?,
        ),
    };
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

/// Version 1 writes "no limit" as the largest number of whole pages; no machine has an exbibyte.
const NO_LIMIT: u64 = 1 << 60;

/// Bytes. `max`, which is no number, is none.
fn memory_limit(version: Version, group: &Path) -> Option<u64> {
    let files: &[&str] = match version {
        Version::V1 => &["memory.limit_in_bytes"],
        Version::V2 => &["memory.max", "memory.high"],
    };
    let limits = files.iter().filter_map(|file| number(&group.join(file)));
    limits.min().filter(|limit| *limit < NO_LIMIT)
}

fn number<T: FromStr>(path: &Path) -> Option<T> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The number after `key ` in a file of such lines.
pub(crate) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once([' ', ':'])?;
        let value = value.split_whitespace().next()?;
        (name == key).then(|| value.parse().ok())?
    })
}

/// mountinfo writes blanks and the like as `\040`.
fn unescape(field: &str) -> String {
    let mut text = field.to_owned();
    for (code, character) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        text = text.replace(code, character);
    }
    text
}

#[cfg(test)]
mod tests;
