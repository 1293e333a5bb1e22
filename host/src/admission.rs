//! Checks, renders and tokenises requests before the engine's thread sees them: on few threads of
//! low priority, so that what is sent never stalls what is running.
//!
//! Everything is bounded. Who is inside counts towards the queue's limit, and is asked to come back
//! where that is reached. Memory is promised before it is used, from a share of its own. What waits
//! for its turn waits in the caller's task and ends with it; what has begun ends soon, because the
//! work follows from the context and not from what was sent.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use sterna_engine::error::EngineError;
use sterna_engine::request::{EngineStats, Prompt};
use sterna_engine::scheduler::PromptSize;
use tokio::sync::{Semaphore, oneshot};

use crate::engine::driven::Answered;
use crate::low_priority;

/// One thread for so many that compute, and no more than [`MOST_THREADS`].
const ENGINE_THREADS: usize = 4;
const MOST_THREADS: usize = 4;

/// Bytes that a piece of work takes whatever it is about, in a sandbox too.
const BASE_BYTES: usize = 512 << 10;

/// Bytes for each byte of a prompt: its guarded form, the rendered one, the template's own copies,
/// the normal form.
const BYTES_PER_BYTE: usize = 8;

/// Bytes for each byte that is merged: symbols, nodes and heap of one long word
/// (`tokenizer/bpe.rs`), and ids.
const BYTES_PER_MERGED_BYTE: usize = 40;

/// A semaphore counts in `u32`; 64 KiB each reaches 256 TiB.
const UNIT_BYTES: usize = 64 << 10;

type Job = Box<dyn FnOnce() + Send>;

/// The threads, and what they may use.
pub struct Admission {
    jobs: Sender<Job>,
    /// As many as there are threads.
    turns: Arc<Semaphore>,
    memory: AdmissionMemory,
    inside: AtomicUsize,
    /// Requests the engine has, queued or running.
    in_engine: AtomicUsize,
    /// Requests there may be, inside or in the engine.
    most: usize,
    retry_after_ms: AtomicU32,
}

/// The memory for all the work at a time. Clones share it.
#[derive(Clone)]
pub struct AdmissionMemory {
    free: Arc<Semaphore>,
    units: usize,
}

impl AdmissionMemory {
    /// So many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes / UNIT_BYTES as u64).unwrap_or(usize::MAX);
        let units = units.min(Semaphore::MAX_PERMITS);
        AdmissionMemory {
            free: Arc::new(Semaphore::new(units)),
            units,
        }
    }
}

/// One who is inside, until it is dropped.
pub struct Place(Arc<Admission>);

impl Admission {
    /// For an engine that computes on `engine_threads` threads and takes `most` requests, queued
    /// and running; with this memory for all the work at a time.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        engine_threads: usize,
        most: usize,
        memory: AdmissionMemory,
    ) -> anyhow::Result<Self> {
        let threads = (engine_threads / ENGINE_THREADS).clamp(1, MOST_THREADS);
        let (jobs, inbox) = channel();
        let inbox = Arc::new(Mutex::new(inbox));
        for _ in 0..threads {
            let inbox = Arc::clone(&inbox);
            std::thread::Builder::new()
                .name("admission".into())
                .spawn(move || work(&inbox))?;
        }
        Ok(Admission {
            jobs,
            turns: Arc::new(Semaphore::new(threads)),
            memory,
            inside: AtomicUsize::new(0),
            in_engine: AtomicUsize::new(0),
            most,
            retry_after_ms: AtomicU32::new(100),
        })
    }

    /// Come in.
    ///
    /// # Errors
    /// `Overloaded`: as many requests are inside or in the engine as may be.
    pub fn enter(self: &Arc<Self>) -> Result<Place, EngineError> {
        let room = self.most.saturating_sub(self.in_engine.load(SeqCst));
        let entered = self.inside.fetch_update(SeqCst, SeqCst, |inside| {
            (inside < room).then_some(inside + 1)
        });
        match entered {
            Ok(_) => Ok(Place(Arc::clone(self))),
            Err(_) => Err(EngineError::Overloaded {
                retry_after_ms: self.retry_after_ms.load(SeqCst),
            }),
        }
    }

    /// The engine's present state. Called after whoever it has taken left its place: so nobody is
    /// counted twice, and who is counted too little for a moment meets the engine's own limit.
    pub fn follow(&self, stats: &EngineStats) {
        self.in_engine.store(stats.queued + stats.running, SeqCst);
        self.retry_after_ms.store(stats.retry_after_ms, SeqCst);
    }

    /// Do the work on one of the threads, once there is a turn and `bytes` of memory for it.
    ///
    /// # Errors
    /// `InvalidRequest` where there is never so much memory; the work's own; `Internal` where it
    /// fails.
    pub async fn work<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> Answered<T> + Send + 'static,
    ) -> Result<T, EngineError> {
        let units = bytes.div_ceil(UNIT_BYTES);
        let wanted = u32::try_from(units)
            .ok()
            .filter(|_| units <= self.memory.units);
        let Some(wanted) = wanted else {
            return Err(self.too_large(bytes));
        };
        // In this order: what waits for memory keeps no thread from the others.
        let memory = Arc::clone(&self.memory.free)
            .acquire_many_owned(wanted)
            .await;
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let (reply, answer) = oneshot::channel();
        let job = move || {
            // Until the end of the work, also where nobody waits for it any more.
            let _held = (memory, turn);
            let answered = if reply.is_closed() { return } else { work() };
            let _ = reply.send(answered);
        };
        // The threads live as long as this does.
        let _ = self.jobs.send(Box::new(job));
        match answer.await {
            Ok(Ok(answered)) => answered,
            Ok(Err(error)) => {
                tracing::error!(error = format!("{error:#}"), "a request's check failed");
                Err(failed())
            }
            // It panicked; `work` has logged that.
            Err(_) => Err(failed()),
        }
    }

    fn too_large(&self, bytes: usize) -> EngineError {
        EngineError::InvalidRequest {
            field: "prompt".into(),
            message: format!(
                "may take {} MiB of memory to tokenise, and the server has {} MiB for that: shorten it, or raise the server's \
                 memory limit",
                bytes.div_ceil(1 << 20),
                (self.memory.units * UNIT_BYTES) >> 20,
            ),
        }
    }
}

/// Bytes of memory that admitting a prompt may take.
#[must_use]
pub fn prompt_bytes(size: &PromptSize, prompt: &Prompt) -> usize {
    let (all, merged) = size.bytes(prompt);
    memory_bytes(all, merged)
}

/// Bytes of memory that a question about texts of so many bytes may take, of which so many are
/// merged.
#[must_use]
pub fn memory_bytes(bytes: usize, merged: usize) -> usize {
    BASE_BYTES
        .saturating_add(bytes.saturating_mul(BYTES_PER_BYTE))
        .saturating_add(merged.saturating_mul(BYTES_PER_MERGED_BYTE))
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, SeqCst);
    }
}

/// The loop of a thread.
fn work(inbox: &Mutex<Receiver<Job>>) {
    low_priority::lower("checking requests");
    loop {
        // One thread waits in the channel, the others for the lock: it is held while nothing is
        // done.
        let job = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            tracing::error!("a request's check panicked");
        }
    }
}

fn failed() -> EngineError {
    EngineError::Internal("the request's check failed; see the server's log".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(most: usize, memory_bytes: u64) -> Arc<Admission> {
        Arc::new(Admission::start(1, most, AdmissionMemory::new(memory_bytes)).unwrap())
    }

    fn stats(queued: usize, running: usize) -> EngineStats {
        EngineStats {
            queued,
            running,
            retry_after_ms: 7,
            ..EngineStats::default()
        }
    }

    #[test]
    fn who_is_inside_and_who_is_in_the_engine_fill_one_limit() {
        let admission = admission(3, 0);
        admission.follow(&stats(1, 0));
        let places = (admission.enter().unwrap(), admission.enter().unwrap());
        let refused = admission.enter().err();
        assert_eq!(refused, Some(EngineError::Overloaded { retry_after_ms: 7 }));
        drop(places);
        admission.follow(&stats(1, 2));
        assert!(admission.enter().is_err());
        admission.follow(&stats(0, 2));
        assert!(admission.enter().is_ok());
    }

    #[tokio::test]
    async fn what_never_fits_the_memory_is_refused_with_the_figures() {
        let admission = admission(1, 2 << 20);
        assert_eq!(admission.work(2 << 20, || Ok(Ok(5))).await, Ok(5));
        let refused = admission.work((2 << 20) + 1, || Ok(Ok(5))).await;
        let message = refused.unwrap_err().to_string();
        assert!(
            message.contains("3 MiB") && message.contains("2 MiB"),
            "{message}"
        );
    }

    #[tokio::test]
    async fn work_that_fails_or_panics_is_an_error_and_the_thread_lives_on() {
        let admission = admission(1, 1 << 20);
        let failing = admission.work(1, || -> Answered<()> { anyhow::bail!("a trap") });
        assert_eq!(failing.await, Err(failed()));
        let panicking = admission.work(1, || -> Answered<()> { panic!("as a bug would") });
        assert_eq!(panicking.await, Err(failed()));
        assert_eq!(admission.work(1, || Ok(Ok(1))).await, Ok(1));
    }

    /// One thread, and memory for one: a second piece of work begins only once the first has ended,
    /// also where nobody waits for that any more.
    #[tokio::test]
    async fn work_that_has_begun_keeps_its_memory_until_it_ends() {
        let admission = admission(1, 1 << 20);
        let (begun, has_begun) = channel();
        let (end, may_end) = channel::<()>();
        let mut first = Box::pin(admission.work(1 << 20, move || {
            begun.send(()).unwrap();
            may_end.recv().unwrap();
            Ok(Ok(()))
        }));
        assert!(futures_poll(&mut first).is_pending());
        has_begun.recv().unwrap();
        drop(first);
        let mut second = Box::pin(admission.work(1, || Ok(Ok(2))));
        assert!(futures_poll(&mut second).is_pending());
        assert_eq!(admission.memory.free.available_permits(), 0);
        end.send(()).unwrap();
        assert_eq!(second.await, Ok(2));
    }

    fn futures_poll<F: Future + Unpin>(future: &mut F) -> std::task::Poll<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::Pin::new(future).poll(&mut context)
    }
}
