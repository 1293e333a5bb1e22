//! Threads that take part in what one caller forks.
//!
//! A fork publishes a job and a count of unclaimed turns; whoever takes the count from `n` to
//! `n - 1` has claimed one turn. The caller claims too, and its join waits only for turns that were
//! claimed: a worker that is late, asleep or throttled is not waited for, since it has nothing.
//! That is also what makes a job on the caller's stack sound: a worker looks at the job only while
//! it holds a turn of it, and the caller stays until no turn is held.
//!
//! A turn is for any one task. Each thread takes those of a part of its own first, in the order of
//! memory, and then what others have not begun: so what a task asks for ahead of its end is the
//! beginning of its thread's next one.
//!
//! A worker without a turn spins as long as a pass goes on, but not for long, and then sleeps until
//! a fork wakes it. Waking costs the caller a system call and the worker a scheduler's decision, so
//! a pass that keeps its gaps short pays once. Outside passes workers sleep at once: an idle server
//! uses no CPU.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// The time a worker spins for the next fork of a pass. Not tuned, nor is the next.
const SPIN: Duration = Duration::from_micros(200);
/// The time a caller spins for the last claimed turns.
const JOIN_SPIN: Duration = Duration::from_micros(50);
/// Spins between two looks at the clock: some microseconds.
const SPINS: u32 = 64;

/// The threads beside the caller; dropping it ends them.
pub(super) struct Crew {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

/// A value on cache lines of its own, so that who spins on it is not disturbed by its neighbours.
#[repr(align(128))]
struct Apart<T>(T);

struct Shared {
    /// Turns that nobody has claimed. Below zero where several found nothing at once.
    unclaimed: Apart<AtomicIsize>,
    /// Turns that are not done, claimed or not.
    unfinished: Apart<AtomicUsize>,
    /// The job of the turns. Points to a live job as long as a turn is claimed and not done.
    job: AtomicPtr<Job<'static>>,
    /// For the caller and each worker the next task of its part. Beyond the part's end where there
    /// is none left.
    next: Vec<Apart<AtomicUsize>>,
    /// A fork goes on; there is one at a time.
    busy: Apart<AtomicBool>,
    /// Passes that go on.
    passes: AtomicUsize,
    stop: AtomicBool,
    /// Which workers sleep, or are about to. Who turns it off wakes that worker.
    asleep: Vec<AtomicBool>,
}

/// The job of a fork, on the caller's stack.
struct Job<'a> {
    /// Does one task, for the caller (0) or a worker (1 and up), and does not panic.
    turn: &'a (dyn Fn(usize) + Sync),
    /// Whom to wake when the last turn is done.
    caller: Thread,
}

impl Crew {
    /// Start `n` threads.
    ///
    /// # Errors
    /// The system's, where it refuses one; those already started end.
    pub(super) fn new(n: usize) -> std::io::Result<Crew> {
        let mut crew = Crew {
            shared: Arc::new(Shared {
                unclaimed: Apart(AtomicIsize::new(0)),
                unfinished: Apart(AtomicUsize::new(0)),
                job: AtomicPtr::default(),
                next: (0..=n).map(|_| Apart(AtomicUsize::new(0))).collect(),
                busy: Apart(AtomicBool::new(false)),
                passes: AtomicUsize::new(0),
                stop: AtomicBool::new(false),
                asleep: (0..n).map(|_| AtomicBool::new(false)).collect(),
            }),
            workers: Vec::with_capacity(n),
        };
        for index in 0..n {
            let shared = crew.shared.clone();
            let worker = thread::Builder::new()
                .name(format!("sterna-compute-{index}"))
                .spawn(move || shared.serve(index))?;
            crew.workers.push(worker);
        }
        Ok(crew)
    }

    /// Keep workers awake between forks while `work` runs.
    pub(super) fn pass<R>(&self, work: impl FnOnce() -> R) -> R {
        struct Ends<'a>(&'a AtomicUsize);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let passes = &self.shared.passes;
        passes.fetch_add(1, Ordering::Relaxed);
        let _ends = Ends(passes);
        work()
    }

    /// Do every task, with the workers unless these are busy: with another caller, or with the task
    /// that calls this. If tasks panic, the others are done all the same, and then the first panic
    /// goes on here.
    pub(super) fn for_each<T: Send>(&self, tasks: Vec<T>, task: impl Fn(T) + Sync) {
        if self.shared.busy.0.swap(true, Ordering::Acquire) {
            return tasks.into_iter().for_each(task);
        }
        let n = tasks.len();
        let tasks: Vec<Mutex<Option<T>>> = tasks
            .into_iter()
            .map(|task| Mutex::new(Some(task)))
            .collect();
        let panics = Mutex::new(Vec::new());
        let turn = |member: usize| {
            // There are as many turns as tasks, so each finds one.
            let task_of_turn = self.shared.next_task(member, n);
            let taken = task_of_turn.and_then(|at| take(&tasks[at], Option::take));
            let Some(taken) = taken else { return };
            // After a panic nothing is looked at that the task may have left half done, save by who
            // catches it here.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| task(taken))) {
                take(&panics, |panics| panics.push(panic));
            }
        };
        self.fork(n, &turn);
        self.shared.busy.0.store(false, Ordering::Release);
        let panics = panics.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(panic) = panics.into_iter().next() {
            resume_unwind(panic);
        }
    }

    /// Do `n` turns on whoever comes; back when all are done. Needs `busy`.
    fn fork(&self, n: usize, turn: &(dyn Fn(usize) + Sync)) {
        let shared = &*self.shared;
        let job = Job {
            turn,
            caller: thread::current(),
        };
        let pointer = (&raw const job).cast_mut().cast::<Job<'static>>();
        shared.job.store(pointer, Ordering::Relaxed);
        shared.unfinished.0.store(n, Ordering::Relaxed);
        for (member, next) in shared.next.iter().enumerate() {
            next.0
                .store(shared.part(member, n).start, Ordering::Relaxed);
        }
        // Release, for what the job refers to; and in one order with `asleep`, so that no worker
        // falls asleep unseen.
        let unclaimed = isize::try_from(n).unwrap_or(isize::MAX);
        shared.unclaimed.0.store(unclaimed, Ordering::SeqCst);
        self.wake(n - 1);
        let mut done = 0;
        while shared.claim() {
            turn(0);
            done += 1;
        }
        shared.unfinished.0.fetch_sub(done, Ordering::Relaxed);
        let finished = || shared.unfinished.0.load(Ordering::Acquire) == 0;
        if !spin(JOIN_SPIN, finished) {
            // Whoever does the last turn unparks; a wake-up may also be left from an earlier join.
            while !finished() {
                thread::park();
            }
        }
    }

    /// Wake up to `most` of those that sleep.
    fn wake(&self, most: usize) {
        let mut left = most;
        for (asleep, worker) in self.shared.asleep.iter().zip(&self.workers) {
            if left == 0 {
                return;
            }
            // Looked at first: a swap would take the line away from whoever is awake.
            if asleep.load(Ordering::SeqCst) && asleep.swap(false, Ordering::SeqCst) {
                worker.thread().unpark();
                left -= 1;
            }
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.wake(self.workers.len());
        for worker in self.workers.drain(..) {
            // A worker that has panicked has nothing left to end.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// Claims a turn, if there is one left.
    fn claim(&self) -> bool {
        let unclaimed = &self.unclaimed.0;
        unclaimed.load(Ordering::Relaxed) > 0 && unclaimed.fetch_sub(1, Ordering::Acquire) > 0
    }

    /// The tasks among `n` that are first the caller's (0) or a worker's (1 and up).
    fn part(&self, member: usize, n: usize) -> Range<usize> {
        let members = self.next.len();
        member * n / members..(member + 1) * n / members
    }

    /// A task among `n` that nobody has taken, for who holds a turn: of the member's own part, else
    /// of those behind it, all the way round.
    fn next_task(&self, member: usize, n: usize) -> Option<usize> {
        let members = self.next.len();
        (0..members).find_map(|i| {
            let of = (member + i) % members;
            let (next, end) = (&self.next[of].0, self.part(of, n).end);
            // Looked at first, or many that find nothing would count ever further.
            if next.load(Ordering::Relaxed) >= end {
                return None;
            }
            Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&at| at < end)
        })
    }

    /// The life of worker `index`.
    fn serve(&self, index: usize) {
        while !self.stop.load(Ordering::SeqCst) {
            if self.claim() {
                self.work(index + 1);
            } else if !self.comes_soon() {
                self.sleep(&self.asleep[index]);
            }
        }
    }

    /// Do the turn that was claimed, and further ones of the job.
    fn work(&self, member: usize) {
        let job = self.job.load(Ordering::Relaxed);
        // SAFETY: a turn is held from `claim` to the `fetch_sub` below. Its `Acquire` makes the
        // fork that published the turn visible, job included; that fork's caller keeps the job on
        // its stack until `unfinished` is 0, and no other fork begins before. What is claimed
        // meanwhile is of the same job for that reason.
        let (turn, caller) = unsafe { ((*job).turn, (*job).caller.clone()) };
        turn(member);
        let mut done = 1;
        while self.claim() {
            turn(member);
            done += 1;
        }
        if self.unfinished.0.fetch_sub(done, Ordering::Release) == done {
            caller.unpark();
        }
    }

    /// Wait awake for a turn; false where none came in time, or the pass has ended.
    fn comes_soon(&self) -> bool {
        let over = || self.passes.load(Ordering::Relaxed) == 0;
        let there = || self.unclaimed.0.load(Ordering::Relaxed) > 0;
        spin(SPIN, || there() || over()) && !over()
    }

    /// Sleep until woken, unless there is a turn to claim.
    fn sleep(&self, asleep: &AtomicBool) {
        asleep.store(true, Ordering::SeqCst);
        // A fork that came before the line above has not seen it: its turns are seen here.
        if self.unclaimed.0.load(Ordering::SeqCst) > 0 || self.stop.load(Ordering::SeqCst) {
            asleep.store(false, Ordering::SeqCst);
            return;
        }
        while asleep.load(Ordering::SeqCst) {
            thread::park();
        }
    }
}

/// Wait awake until `comes`, at most about `longest`. Whether it came.
fn spin(longest: Duration, mut comes: impl FnMut() -> bool) -> bool {
    let mut since = None;
    loop {
        for _ in 0..SPINS {
            if comes() {
                return true;
            }
            std::hint::spin_loop();
        }
        if since.get_or_insert_with(Instant::now).elapsed() >= longest {
            return false;
        }
    }
}

/// Something out of a mutex that is never held while other code runs.
fn take<T, R>(mutex: &Mutex<T>, from: impl FnOnce(&mut T) -> R) -> R {
    from(&mut mutex.lock().unwrap_or_else(PoisonError::into_inner))
}
