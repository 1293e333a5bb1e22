//! Divides the memory this process may have before it is used, so that a limit is never met by
//! surprise: the kernel answers that with SIGKILL.
//!
//! The total is the cgroup's limit, the machine's memory or the address space of `ulimit -v`,
//! whichever leaves least; where nobody says how much there is, no limit is told. From it go what
//! is in use once the model is loaded, the model's mapped pages, and a margin for what nobody
//! counts (stacks, sockets, page tables, fragmentation). A quarter of the rest is for the instances
//! that answer requests, a sixteenth for checking and tokenising prompts, the rest of it for keys
//! and values.

use anyhow::ensure;

use crate::cgroup::Cgroup;
use crate::process::{self, MachineMemory};
use crate::resource_limits;
use crate::server::INSTANCE_BASE_BYTES;

/// The memory each part may take.
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

/// The limit that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryState {
    /// The source of the limit.
    pub limit: Limit,
    /// The limit itself.
    pub limit_bytes: u64,
    /// In use, and not to be had by dropping file pages.
    pub used_bytes: u64,
    /// Of the model, mapped from its file: to be kept, though the kernel may drop it.
    pub mapped_bytes: u64,
}

/// The sources of a memory limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The control group's limit.
    Cgroup,
    /// The machine has no more.
    Machine,
    /// `ulimit -v`, which counts addresses rather than memory.
    AddressSpace,
    /// Nobody says.
    Unknown,
}

impl Limit {
    fn remedy(self) -> &'static str {
        match self {
            Limit::Cgroup => {
                "Raise the limit (memory.max of the cgroup, resources.limits.memory of the pod) or serve a smaller \
                 model"
            }
            Limit::AddressSpace => {
                "It is one of address space (`ulimit -v`, LimitAS=): raise it or take it away; what limits memory is a \
                 cgroup"
            }
            Limit::Machine | Limit::Unknown => "Free some of it, or serve a smaller model",
        }
    }
}

/// An instance maps so many times what it is counted as: its stack, and room to grow.
const MAPPED_BY_COUNTED: u64 = 8;

/// A tenth of the limit for what nobody counts, within these bounds.
const MARGIN: (u64, u64) = (16 << 20, 1 << 30);

/// Requests that must be possible at the same time.
const LEAST_REQUESTS: u64 = 4;

impl MemoryState {
    /// Look, now that the model is loaded, with so much of it mapped from a file.
    #[must_use]
    pub fn now(cgroup: &Cgroup, mapped_bytes: u64) -> Self {
        let memory = Self::of_memory(cgroup, process::machine_memory(), mapped_bytes);
        let own = process::memory().resident_bytes;
        let addresses = resource_limits::address_space().map(|limit_bytes| MemoryState {
            limit: Limit::AddressSpace,
            limit_bytes,
            // The model's file is among them.
            used_bytes: process::address_space_bytes().unwrap_or(own),
            mapped_bytes: 0,
        });
        match addresses {
            Some(addresses) if addresses.left() < memory.left() => addresses,
            _ => memory,
        }
    }

    fn of_memory(cgroup: &Cgroup, machine: Option<MachineMemory>, mapped_bytes: u64) -> Self {
        let group = cgroup.memory_limit();
        let group =
            group.filter(|&limit| machine.is_none_or(|machine| limit < machine.total_bytes));
        match (group, machine) {
            (Some(limit_bytes), _) => {
                // The group's file pages are the model's, and counted as that.
                let group = cgroup.memory_anonymous_bytes().unwrap_or(0);
                MemoryState {
                    limit: Limit::Cgroup,
                    limit_bytes,
                    used_bytes: group.max(process::memory().anonymous_bytes),
                    mapped_bytes,
                }
            }
            (None, Some(machine)) => MemoryState {
                limit: Limit::Machine,
                limit_bytes: machine.total_bytes,
                used_bytes: machine.total_bytes.saturating_sub(machine.available_bytes),
                mapped_bytes,
            },
            (None, None) => MemoryState {
                limit: Limit::Unknown,
                // More than any machine has, and far from overflow.
                limit_bytes: 1 << 50,
                used_bytes: 0,
                mapped_bytes,
            },
        }
    }

    fn margin(&self) -> u64 {
        (self.limit_bytes / 10).clamp(MARGIN.0, MARGIN.1)
    }

    /// Share out what is left among requests and several models, which are loaded and unloaded
    /// later: the models' part, weights included, is called `kv_bytes`.
    ///
    /// # Errors
    /// As [`MemoryState::share`].
    pub fn share_among_models(&self) -> anyhow::Result<MemoryBudget> {
        let budget = self.share(0)?;
        // An eighth for requests: their number does not grow with that of models.
        let request_bytes = budget.request_bytes / 2;
        Ok(MemoryBudget {
            kv_bytes: budget.kv_bytes + budget.request_bytes - request_bytes,
            request_bytes,
            ..budget
        })
    }

    /// The memory that may be divided.
    fn left(&self) -> u64 {
        let taken = self.used_bytes + self.mapped_bytes + self.margin();
        self.limit_bytes.saturating_sub(taken)
    }

    /// Share out what is left. Of `wanted_copy_bytes` for copies of weights, which only make the
    /// engine faster, all are granted if they take a quarter at most and leave enough, else none.
    ///
    /// # Errors
    /// Too little is left to answer anything; the message says what takes how much.
    pub fn share(&self, wanted_copy_bytes: u64) -> anyhow::Result<MemoryBudget> {
        let left = self.left();
        let by_counted = match self.limit {
            Limit::AddressSpace => MAPPED_BY_COUNTED,
            _ => 1,
        };
        let least = LEAST_REQUESTS * INSTANCE_BASE_BYTES as u64 * by_counted;
        let fits = wanted_copy_bytes <= left / 4 && (left - wanted_copy_bytes) / 4 >= least;
        let copy_bytes = if fits { wanted_copy_bytes } else { 0 };
        let left = left - copy_bytes;
        let request_bytes = left / 4;
        ensure!(
            request_bytes >= least,
            "the memory limit of {} MiB is too low for this model: {} MiB are in use, {} MiB are the model's file, {} MiB are kept \
             free, and {} MiB are left, where at least {} MiB are needed. {}",
            mib(self.limit_bytes),
            mib(self.used_bytes),
            mib(self.mapped_bytes),
            mib(self.margin()),
            mib(left),
            mib(4 * least),
            self.limit.remedy(),
        );
        let admission_bytes = left / 16;
        Ok(MemoryBudget {
            kv_bytes: left - request_bytes - admission_bytes,
            request_bytes: request_bytes / by_counted,
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
            limit: Limit::Cgroup,
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
    fn several_models_get_what_requests_do_not() {
        let state = half_a_gigabyte(0);
        let (one, several) = (state.share(0).unwrap(), state.share_among_models().unwrap());
        let sum = |it: MemoryBudget| it.kv_bytes + it.request_bytes + it.admission_bytes;
        assert_eq!(sum(one), sum(several));
        assert!(several.kv_bytes > 330 * MIB && several.request_bytes > 50 * MIB);
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
    fn who_limits_is_told_what_to_do() {
        for (limit, part) in [
            (Limit::Cgroup, "resources.limits.memory"),
            (Limit::AddressSpace, "ulimit -v"),
            (Limit::Machine, "smaller model"),
        ] {
            let state = MemoryState {
                limit,
                ..half_a_gigabyte(600 * MIB)
            };
            let message = state.share(0).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn unknown_memory_is_no_limit() {
        let state = MemoryState::of_memory(&Cgroup::default(), None, 600 * MIB);
        assert_eq!(state.limit, Limit::Unknown);
        let budget = state.share(100 * MIB).unwrap();
        assert!(budget.kv_bytes > 1 << 40 && budget.copy_bytes == 100 * MIB);
    }

    #[test]
    fn addresses_are_counted_as_an_instance_maps_them() {
        let memory = half_a_gigabyte(0);
        let addresses = MemoryState {
            limit: Limit::AddressSpace,
            ..memory
        };
        let (memory, addresses) = (memory.share(0).unwrap(), addresses.share(0).unwrap());
        assert_eq!(addresses.request_bytes, memory.request_bytes / 8);
        assert_eq!(addresses.kv_bytes, memory.kv_bytes);
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
