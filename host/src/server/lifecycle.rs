//! Loading, serving, draining, closing; and how many requests are being answered meanwhile.

use std::sync::Arc;

use tokio::sync::watch;

/// The phase of the server's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The model is not there yet; probes are answered, requests get 503.
    Loading,
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
            phase: watch::Sender::new(Phase::Loading),
            in_flight: watch::Sender::new(0),
        }
    }
}

impl Lifecycle {
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// The model is there. False where the server has been told to stop meanwhile.
    pub(super) fn loaded(&self) -> bool {
        self.phase.send_if_modified(|phase| {
            let loading = *phase == Phase::Loading;
            if loading {
                *phase = Phase::Serving;
            }
            loading
        })
    }

    /// Follow the phases.
    pub(super) fn follow(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
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

    /// Count a request until the guard is dropped; refuse it in any phase but `Serving`.
    pub(super) fn enter_request(self: &Arc<Self>) -> Result<InFlight, Phase> {
        // Counted first: whoever sees the phase change and then nobody in flight may close.
        self.in_flight.send_modify(|running| *running += 1);
        let guard = InFlight(Arc::clone(self));
        match self.phase() {
            Phase::Serving => Ok(guard),
            phase => Err(phase),
        }
    }
}

/// One running request.
pub(super) struct InFlight(Arc<Lifecycle>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.send_modify(|running| *running -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_taken_while_serving_and_counted_until_they_end() {
        let lifecycle = Arc::new(Lifecycle::default());
        assert_eq!(lifecycle.enter_request().err(), Some(Phase::Loading));
        assert!(lifecycle.loaded());
        let running = lifecycle.enter_request().ok();
        assert_eq!(lifecycle.in_flight(), 1);
        lifecycle.enter(Phase::Draining);
        assert_eq!(lifecycle.enter_request().err(), Some(Phase::Draining));
        assert_eq!(lifecycle.in_flight(), 1);
        drop(running);
        assert_eq!(lifecycle.in_flight(), 0);
    }

    #[test]
    fn a_model_that_comes_too_late_is_not_served() {
        let lifecycle = Lifecycle::default();
        lifecycle.enter(Phase::Draining);
        assert!(!lifecycle.loaded());
        assert_eq!(lifecycle.phase(), Phase::Draining);
    }
}
