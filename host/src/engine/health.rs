//! The state of the engine's thread, for probes, which must not wait for it.
//!
//! A step without an end (a fault of ours, or of what somebody baked) stops no other thread, so
//! nothing but a clock tells: the engine's thread says when it begins a call and how long that may
//! take. What fails again and again is started anew, but ever later, and is not ready meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The time after its limit at which a call counts as stuck: a baked engine is interrupted at the
/// limit, and starts anew.
const GRACE: Duration = Duration::from_secs(10);
/// The first pause before a start, after the second failure in a row; each further one is twice as
/// long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The engine's state, as a probe reports it; the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EngineState {
    /// It works, or waits for work.
    Well,
    /// It failed several times in a row and is started anew after a pause.
    Resting,
    /// It has not come back from a call for longer than any call takes.
    Stuck,
    /// It does not start again.
    Stopped,
}

/// The engine's thread as others see it.
#[derive(Debug)]
pub(crate) struct EngineHealth {
    created: Instant,
    /// When the call that goes on is stuck, in milliseconds after `created`; 0 where none goes on.
    stuck_at_ms: AtomicU64,
    resting: AtomicBool,
    stopped: AtomicBool,
    reported: AtomicBool,
}

/// A call of the engine goes on.
#[derive(Debug)]
pub(crate) struct Busy<'a>(&'a AtomicU64);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.store(0, Relaxed);
    }
}

impl EngineHealth {
    pub(crate) fn new() -> Self {
        EngineHealth {
            created: Instant::now(),
            stuck_at_ms: AtomicU64::new(0),
            resting: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            reported: AtomicBool::new(false),
        }
    }

    /// A call begins that takes `limit` at most. It ends when the guard is dropped.
    pub(crate) fn busy(&self, limit: Duration) -> Busy<'_> {
        let stuck = (self.created.elapsed() + limit + GRACE).as_millis();
        let stuck = u64::try_from(stuck).unwrap_or(u64::MAX);
        self.stuck_at_ms.store(stuck.max(1), Relaxed);
        Busy(&self.stuck_at_ms)
    }

    /// It waits before it is started anew, or no longer.
    pub(crate) fn rest(&self, rests: bool) {
        self.resting.store(rests, Relaxed);
    }

    /// It does not start again.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Relaxed);
    }

    /// The present state.
    pub(crate) fn state(&self) -> EngineState {
        self.state_after(self.created.elapsed())
    }

    fn state_after(&self, elapsed: Duration) -> EngineState {
        let stuck_at = self.stuck_at_ms.load(Relaxed);
        if self.stopped.load(Relaxed) {
            EngineState::Stopped
        } else if stuck_at > 0 && elapsed.as_millis() > stuck_at.into() {
            if !self.reported.swap(true, Relaxed) {
                tracing::error!(
                    "the engine has not come back from a call for longer than any takes (--step-timeout or STERNA_STEP_TIMEOUT \
                     allows more): /livez says so"
                );
            }
            EngineState::Stuck
        } else if self.resting.load(Relaxed) {
            EngineState::Resting
        } else {
            EngineState::Well
        }
    }
}

/// Failures in a row.
#[derive(Debug, Default)]
pub(crate) struct Failures(u32);

impl Failures {
    /// Something went well.
    pub(crate) fn forget(&mut self) {
        self.0 = 0;
    }

    /// It failed: how long to wait before it is started anew. Not at all after the first failure,
    /// which may be one request's.
    pub(crate) fn pause(&mut self) -> Duration {
        let before = self.0;
        self.0 = before.saturating_add(1);
        match before.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => FIRST_PAUSE
                .saturating_mul(1 << doublings.min(16))
                .min(LONGEST_PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_stuck_some_time_after_its_limit() {
        let health = EngineHealth::new();
        let limit = Duration::from_secs(100);
        let at = |seconds| health.state_after(Duration::from_secs(seconds));
        assert_eq!(at(1_000_000), EngineState::Well, "nothing to do");
        let busy = health.busy(limit);
        assert_eq!(at(109), EngineState::Well);
        assert_eq!(at(10_000), EngineState::Stuck);
        drop(busy);
        assert_eq!(at(10_000), EngineState::Well);
        health.rest(true);
        assert_eq!(at(0), EngineState::Resting);
        health.rest(false);
        health.stop();
        assert_eq!(at(0), EngineState::Stopped);
    }

    #[test]
    fn pauses_grow_until_something_goes_well() {
        let mut failures = Failures::default();
        let mut pauses = || failures.pause().as_millis();
        assert_eq!([pauses(), pauses(), pauses()], [0, 250, 500]);
        let last = (0..100).map(|_| failures.pause()).last();
        assert_eq!(last, Some(LONGEST_PAUSE));
        failures.forget();
        assert_eq!(failures.pause(), Duration::ZERO);
    }
}
