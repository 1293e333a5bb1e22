//! The share of each pass that may go into work that later passes gain by.
//!
//! The work is done by the thread that computes, so a pass takes so much longer. It is given a
//! share of the time that passes take without it: what takes longer than its share, such as packing
//! a large matrix, is paid off by the passes after it.

use std::time::{Duration, Instant};

/// One part of so many of a pass's time. Much, for a short time: what is gained afterwards soon
/// makes up for it.
const SHARE: u32 = 4;
/// The least share, so that the work ends at all, however short the passes are.
const LEAST: Duration = Duration::from_micros(100);

/// The share of one sequence of passes.
#[derive(Default)]
pub(super) struct TimeShare {
    /// The time the work may take now.
    credit: Duration,
    /// The time it took beyond its share.
    debt: Duration,
    /// Of this pass: its start, when it was last heard of, and what the work took of that.
    pass: Option<(Instant, Instant)>,
    worked: Duration,
}

impl TimeShare {
    /// Another pass begins. What the last one did not use is not saved up.
    pub(super) fn begin(&mut self) {
        let now = Instant::now();
        let took = self.pass.map_or(Duration::ZERO, |(from, to)| to - from);
        self.grant(took.saturating_sub(self.worked));
        self.pass = Some((now, now));
        self.worked = Duration::ZERO;
    }

    /// The pass has come so far. What lies behind its last call, such as waiting for a request, is
    /// not the pass's.
    pub(super) fn goes_on(&mut self) {
        if let Some((_, last)) = &mut self.pass {
            *last = Instant::now();
        }
    }

    /// True if there is time for more work.
    pub(super) fn has_time(&self) -> bool {
        self.debt.is_zero() && !self.credit.is_zero()
    }

    /// Do some of it.
    pub(super) fn work<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        let result = work();
        self.spend(start.elapsed());
        result
    }

    /// The share of a pass that took so long.
    fn grant(&mut self, pass: Duration) {
        let share = (pass / SHARE).max(LEAST);
        self.credit = share.saturating_sub(self.debt);
        self.debt = self.debt.saturating_sub(share);
    }

    fn spend(&mut self, time: Duration) {
        self.worked += time;
        self.debt += time.saturating_sub(self.credit);
        self.credit = self.credit.saturating_sub(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn work_takes_its_share_of_the_passes() {
        let mut share = TimeShare::default();
        let mut worked = Duration::ZERO;
        for _ in 0..1000 {
            share.grant(32 * MS);
            while share.has_time() {
                // Longer than the share of a pass, 8 ms, and no multiple of it.
                share.spend(11 * MS);
                worked += 11 * MS;
            }
        }
        let share = 1000 * 32 * MS / SHARE;
        assert!(worked >= share && worked < share + 11 * MS, "{worked:?}");
    }

    #[test]
    fn passes_that_are_not_used_save_nothing_up() {
        let mut share = TimeShare::default();
        for _ in 0..10 {
            share.grant(32 * MS);
        }
        share.spend(32 * MS / SHARE);
        assert!(!share.has_time());
    }

    #[test]
    fn the_shortest_passes_have_a_share() {
        let mut share = TimeShare::default();
        assert!(!share.has_time(), "before the first");
        share.begin();
        assert!(share.has_time());
        share.work(|| std::thread::sleep(MS));
        assert!(!share.has_time());
        let paid = (0..1000).position(|_| {
            share.begin();
            share.has_time()
        });
        assert!(paid.is_some_and(|passes| passes >= 9), "{paid:?}");
    }
}
