//! How the memory this process may have is shared out before it is used, so that a limit is never met by surprise: the
//! kernel answers that with SIGKILL.
//!
//! What there is, is the cgroup's limit or the machine's memory; from it go what is in use once the model is loaded, the
//! model's mapped pages, and a margin for what nobody counts (stacks, sockets, page tables, fragmentation). A quarter of
//! the rest is for the instances that answer requests, a sixteenth for checking and tokenising prompts, the rest of it for keys
//! and values.

use anyhow::ensure;

use crate::cgroup::Cgroup;
use crate::process;
use crate::server::INSTANCE_BASE_BYTES;

/// What each may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBudget {
    /// Keys and values of all sequences together.
    pub kv_bytes: u64,
    /// Instances of the HTTP component.
    pub request_bytes: u64,
    /// Rendering and tokenising prompts (`admission`).
    pub admission_bytes: u64,
    /// Copies of weights by columns: all that were wanted, or nothing.
    pub copy_bytes: u64,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryState {
    /// The cgroup's limit or the machine's memory.
    pub limit_bytes: u64,
    /// In use, and not to be had by dropping file pages.
    pub used_bytes: u64,
    /// Of the model, mapped from its file: to be kept, though the kernel may drop it.
    pub mapped_bytes: u64,
}

/// A tenth of the limit for what nobody counts, within these bounds.
const MARGIN: (u64, u64) = (16 << 20, 1 << 30);

/// Requests that must be possible at the same time.
const LEAST_REQUESTS: u64 = 4;

impl MemoryState {
    /// Look, now that the model is loaded, with so much of it mapped from a file.
    #[must_use]
    pub fn now(cgroup: &Cgroup, mapped_bytes: u64) -> Self {
        let machine = process::machine_memory_bytes();
        let own = process::memory().anonymous_bytes;
        match cgroup.memory_limit().filter(|limit| *limit < machine) {
            Some(limit_bytes) => {
                // The group's file pages are the model's, and counted as that.
                let group = cgroup.memory_anonymous_bytes().unwrap_or(0);
                MemoryState {
                    limit_bytes,
                    used_bytes: group.max(own),
                    mapped_bytes,
                }
            }
            None => MemoryState {
                limit_bytes: machine,
                used_bytes: machine.saturating_sub(process::available_memory_bytes()),
                mapped_bytes,
            },
        }
    }

    /// Share out what is left. Of `wanted_copy_bytes` for copies of weights, which only make the engine faster, all are granted
    /// if they take a quarter at most and leave enough, else none.
    ///
    /// # Errors
    /// Too little is left to answer anything; the message says what takes how much.
    pub fn share(&self, wanted_copy_bytes: u64) -> anyhow::Result<MemoryBudget> {
        let margin = (self.limit_bytes / 10).clamp(MARGIN.0, MARGIN.1);
        let taken = self.used_bytes + self.mapped_bytes + margin;
        let left = self.limit_bytes.saturating_sub(taken);
        let least = LEAST_REQUESTS * INSTANCE_BASE_BYTES as u64;
        let fits = wanted_copy_bytes <= left / 4 && (left - wanted_copy_bytes) / 4 >= least;
        let copy_bytes = if fits { wanted_copy_bytes } else { 0 };
        let left = left - copy_bytes;
        let request_bytes = left / 4;
        ensure!(
            request_bytes >= least,
            "the memory limit of {} MiB is too low for this model: {} MiB are in use, {} MiB are the model's file, {} MiB are kept \
             free, and {} MiB are left, where at least {} MiB are needed. Raise the limit (memory.max of the cgroup, \
             resources.limits.memory of the pod) or serve a smaller model",
            mib(self.limit_bytes),
            mib(self.used_bytes),
            mib(self.mapped_bytes),
            mib(margin),
            mib(left),
            mib(4 * least),
        );
        let admission_bytes = left / 16;
        Ok(MemoryBudget {
            kv_bytes: left - request_bytes - admission_bytes,
            request_bytes,
            admission_bytes,
            copy_bytes,
        })
    }
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn half_a_gigabyte(mapped_bytes: u64) -> MemoryState {
        MemoryState {
            limit_bytes: 512 * MIB,
            used_bytes: 30 * MIB,
            mapped_bytes,
        }
    }

    #[test]
    fn what_is_left_is_shared_out_and_no_more() {
        let state = half_a_gigabyte(10 * MIB);
        let budget = state.share(0).unwrap();
        let margin = 512 * MIB / 10;
        assert_eq!(
            budget.kv_bytes + budget.request_bytes + budget.admission_bytes,
            512 * MIB - 40 * MIB - margin
        );
        assert!(budget.kv_bytes > 280 * MIB && budget.request_bytes > 100 * MIB);
        assert_eq!(budget.copy_bytes, 0);
    }

    #[test]
    fn copies_are_granted_whole_or_not_at_all() {
        let state = half_a_gigabyte(10 * MIB);
        let without = state.share(0).unwrap();
        let with = state.share(50 * MIB).unwrap();
        assert_eq!(with.copy_bytes, 50 * MIB);
        let sum = |budget: MemoryBudget| {
            budget.kv_bytes + budget.request_bytes + budget.admission_bytes + budget.copy_bytes
        };
        assert_eq!(sum(with), sum(without));
        assert_eq!(state.share(133 * MIB).unwrap(), without);
        assert_eq!(state.share(u64::MAX).unwrap(), without);
    }

    #[test]
    fn a_limit_that_is_too_low_is_refused_with_the_figures() {
        let state = half_a_gigabyte(600 * MIB);
        let message = state.share(0).unwrap_err().to_string();
        for part in [
            "512 MiB is too low",
            "600 MiB are the model's",
            "0 MiB are left",
            "memory.max",
        ] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn this_machine_has_room() {
        assert!(
            MemoryState::now(&Cgroup::of_this_process(), 0)
                .share(0)
                .is_ok()
        );
    }
}
