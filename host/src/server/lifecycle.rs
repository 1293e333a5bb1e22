//! Serving, draining, closing; and how many requests are being answered meanwhile.

use std::sync::Arc;

use tokio::sync::watch;

/// Where the server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Requests are answered.
    Serving,
    /// Running requests finish; new ones get 503.
    Draining,
    /// Nothing runs; connections close.
    Closing,
}

/// Shared by the listener and every connection.
pub(super) struct Lifecycle {
    phase: watch::Sender<Phase>,
    in_flight: watch::Sender<usize>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Lifecycle {
            phase: watch::Sender::new(Phase::Serving),
            in_flight: watch::Sender::new(0),
        }
    }
}

impl Lifecycle {
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Follow the phases.
    pub(super) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    pub(super) fn is_serving(&self) -> bool {
        *self.phase.borrow() == Phase::Serving
    }

    /// Requests whose answer is not finished.
    pub(super) fn in_flight(&self) -> usize {
        *self.in_flight.borrow()
    }

    /// Wait until no request is running.
    pub(super) async fn idle(&self) {
        // The sender is `self`, so the channel cannot close.
        let _ = self
            .in_flight
            .subscribe()
            .wait_for(|running| *running == 0)
            .await;
    }

    /// Count a request until the guard is dropped.
    pub(super) fn enter_request(self: &Arc<Self>) -> InFlight {
        self.in_flight.send_modify(|running| *running += 1);
        InFlight(Arc::clone(self))
    }
}

/// One running request.
pub(super) struct InFlight(Arc<Lifecycle>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.send_modify(|running| *running -= 1);
    }
}
