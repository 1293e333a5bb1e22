//! The threads that share a forward pass.
//!
//! With the feature `native` a rayon pool: one `run` per forward pass, so that what is inside stays on
//! the pool's threads. Without it (wasm) everything runs on the caller. Tasks are many and small, and
//! each thread claims the next when it is done with one, so that a thread the system has throttled
//! delays a pass by one task, not by its share.

use crate::error::EngineError;

/// Below this many multiply-adds a fork and join (some microseconds) costs more than it saves.
const MIN_PARALLEL_WORK: usize = 1 << 20;
/// Tasks per thread: enough to even out threads of unequal speed.
const TASKS_PER_THREAD: usize = 4;
/// Rows of a task are a multiple of this, so that kernels that take several rows at once are not cut short.
const ROW_MULTIPLE: usize = 16;

/// A fixed number of threads; clones are the same ones.
#[derive(Clone)]
pub struct Team {
    #[cfg(feature = "native")]
    pool: Option<std::sync::Arc<rayon::ThreadPool>>,
    threads: usize,
}

impl Team {
    /// Start `threads` threads (none for 1: the caller computes).
    ///
    /// # Errors
    /// `Unavailable` where the system refuses a thread.
    #[cfg(feature = "native")]
    pub fn new(threads: usize) -> Result<Team, EngineError> {
        let pool = if threads > 1 {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .thread_name(|index| format!("sterna-compute-{index}"))
                .build()
                .map_err(|error| {
                    EngineError::Unavailable(format!("cannot start {threads} threads: {error}"))
                })?;
            Some(pool.into())
        } else {
            None
        };
        Ok(Team {
            pool,
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

    /// Threads that compute.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Run `work` on the pool, so that each `for_each` inside it starts without a hand-over.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        #[cfg(feature = "native")]
        if let Some(pool) = &self.pool {
            return pool.install(work);
        }
        work()
    }

    /// Whether `work` multiply-adds are worth sharing.
    #[must_use]
    pub fn shares(&self, work: usize) -> bool {
        self.threads > 1 && work >= MIN_PARALLEL_WORK
    }

    /// Rows per task for a matrix of `rows` rows, where `work` multiply-adds are to be done in all.
    #[must_use]
    pub fn rows_per_task(&self, rows: usize, work: usize) -> usize {
        if !self.shares(work) {
            return rows.max(1);
        }
        rows.div_ceil(self.threads * TASKS_PER_THREAD)
            .next_multiple_of(ROW_MULTIPLE)
    }

    /// Do every task, on all threads where `work` multiply-adds are worth it. Tasks must not depend on each other.
    pub fn for_each<T: Send>(&self, tasks: Vec<T>, work: usize, task: impl Fn(T) + Sync + Send) {
        #[cfg(feature = "native")]
        if self.shares(work) && tasks.len() > 1 {
            use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
            return tasks.into_par_iter().with_max_len(1).for_each(task);
        }
        let _ = work;
        tasks.into_iter().for_each(task);
    }
}

/// Threads to compute with where nobody says: the cores this process may run on. On Linux std's
/// `available_parallelism` heeds the affinity mask and the cgroup's CPU quota (v1 and v2, the whole path
/// up), so a container throttled to 2 of 64 cores gets 2.
#[must_use]
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_task_runs_once_shared_or_not() {
        for threads in [1, 2, 3] {
            let team = Team::new(threads).unwrap();
            for work in [0, usize::MAX] {
                let done: Vec<AtomicUsize> = (0..100).map(|_| AtomicUsize::new(0)).collect();
                team.run(|| {
                    team.for_each((0..100).collect(), work, |task: usize| {
                        done[task].fetch_add(1, Ordering::Relaxed);
                    });
                });
                assert!(done.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn small_matrices_are_one_task() {
        let team = Team::new(2).unwrap();
        assert_eq!(team.rows_per_task(768, 768 * 256), 768);
        if team.threads() == 2 {
            assert_eq!(team.rows_per_task(6912, 6912 * 2560), 864);
        }
    }
}
