//! An answer as events, which are written and flushed one by one: when, and of what. Their form is
//! a [`Teller`]'s, one for each API.
//!
//! Dropping it drops its generations, which cancels them; that is how a client that went away stops
//! the engine.

mod chunks;

use crate::{
    answer::Finished,
    choices::{Choices, Piece},
    engine::{Engine, Usage},
    error::{ApiError, Resume},
    resume::{Framing, Marker},
};
pub use chunks::Chunks;

/// Events of the engine of which nothing can be told yet, after which a comment is sent: proxies
/// give up on a silent connection, and a client that has left is noticed by what is written.
const SILENT_EVENTS: usize = 32;

/// The usage of a request that did not begin.
const NO_USAGE: Usage = Usage {
    prompt_tokens: 0,
    completion_tokens: 0,
    cached_tokens: 0,
};

/// The form in which an API tells an answer. Every method appends whole events to `bytes`.
pub trait Teller {
    /// The answer in one document.
    fn whole(&mut self, finished: &[Finished], usage: Usage) -> Vec<u8>;
    /// What comes before the first piece; may be nothing.
    fn open(&mut self, usage: Usage, bytes: &mut Vec<u8>);
    /// A piece of a choice, the `last` one of all if so; nothing where it has no part and ends
    /// nothing. `usage` is what all choices cost so far.
    fn tell(&mut self, piece: &Piece, usage: Usage, last: bool, bytes: &mut Vec<u8>);
    /// The last event of an answer that failed after its status had been sent.
    fn fault(&mut self, error: &ApiError, resume: &Resume, bytes: &mut Vec<u8>);
    /// Bytes of a stream's pieces together at most, where the answer is told once more at its end.
    fn most_bytes(&self) -> usize {
        usize::MAX
    }
    /// What clients pass over.
    fn keep_alive(&self) -> Vec<u8> {
        b":\n\n".to_vec()
    }
    /// The type of the events.
    fn content_type(&self) -> &'static str {
        "text/event-stream; charset=utf-8"
    }
    /// Their form.
    fn framing(&self) -> Framing {
        Framing::Events
    }
}

/// The events of one answer, as bytes to write.
pub struct EventStream<E: Engine> {
    teller: Box<dyn Teller>,
    /// Gives them ids, where the stream can be resumed.
    marker: Option<Marker>,
    state: State<E>,
}

/// Has the engine begin.
type Start<E> = Box<dyn FnOnce(&E) -> Result<(Choices<E>, Option<Marker>), ApiError>>;

enum State<E: Engine> {
    /// Its model is being loaded; what has it begin waits for that.
    Loading(E, Start<E>),
    /// Nothing was sent yet.
    Opening(Choices<E>),
    Running(Choices<E>),
    Ended,
}

impl<E: Engine> EventStream<E> {
    /// The events of `choices`, which `teller` tells.
    pub fn new(teller: Box<dyn Teller>, choices: Choices<E>, marker: Option<Marker>) -> Self {
        let framing = teller.framing();
        EventStream {
            teller,
            marker: marker.map(|marker| marker.framed(framing)),
            state: State::Opening(choices),
        }
    }

    /// The events of choices that only begin when `start` comes back, which is called when the
    /// answer's head is on its way.
    pub fn later(
        teller: Box<dyn Teller>,
        engine: E,
        start: impl FnOnce(&E) -> Result<(Choices<E>, Option<Marker>), ApiError> + 'static,
    ) -> Self {
        EventStream {
            teller,
            marker: None,
            state: State::Loading(engine, Box::new(start)),
        }
    }

    /// The type of the events.
    pub fn content_type(&self) -> &'static str {
        self.teller.content_type()
    }

    /// Wait for the next bytes to send; `None` after the last.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        let (mut bytes, mut events) = (Vec::new(), Vec::new());
        let mut choices = match std::mem::replace(&mut self.state, State::Ended) {
            State::Loading(engine, start) => {
                engine.pause().await;
                match start(&engine) {
                    Ok((choices, marker)) => {
                        let framing = self.teller.framing();
                        self.marker = marker.map(|marker| marker.framed(framing));
                        self.teller.open(choices.usage(), &mut events);
                        self.send(&mut events, 0, &[], None, &mut bytes);
                        choices
                    }
                    Err(error) => {
                        self.teller.open(NO_USAGE, &mut bytes);
                        self.teller.fault(&error, &Resume::default(), &mut bytes);
                        return Some(bytes);
                    }
                }
            }
            State::Opening(choices) => {
                self.teller.open(choices.usage(), &mut events);
                self.send(&mut events, 0, &[], None, &mut bytes);
                choices
            }
            State::Running(choices) => choices,
            State::Ended => return None,
        };
        choices.limit(self.teller.most_bytes());
        let mut silent = 0;
        while bytes.is_empty() {
            match choices.next().await {
                Ok(Some(piece)) => {
                    let last = choices.is_done();
                    self.teller.tell(&piece, choices.usage(), last, &mut events);
                    let ended = piece.end.map(|_| choices.ended());
                    let ids = &piece.told.ids;
                    self.send(&mut events, piece.index, ids, ended, &mut bytes);
                    if last {
                        if self.marker.as_ref().is_some_and(Marker::falls_short) {
                            let why = "the answer is not the one that was begun elsewhere";
                            self.fault(&ApiError::internal(why), &choices, &mut bytes);
                        }
                        return Some(bytes);
                    }
                    silent += 1;
                    if bytes.is_empty() && silent == SILENT_EVENTS {
                        bytes.extend(self.teller.keep_alive());
                        silent = 0;
                    }
                }
                Ok(None) => return None,
                Err(error) => {
                    // The status has been sent, so the fault goes where the next event would.
                    self.fault(&error, &choices, &mut bytes);
                    return Some(bytes);
                }
            }
        }
        self.state = State::Running(choices);
        Some(bytes)
    }

    /// Move the events of a choice, which account for these tokens, to what is sent.
    fn send(
        &mut self,
        events: &mut Vec<u8>,
        index: u32,
        ids: &[u32],
        ended: Option<Usage>,
        bytes: &mut Vec<u8>,
    ) {
        match &mut self.marker {
            Some(marker) => marker.mark(events, index, ids, ended, bytes),
            None => bytes.extend_from_slice(events),
        }
        events.clear();
    }

    fn fault(&mut self, error: &ApiError, choices: &Choices<E>, bytes: &mut Vec<u8>) {
        let mut resume = choices.resume();
        let Some(marker) = &self.marker else {
            return self.teller.fault(error, &resume, bytes);
        };
        let token = marker.token(&choices.open_tokens());
        resume.token = Some(token.clone());
        let mut events = Vec::new();
        self.teller.fault(error, &resume, &mut events);
        marker.mark_cut(&events, &token, bytes);
    }
}

/// One event without a name. JSON as serde writes it is a single line, so one `data:` field holds
/// it.
pub fn push_data(bytes: &mut Vec<u8>, data: &[u8]) {
    debug_assert!(!data.contains(&b'\n') && !data.contains(&b'\r'), "a line");
    bytes.extend_from_slice(b"data: ");
    bytes.extend_from_slice(data);
    bytes.extend_from_slice(b"\n\n");
}

/// One event of this name.
pub fn push_event(bytes: &mut Vec<u8>, name: &str, data: &[u8]) {
    bytes.extend_from_slice(b"event: ");
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(b'\n');
    push_data(bytes, data);
}

#[cfg(test)]
mod tests;
