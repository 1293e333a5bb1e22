//! The commands of the engine's thread.

use std::sync::mpsc::Sender;
use std::time::Instant;

use sterna_engine::error::EngineError;
use sterna_engine::request::{GenerationId, Prompt, Request};
use tokio::sync::{oneshot, watch};

use super::generation::Generation;
use crate::admission::Place;

pub(super) type Reply<T> = oneshot::Sender<Result<T, EngineError>>;

pub(super) enum Command {
    Submit {
        /// Its prompt is token ids.
        request: Box<Request>,
        /// Given up once the engine counts it.
        place: Place,
        /// When it was asked for.
        asked: Instant,
        /// For the generation to cancel itself with.
        commands: Sender<Command>,
        ended: watch::Receiver<bool>,
        reply: Reply<Generation>,
    },
    /// Nobody waits for this generation any more; where the server is the reason, so it is counted.
    Cancel(GenerationId, Cancelled),
}

impl Command {
    /// Token ids it brings.
    pub(super) fn tokens(&self) -> usize {
        match self {
            Command::Submit { request, .. } => match &request.prompt {
                Prompt::Tokens(tokens) => tokens.len(),
                Prompt::Text(_) | Prompt::Messages(_) => 0,
            },
            Command::Cancel(..) => 0,
        }
    }
}

/// The party that ended a generation before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cancelled {
    ByClient,
    ByServer,
}

impl Command {
    /// Answer without an engine. Whoever has left gets nothing.
    pub(super) fn decline(self) {
        let resting = || {
            EngineError::Unavailable(
                "the engine failed several times in a row and is started again after a pause; see the server's log".into(),
            )
        };
        match self {
            Command::Submit { reply, .. } => drop(reply.send(Err(resting()))),
            Command::Cancel(..) => {}
        }
    }
}
