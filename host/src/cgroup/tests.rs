//! Group trees as kernels, container runtimes and kubelets make them, in a folder of their own.

use tempfile::TempDir;

use super::*;

/// A fake procfs and cgroup file system.
struct Machine(TempDir);

impl Machine {
    /// `mounts`: (root, mount point in the folder, type, options); `groups`: `/proc/self/cgroup`.
    fn new(groups: &str, mounts: &[(&str, &str, &str, &str)]) -> Machine {
        let machine = Machine(tempfile::tempdir().unwrap());
        let mut mountinfo = String::from("22 1 0:2 / /proc rw - proc proc rw\n");
        for (root, point, kind, options) in mounts {
            let point = machine.0.path().join(point);
            fs::create_dir_all(&point).unwrap();
            let point = point.display();
            mountinfo += &format!(
                "31 22 0:28 {root} {point} rw,nosuid shared:9 - {kind} {kind} {options}\n"
            );
        }
        machine.write("mountinfo", &mountinfo);
        machine.write("cgroup", groups);
        machine
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn cgroup(&self) -> Cgroup {
        Cgroup::read(self.0.path())
    }
}

#[test]
fn a_pod_under_version_2() {
    // With a cgroup namespace the container's group is the root, and the pod's limit is out of
    // sight.
    let machine = Machine::new("0::/\n", &[("/", "fs", "cgroup2", "rw")]);
    machine.write("fs/cpu.max", "50000 100000\n");
    machine.write(
        "fs/cpu.stat",
        "usage_usec 900\nnr_periods 40\nnr_throttled 30\nthrottled_usec 1500000\n",
    );
    machine.write("fs/memory.max", "536870912\n");
    machine.write("fs/memory.high", "max\n");
    machine.write("fs/memory.current", "200000000\n");
    machine.write("fs/memory.stat", "anon 1\ninactive_file 50000000\n");
    let cgroup = machine.cgroup();
    assert_eq!(cgroup.cpu_limit(), Some(0.5));
    assert_eq!(cgroup.memory_limit(), Some(512 << 20));
    assert_eq!(
        cgroup.throttling(),
        Throttling {
            periods: 40,
            throttled_periods: 30,
            throttled: Duration::from_millis(1500)
        }
    );
    assert_eq!(
        cgroup.memory_usage(),
        Some(MemoryUsage {
            total_bytes: 200_000_000,
            working_set_bytes: 150_000_000
        })
    );
}

#[test]
fn the_tightest_level_counts_and_is_the_one_that_is_watched() {
    let machine = Machine::new("0::/pod/app\n", &[("/", "fs", "cgroup2", "rw")]);
    machine.write("fs/pod/app/cpu.max", "max 100000\n");
    machine.write(
        "fs/pod/app/cpu.stat",
        "nr_periods 0\nnr_throttled 0\nthrottled_usec 0\n",
    );
    machine.write("fs/pod/cpu.max", "150000 100000\n");
    machine.write(
        "fs/pod/cpu.stat",
        "nr_periods 7\nnr_throttled 5\nthrottled_usec 3\n",
    );
    machine.write("fs/cpu.max", "400000 100000\n");
    machine.write("fs/pod/app/memory.max", "3000\n");
    machine.write("fs/pod/app/memory.current", "2000\n");
    machine.write("fs/pod/memory.max", "9000\n");
    machine.write("fs/pod/memory.high", "2500\n");
    machine.write("fs/pod/memory.current", "2100\n");
    let cgroup = machine.cgroup();
    assert_eq!(cgroup.cpu_limit(), Some(1.5));
    assert_eq!(cgroup.throttling().throttled_periods, 5);
    assert_eq!(cgroup.memory_limit(), Some(2500));
    assert_eq!(cgroup.memory_usage().unwrap().total_bytes, 2100);
}

#[test]
fn version_1_beside_an_empty_version_2() {
    let groups = "5:memory:/kubepods/a b\n4:cpu,cpuacct:/kubepods\n1:name=systemd:/\n0::/\n";
    let machine = Machine::new(
        groups,
        &[
            ("/", "fs/unified", "cgroup2", "rw"),
            // The container's own group is what is mounted, under the name it has on the host.
            ("/kubepods/a\\040b", "fs/memory", "cgroup", "rw,memory"),
            ("/", "fs/cpu", "cgroup", "rw,cpu,cpuacct"),
        ],
    );
    machine.write("fs/cpu/kubepods/cpu.cfs_quota_us", "200000\n");
    machine.write("fs/cpu/kubepods/cpu.cfs_period_us", "100000\n");
    machine.write(
        "fs/cpu/kubepods/cpu.stat",
        "nr_periods 4\nnr_throttled 3\nthrottled_time 2000000000\n",
    );
    machine.write("fs/cpu/cpu.cfs_quota_us", "-1\n");
    machine.write("fs/cpu/cpu.cfs_period_us", "100000\n");
    machine.write("fs/memory/memory.limit_in_bytes", "1000000\n");
    machine.write("fs/memory/memory.usage_in_bytes", "600000\n");
    machine.write(
        "fs/memory/memory.stat",
        "inactive_file 1\ntotal_inactive_file 100000\n",
    );
    let cgroup = machine.cgroup();
    assert_eq!(cgroup.cpu_limit(), Some(2.0));
    assert_eq!(cgroup.throttling().throttled, Duration::from_secs(2));
    assert_eq!(cgroup.memory_limit(), Some(1_000_000));
    assert_eq!(cgroup.memory_usage().unwrap().working_set_bytes, 500_000);
}

#[test]
fn no_limit_is_none() {
    let machine = Machine::new(
        "5:memory:/\n0::/elsewhere\n",
        &[
            ("/", "fs/memory", "cgroup", "rw,memory"),
            ("/", "fs/two", "cgroup2", "rw"),
        ],
    );
    machine.write("fs/memory/memory.limit_in_bytes", "9223372036854771712\n");
    machine.write("fs/memory/memory.usage_in_bytes", "77\n");
    machine.write("fs/two/cpu.max", "max 100000\n");
    let cgroup = machine.cgroup();
    assert_eq!((cgroup.cpu_limit(), cgroup.memory_limit()), (None, None));
    assert_eq!(cgroup.throttling(), Throttling::default());
    assert_eq!(cgroup.memory_usage().unwrap().total_bytes, 77);
    // Nothing mounted, or nonsense in the files: nothing is known, and nothing fails.
    let bare = Machine::new("", &[]).cgroup();
    assert_eq!(
        (bare.cpu_limit(), bare.memory_limit(), bare.memory_usage()),
        (None, None, None)
    );
    machine.write("fs/memory/memory.limit_in_bytes", "lots\n");
    machine.write("fs/two/cpu.max", "0 0\n");
    let cgroup = machine.cgroup();
    assert_eq!((cgroup.cpu_limit(), cgroup.memory_limit()), (None, None));
}

#[test]
fn without_procfs_the_usual_place_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    assert_eq!(Cgroup::mounted(folder.path()).memory_limit(), None);
    write("memory/memory.limit_in_bytes", "1000000\n");
    write("memory/memory.stat", "total_rss 7\n");
    let cgroup = Cgroup::mounted(folder.path());
    assert_eq!(cgroup.memory_limit(), Some(1_000_000));
    assert_eq!(cgroup.memory_anonymous_bytes(), Some(7));
    write("cgroup.controllers", "cpu memory\n");
    write("memory.max", "2000000\n");
    write("cpu.max", "50000 100000\n");
    let cgroup = Cgroup::mounted(folder.path());
    assert_eq!(cgroup.memory_limit(), Some(2_000_000));
    assert_eq!(cgroup.cpu_limit(), Some(0.5));
}
