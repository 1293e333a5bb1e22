//! The machine as far as models are concerned: instruction set, threads, memory.

use anyhow::Context;
use sterna_engine::{bench, team};
use sterna_kernels::Isa;

use crate::cgroup::Cgroup;
use crate::process;

/// What computes, and where.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The instruction set.
    pub isa: Isa,
    /// Threads that compute.
    pub threads: usize,
    /// The control groups.
    pub cgroup: Cgroup,
}

/// Bytes of the buffer that reading is measured with: beyond the last level of cache of most.
const MEASURED_BYTES: u64 = 256 << 20;
/// The share of the memory that the buffer may take.
const SHARE: u64 = 8;
/// Rounds of that measurement.
const ROUNDS: usize = 3;

impl Machine {
    /// With this instruction set and so many threads, or as many as the process may use.
    #[must_use]
    pub fn of(isa: Isa, threads: Option<u16>) -> Self {
        Machine {
            isa,
            threads: threads.map_or_else(team::default_threads, usize::from),
            cgroup: Cgroup::of_this_process(),
        }
    }

    /// Bytes that the process may have: the control group's limit, or the machine's memory.
    #[must_use]
    pub fn memory_bytes(&self) -> Option<u64> {
        let machine = process::machine_memory().map(|memory| memory.total_bytes);
        let group = self.cgroup.memory_limit();
        [machine, group].into_iter().flatten().min()
    }

    /// 1e9 bytes a second that its threads read together: the fastest of a few rounds.
    ///
    /// # Errors
    /// Threads or memory cannot be had.
    pub fn read_gb_per_s(&self) -> anyhow::Result<f64> {
        let most = self.memory_bytes().unwrap_or(u64::MAX) / SHARE;
        let bytes = usize::try_from(MEASURED_BYTES.min(most)).unwrap_or(usize::MAX);
        let read = bench::read_bandwidth(self.isa, self.threads, bytes, ROUNDS);
        Ok(read.context("cannot measure how fast memory is read")?.max)
    }
}
