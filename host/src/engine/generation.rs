//! A running generation as whoever asked for it sees it. Dropped, it cancels.

use std::sync::mpsc::Sender;
use std::time::Instant;

use sterna_engine::error::EngineError;
use sterna_engine::request::{Event, Submitted};
use tokio::sync::{mpsc, watch};

use super::command::{Cancelled, Command};

/// An event and when the engine made it.
pub(super) type Timed = (Instant, Result<Event, EngineError>);
pub(super) type Events = mpsc::UnboundedSender<Timed>;

/// A running generation, and so the WIT resource `generation`: its instance drops it when its
/// client has left, which cancels it.
pub struct Generation {
    pub(super) submitted: Submitted,
    pub(super) events: mpsc::UnboundedReceiver<Timed>,
    pub(super) commands: Sender<Command>,
    pub(super) ended: bool,
    pub(super) last_event: Option<Instant>,
    /// The server's end.
    pub(super) cut: watch::Receiver<bool>,
}

impl Generation {
    /// Tokens of the rendered prompt.
    #[must_use]
    pub fn prompt_tokens(&self) -> u32 {
        self.submitted.prompt_tokens
    }

    /// True if the answer begins within the model's reasoning.
    #[must_use]
    pub fn reasons(&self) -> bool {
        self.submitted.reasons
    }

    /// When the engine made the piece that came last. The caller may have taken it much later.
    #[must_use]
    pub fn last_event(&self) -> Option<Instant> {
        self.last_event
    }

    /// The next piece; `None` after the one that carries `finish`.
    ///
    /// # Errors
    /// The engine failed; the generation is over.
    pub async fn next(&mut self) -> Result<Option<Event>, EngineError> {
        if self.ended {
            return Ok(None);
        }
        let (made, event) = tokio::select! {
            // The cut first: an engine that is faster than the client would keep it away.
            biased;
            () = cut(&mut self.cut) => {
                self.ended = true;
                // Where the thread is gone, so is the generation.
                let _ = self.commands.send(Command::Cancel(self.submitted.id, Cancelled::ByServer));
                (Instant::now(), Err(ending()))
            }
            event = self.events.recv() => event.unwrap_or_else(|| (Instant::now(), Err(stopped()))),
        };
        self.last_event = Some(made);
        self.ended = event.as_ref().map_or(true, |event| event.finish.is_some());
        event.map(Some)
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if !self.ended {
            // Where the thread is gone, so is the generation.
            let _ = self
                .commands
                .send(Command::Cancel(self.submitted.id, Cancelled::ByClient));
        }
    }
}

/// Ready when the server has ended everything; never, if it goes away without that.
pub(super) async fn cut(ended: &mut watch::Receiver<bool>) {
    if ended.wait_for(|ended| *ended).await.is_err() {
        std::future::pending().await
    }
}

pub(super) fn ending() -> EngineError {
    EngineError::Unavailable("it is stopping and the time for running requests is over".into())
}

pub(super) fn stopped() -> EngineError {
    EngineError::Unavailable("the engine has stopped".into())
}
