//! The threads that share a forward pass.
//!
//! With the feature `native` the caller and threads of the team's own (`crew`): one `run` per
//! forward pass, so that they stay awake inside it. Without it (wasm) everything runs on the
//! caller. Tasks are many and small, and each thread claims the next when it is done with one, so
//! that a thread the system has throttled delays a pass by one task, not by its share.

#[cfg(feature = "native")]
mod crew;

use crate::error::EngineError;

/// Below this many multiply-adds (2 us of the fastest kernels) a fork and join costs more than it
/// saves.
const MIN_PARALLEL_WORK: usize = 1 << 18;
/// Tasks per thread: enough to even out threads of unequal speed.
const TASKS_PER_THREAD: usize = 8;
/// Rows of a task are a multiple of this, so that kernels that take several rows at once are not
/// cut short.
const ROW_MULTIPLE: usize = 16;

/// A fixed number of threads, the caller among them; clones are the same ones.
#[derive(Clone)]
pub struct Team {
    #[cfg(feature = "native")]
    crew: Option<std::sync::Arc<crew::Crew>>,
    threads: usize,
}

impl Team {
    /// Start threads, so that there are `threads` with the caller (at least that one).
    ///
    /// # Errors
    /// `Unavailable` where the system refuses a thread.
    #[cfg(feature = "native")]
    pub fn new(threads: usize) -> Result<Team, EngineError> {
        let crew = if threads > 1 {
            let crew = crew::Crew::new(threads - 1).map_err(|error| {
                EngineError::Unavailable(format!("cannot start {threads} threads: {error}"))
            })?;
            Some(crew.into())
        } else {
            None
        };
        Ok(Team {
            crew,
            threads: threads.max(1),
        })
    }

    /// A team of the caller alone, whatever is asked: no threads here.
    ///
    /// # Errors
    /// None.
    #[cfg(not(feature = "native"))]
    pub fn new(_threads: usize) -> Result<Team, EngineError> {
        Ok(Team { threads: 1 })
    }

    /// The caller alone.
    #[must_use]
    pub fn of_caller() -> Team {
        Team {
            #[cfg(feature = "native")]
            crew: None,
            threads: 1,
        }
    }

    /// Threads that compute.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Run `work` here and keep the team awake meanwhile, so that each `for_each` inside it starts
    /// at once.
    pub fn run<R>(&self, work: impl FnOnce() -> R) -> R {
        #[cfg(feature = "native")]
        if let Some(crew) = &self.crew {
            return crew.pass(work);
        }
        work()
    }

    /// True if `work` multiply-adds are worth sharing.
    #[must_use]
    pub fn shares(&self, work: usize) -> bool {
        self.threads > 1 && work >= MIN_PARALLEL_WORK
    }

    /// The number of `count` equal parts that make one task, where `work` multiply-adds are to be
    /// done in all.
    #[must_use]
    pub fn per_task(&self, count: usize, work: usize) -> usize {
        if !self.shares(work) {
            return count.max(1);
        }
        count.div_ceil(self.threads * TASKS_PER_THREAD).max(1)
    }

    /// The same for rows of a matrix, `rows` in all.
    #[must_use]
    pub fn rows_per_task(&self, rows: usize, work: usize) -> usize {
        if !self.shares(work) {
            return rows.max(1);
        }
        self.per_task(rows, work).next_multiple_of(ROW_MULTIPLE)
    }

    /// Do every task, on all threads where `work` multiply-adds are worth it and they are free:
    /// another caller's tasks, or the task that calls this, may have them. Tasks must not depend on
    /// each other. Where one panics, so does this.
    pub fn for_each<T: Send>(&self, tasks: Vec<T>, work: usize, task: impl Fn(T) + Sync) {
        #[cfg(feature = "native")]
        if let Some(crew) = &self.crew
            && self.shares(work)
            && tasks.len() > 1
        {
            return crew.for_each(tasks, task);
        }
        let _ = work;
        tasks.into_iter().for_each(task);
    }
}

/// Threads to compute with where nobody says: the cores this process may run on. On Linux std's
/// `available_parallelism` heeds the affinity mask and the cgroup's CPU quota (v1 and v2, the whole
/// path up), so a container throttled to 2 of 64 cores gets 2.
#[must_use]
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests;
