//! Moves a served model's weights to 2 MiB pages, and packs them tighter, beside the requests, as
//! far as memory allows.

use anyhow::Context;
use sterna_engine::placement::Settled;

use crate::cgroup::Cgroup;
use crate::{process, resource_limits};

/// Start `settle` on a thread of its own, and return at once: the model is used where it lies
/// meanwhile. It is given [`copy_budget`].
///
/// # Errors
/// The system refuses a thread.
pub(crate) fn settle_in_background(
    settle: impl FnOnce(u64) -> Settled + Send + 'static,
) -> anyhow::Result<()> {
    let work = move || {
        let settled = settle(copy_budget());
        tracing::info!(
            bytes = settled.bytes,
            huge_bytes = settled.huge_bytes,
            copied_bytes = settled.copied_bytes,
            trits5_bytes = settled.trits5_bytes,
            "weights settled: in 2 MiB pages, copied for that, packed as trits5"
        );
    };
    std::thread::Builder::new()
        .name("sterna-pages".into())
        .spawn(work)
        .context("cannot start a thread")?;
    Ok(())
}

/// Bytes that copies of weights may take: a tenth of the memory that is free now stays free.
pub(crate) fn copy_budget() -> u64 {
    free_bytes(&Cgroup::of_this_process()) / 10 * 9
}

/// Memory this process may still take: the machine's, and its control group's.
fn free_bytes(cgroup: &Cgroup) -> u64 {
    let machine = process::machine_memory().map_or(0, |machine| machine.available_bytes);
    let group = cgroup.memory_limit().map(|limit| {
        let used = cgroup.memory_usage().unwrap_or_default().working_set_bytes;
        limit.saturating_sub(used)
    });
    let free = group.map_or(machine, |group| machine.min(group));
    match address_space_left() {
        Some(left) => free.min(left / 2),
        None => free,
    }
}

/// The address space that `ulimit -v` leaves, where there is such a limit.
fn address_space_left() -> Option<u64> {
    let limit = resource_limits::address_space()?;
    Some(limit.saturating_sub(process::address_space_bytes().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_free_on_a_machine_that_runs_tests() {
        assert!(free_bytes(&Cgroup::of_this_process()) > 1 << 20);
    }
}
