//! The checks of processor, memory and limits.

use std::fs;

use sterna_kernels::{Isa, self_test};

use super::{Check, State};
use crate::cgroup::Throttling;
use crate::machine::Machine;
use crate::{process, resource_limits};

/// All of them, in the order they are printed.
pub(super) fn of_system(machine: &Machine) -> Vec<Check> {
    let read = |path: &str| fs::read_to_string(path).ok();
    vec![
        Check::fine(
            "processor",
            processor(&read("/proc/cpuinfo").unwrap_or_default()),
        ),
        isa(machine.isa),
        kernels(),
        cores(machine),
        throttling(machine.cgroup.throttling()),
        memory(machine),
        huge_pages(read("/sys/kernel/mm/transparent_hugepage/enabled").as_deref()),
        overcommit(read("/proc/sys/vm/overcommit_memory").as_deref()),
        locked(resource_limits::locked_memory()),
        address_space(resource_limits::address_space()),
        files(),
    ]
}

/// The name of the first processor in `/proc/cpuinfo`.
fn processor(cpuinfo: &str) -> String {
    let field = |name: &str| {
        let mut lines = cpuinfo.lines();
        lines.find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        })
    };
    // ARM says numbers alone.
    let part = || Some(format!("part {}", field("CPU part")?));
    let name = field("model name")
        .or_else(part)
        .unwrap_or_else(|| "of unknown name".into());
    format!("{name} ({})", std::env::consts::ARCH)
}

fn isa(chosen: Isa) -> Check {
    let names: Vec<&str> = Isa::supported().iter().map(|isa| isa.name()).collect();
    let check = Check::fine(
        "instruction set",
        format!("{}; there are {}", chosen.name(), names.join(", ")),
    );
    match names.first() {
        Some(best) if *best != chosen.name() => check.with(
            State::Note,
            format!("{best} is the fastest: leave out --isa and STERNA_ISA"),
        ),
        Some(&"scalar") => check.with(
            State::Note,
            "plain code is some 20 times as slow: take a machine with AVX2, AVX-512 or NEON",
        ),
        _ => check,
    }
}

/// The kernels' own test, for each instruction set there is.
fn kernels() -> Check {
    let tested = Isa::supported();
    let faults: Vec<String> = (tested.iter())
        .filter_map(|isa| Some(format!("{}: {}", isa.name(), self_test(*isa).err()?)))
        .collect();
    if faults.is_empty() {
        let n = tested.len();
        return Check::fine(
            "kernels",
            format!("all {n} sets compute what plain code does"),
        );
    }
    Check::fine("kernels", faults.join("; ")).with(
        State::Wrong,
        "a fault of the processor or of this program: choose another set (STERNA_ISA), and report \
         it",
    )
}

fn cores(machine: &Machine) -> Check {
    let usable = process::cpus();
    let quota = machine.cgroup.cpu_limit();
    let limit = quota.map_or_else(
        || "no quota".to_owned(),
        |cpus| format!("a quota of {cpus} CPUs (cpu.max)"),
    );
    let check = Check::fine(
        "cores",
        format!(
            "{usable} usable, {limit}, {} threads compute",
            machine.threads
        ),
    );
    let threads = u32::try_from(machine.threads).map_or(f64::MAX, f64::from);
    let room = quota.map_or(usable, |quota| quota.min(usable));
    if threads > room.max(1.0) {
        return check.with(
            State::Note,
            format!(
                "more threads than CPUs wait for each other: --threads {:.0}",
                room.max(1.0).floor()
            ),
        );
    }
    match quota {
        Some(quota) if quota < 1.0 => check.with(
            State::Note,
            "less than one CPU stops each token for a part of every period: raise the quota to a \
             whole number of CPUs",
        ),
        _ => check,
    }
}

/// Periods in which a group may be stopped before it is worth a word, as a share.
const FEW_THROTTLED: f64 = 0.02;

fn throttling(throttling: Throttling) -> Check {
    const NAME: &str = "throttling";
    let Throttling {
        periods,
        throttled_periods,
        throttled,
    } = throttling;
    if periods == 0 {
        return Check::fine(NAME, "none");
    }
    let check = Check::fine(
        NAME,
        format!(
            "in {throttled_periods} of {periods} periods, {:.1} s in all",
            throttled.as_secs_f64()
        ),
    );
    #[allow(clippy::cast_precision_loss, reason = "a share")]
    let share = throttled_periods as f64 / periods as f64;
    if share <= FEW_THROTTLED {
        return check;
    }
    check.with(
        State::Note,
        "the quota is too low for what runs here: raise it, or compute on fewer threads",
    )
}

/// Memory below which no model of use runs.
const LEAST_BYTES: u64 = 512 << 20;

fn memory(machine: &Machine) -> Check {
    const NAME: &str = "memory";
    let Some(all) = process::machine_memory() else {
        return Check::fine(NAME, "of unknown size: neither procfs nor sysinfo says it")
            .with(State::Note, "mount /proc");
    };
    let mib = |bytes: u64| bytes >> 20;
    let mut found = format!(
        "{} of {} MiB available",
        mib(all.available_bytes),
        mib(all.total_bytes)
    );
    let mut left = all.available_bytes;
    if let Some(limit) = machine.cgroup.memory_limit() {
        let used = machine.cgroup.memory_anonymous_bytes().unwrap_or(0);
        left = left.min(limit.saturating_sub(used));
        found += &format!(
            ", a limit of {} MiB (memory.max), {} MiB in use",
            mib(limit),
            mib(used)
        );
    }
    let check = Check::fine(NAME, found);
    if left >= LEAST_BYTES {
        return check;
    }
    check.with(
        State::Note,
        "little: `sterna inspect MODEL` says what a model needs; raise the limit or free some",
    )
}

fn huge_pages(enabled: Option<&str>) -> Check {
    const NAME: &str = "huge pages";
    let chosen = enabled.and_then(|text| text.split('[').nth(1)?.split(']').next());
    match chosen {
        Some(choice @ ("always" | "madvise")) => Check::fine(
            NAME,
            format!("transparent, {choice}: weights lie in pages of 2 MiB"),
        ),
        Some(choice) => Check::fine(NAME, format!("transparent, {choice}")).with(
            State::Note,
            "weights are read some percent slower: echo madvise > \
             /sys/kernel/mm/transparent_hugepage/enabled",
        ),
        None => Check::fine(NAME, "not known: the system does not say").with(
            State::Note,
            "mount /sys, or build the kernel with transparent huge pages",
        ),
    }
}

fn overcommit(mode: Option<&str>) -> Check {
    const NAME: &str = "overcommit";
    match mode.map(str::trim) {
        Some(mode @ ("0" | "1")) => Check::fine(NAME, format!("vm.overcommit_memory = {mode}")),
        Some(mode) => Check::fine(NAME, format!("vm.overcommit_memory = {mode}")).with(
            State::Note,
            "memory is refused when it is asked for, not when it is used: with many requests at a \
             time some get none. sysctl vm.overcommit_memory=0",
        ),
        None => Check::fine(NAME, "not known: the system does not say"),
    }
}

fn locked(limit: Option<u64>) -> Check {
    let limit = limit.map_or_else(
        || "no limit".to_owned(),
        |bytes| format!("{} KiB at most (ulimit -l)", bytes >> 10),
    );
    Check::fine(
        "locked memory",
        format!("{limit}; none is locked by this program"),
    )
}

fn address_space(limit: Option<u64>) -> Check {
    const NAME: &str = "address space";
    match limit {
        None => Check::fine(NAME, "no limit"),
        Some(bytes) => Check::fine(NAME, format!("{} MiB at most (ulimit -v)", bytes >> 20)).with(
            State::Note,
            "it counts addresses rather than memory: take it away; what limits memory is a cgroup",
        ),
    }
}

/// Descriptors that a server with its default of connections wants.
const DESCRIPTORS: u64 = 1024;

fn files() -> Check {
    const NAME: &str = "open files";
    match resource_limits::raise_descriptors() {
        None => Check::fine(NAME, "no limit"),
        Some(n) => {
            let check = Check::fine(NAME, format!("{n} at most (ulimit -n)"));
            if n >= DESCRIPTORS {
                return check;
            }
            check.with(
                State::Note,
                "a server takes fewer connections: ulimit -n 1024 or more",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_processor_has_the_name_that_procfs_says() {
        let x86 = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: Another\n";
        assert!(processor(x86).starts_with("Some CPU @ 2 GHz ("));
        assert!(processor("CPU part\t: 0xd0c\n").starts_with("part 0xd0c"));
        assert!(processor("").starts_with("of unknown name"));
    }

    #[test]
    fn what_costs_speed_is_a_note_with_a_remedy() {
        let state = |check: Check| {
            assert_eq!(
                check.advice.is_some(),
                check.state != State::Fine,
                "{check:?}"
            );
            check.state
        };
        assert_eq!(
            state(huge_pages(Some("always [madvise] never\n"))),
            State::Fine
        );
        assert_eq!(
            state(huge_pages(Some("always madvise [never]\n"))),
            State::Note
        );
        assert_eq!(state(huge_pages(None)), State::Note);
        assert_eq!(state(overcommit(Some("0\n"))), State::Fine);
        assert_eq!(state(overcommit(Some("2\n"))), State::Note);
        assert_eq!(state(address_space(None)), State::Fine);
        assert_eq!(state(address_space(Some(1 << 32))), State::Note);
        let throttled = |throttled_periods| Throttling {
            periods: 100,
            throttled_periods,
            throttled: Duration::from_secs(1),
        };
        assert_eq!(state(throttling(throttled(1))), State::Fine);
        assert_eq!(state(throttling(throttled(30))), State::Note);
        assert_eq!(
            state(isa(Isa::detect())) == State::Fine,
            Isa::detect().name() != "scalar"
        );
        assert_eq!(state(kernels()), State::Fine);
    }

    #[test]
    fn threads_beyond_the_cpus_are_a_note() {
        let most = Machine::of(Isa::detect(), Some(u16::MAX));
        assert_eq!(cores(&most).state, State::Note);
    }
}
