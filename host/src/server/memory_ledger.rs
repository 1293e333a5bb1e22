//! Memory that is taken and given back by count. Who finds too little waits in one of two lines,
//! and the second moves only while nobody stands in the first.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

/// The line to wait in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Line {
    First,
    Second,
}

/// See the module.
pub(super) struct Ledger(Mutex<State>);

struct State {
    free: usize,
    lines: [VecDeque<Waiter>; 2],
}

struct Waiter {
    units: usize,
    grant: oneshot::Sender<Units>,
}

/// So much memory, given back when this is dropped.
pub(super) struct Units {
    ledger: Arc<Ledger>,
    count: usize,
}

/// A place in a line, left when this is dropped. Ready with the memory, once.
pub(super) struct Waiting {
    ledger: Arc<Ledger>,
    granted: oneshot::Receiver<Units>,
}

impl Ledger {
    pub(super) fn new(units: usize) -> Arc<Self> {
        Arc::new(Ledger(Mutex::new(State {
            free: units,
            lines: [VecDeque::new(), VecDeque::new()],
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Units that nobody has.
    pub(super) fn free(&self) -> usize {
        self.state().free
    }

    /// A place at the line's end, and at once a grant where nobody is ahead and there is enough.
    pub(super) fn line_up(self: &Arc<Self>, units: usize, line: Line) -> Waiting {
        let (grant, granted) = oneshot::channel();
        let mut state = self.state();
        state.lines[line as usize].push_back(Waiter { units, grant });
        self.serve(&mut state);
        Waiting {
            ledger: Arc::clone(self),
            granted,
        }
    }

    /// Give those in front what they wait for, as far as it reaches.
    fn serve(self: &Arc<Self>, state: &mut State) {
        let State { free, lines } = state;
        for line in lines {
            while let Some(first) = line.front() {
                let gone = first.grant.is_closed();
                if !gone && first.units > *free {
                    // The second line does not take what the first waits for.
                    return;
                }
                let Some(first) = line.pop_front() else {
                    break;
                };
                if gone {
                    continue;
                }
                *free -= first.units;
                let units = Units {
                    ledger: Arc::clone(self),
                    count: first.units,
                };
                if let Err(mut units) = first.grant.send(units) {
                    // It left meanwhile. Dropping what it was sent would lock the ledger again.
                    *free += std::mem::take(&mut units.count);
                }
            }
        }
    }
}

impl Units {
    /// Have both.
    pub(super) fn merge(&mut self, mut more: Units) {
        self.count += std::mem::take(&mut more.count);
    }
}

impl Drop for Units {
    fn drop(&mut self) {
        if self.count > 0 {
            let mut state = self.ledger.state();
            state.free += self.count;
            self.ledger.serve(&mut state);
        }
    }
}

impl Future for Waiting {
    type Output = Units;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Units> {
        match Pin::new(&mut self.granted).poll(cx) {
            Poll::Ready(Ok(units)) => Poll::Ready(units),
            // A sender that is gone has sent: polled after it was ready.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.granted.close();
        // Given back before the lock is taken for those behind.
        drop(self.granted.try_recv());
        self.ledger.serve(&mut self.ledger.state());
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn poll(waiting: &mut Waiting) -> Option<Units> {
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(waiting).poll(&mut cx) {
            Poll::Ready(units) => Some(units),
            Poll::Pending => None,
        }
    }

    #[test]
    fn the_first_line_goes_ahead_and_each_line_in_its_order() {
        let ledger = Ledger::new(4);
        let all = poll(&mut ledger.line_up(4, Line::Second)).unwrap();
        let mut second = ledger.line_up(1, Line::Second);
        let mut large = ledger.line_up(3, Line::First);
        let mut small = ledger.line_up(1, Line::First);
        assert!(poll(&mut small).is_none() && poll(&mut second).is_none());
        drop(all);
        let large = poll(&mut large).unwrap();
        let small = poll(&mut small).unwrap();
        assert!(poll(&mut second).is_none());
        drop(small);
        assert!(poll(&mut second).is_some());
        drop(large);
        drop(second);
        assert_eq!(ledger.free(), 4);
    }

    #[test]
    fn the_second_line_does_not_take_what_the_first_waits_for() {
        let ledger = Ledger::new(4);
        let most = poll(&mut ledger.line_up(3, Line::First)).unwrap();
        let mut waits = ledger.line_up(2, Line::First);
        let mut second = ledger.line_up(1, Line::Second);
        assert!(poll(&mut waits).is_none() && poll(&mut second).is_none());
        // Who leaves lets those behind go on.
        drop(waits);
        assert!(poll(&mut second).is_some());
        drop((most, second));
        assert_eq!(ledger.free(), 4);
    }

    #[test]
    fn what_was_granted_and_not_taken_comes_back_and_merged_units_all_do() {
        let ledger = Ledger::new(4);
        drop(ledger.line_up(4, Line::First));
        assert_eq!(ledger.free(), 4);
        let mut units = poll(&mut ledger.line_up(1, Line::First)).unwrap();
        units.merge(poll(&mut ledger.line_up(2, Line::Second)).unwrap());
        assert_eq!(ledger.free(), 1);
        drop(units);
        assert_eq!(ledger.free(), 4);
    }
}
