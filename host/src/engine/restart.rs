//! After a failure: the clients are told, and the engine is built anew, after a pause where it
//! failed before.

use std::any::Any;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::Context;
use sterna_engine::error::EngineError;

use super::actor::Actor;

impl Actor {
    /// After a failure the engine's state is unknown: tell the clients, and build it anew.
    pub(super) fn restart(&mut self, reason: &str) -> bool {
        tracing::error!(
            reason,
            generations = self.open.len(),
            "the engine failed and is restarted"
        );
        self.metrics.engine_restarts.inc();
        for (_, open) in self.open.drain() {
            self.metrics.finished("error");
            let failed = EngineError::Internal("the engine failed; see the server's log".into());
            let _ = open.events.send((Instant::now(), Err(failed)));
        }
        let pause = self.failures.pause();
        if !self.rest(pause) {
            return false;
        }
        let health = Arc::clone(&self.health);
        let _busy = health.busy(self.step_limit);
        let restarted = self.source.start().and_then(|engine| {
            self.engine = engine;
            self.show_state().context("it failed again at once")
        });
        if let Err(error) = &restarted {
            tracing::error!(
                error = sterna_errors::chain(error.as_ref()),
                "the engine does not start again"
            );
        }
        restarted.is_ok()
    }

    /// Wait before the engine is started anew, and decline what is asked meanwhile. False when
    /// nobody is left to ask.
    fn rest(&mut self, pause: Duration) -> bool {
        if pause.is_zero() {
            return true;
        }
        tracing::warn!(
            seconds = pause.as_secs_f64(),
            "the engine failed several times in a row: it is started again after a pause"
        );
        let end = Instant::now() + pause;
        self.health.rest(true);
        let somebody_asks = loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.inbox.recv_timeout(left) {
                Ok(command) => command.decline(),
                Err(RecvTimeoutError::Timeout) => break true,
                Err(RecvTimeoutError::Disconnected) => break false,
            }
        };
        self.health.rest(false);
        somebody_asks
    }
}

pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic")
        .to_owned()
}
