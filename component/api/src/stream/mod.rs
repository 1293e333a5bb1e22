//! An answer as server-sent events, which are written and flushed one by one.
//!
//! Dropping it drops its generations, which cancels them; that is how a client that went away stops
//! the engine.

use crate::{
    answer::Answer,
    choices::{Choices, Piece},
    engine::Engine,
    parts::Part,
};

/// Events of the engine of which nothing can be told yet, after which a comment is sent: proxies
/// give up on a silent connection, and a client that has left is noticed by what is written.
const SILENT_EVENTS: usize = 32;

/// The server-sent events of one answer, as bytes to write.
pub struct EventStream<E: Engine> {
    answer: Answer,
    /// Calls of the choice that is told.
    calls: usize,
    state: State<E>,
}

enum State<E: Engine> {
    /// Nothing was sent yet.
    Opening(Choices<E>),
    Running(Choices<E>),
    Ended,
}

impl<E: Engine> EventStream<E> {
    /// The events of `choices`, which `answer` describes.
    pub fn new(answer: Answer, choices: Choices<E>) -> Self {
        EventStream {
            answer,
            calls: 0,
            state: State::Opening(choices),
        }
    }

    /// Wait for the next bytes to send; `None` after the last.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut choices = match std::mem::replace(&mut self.state, State::Ended) {
            State::Opening(choices) => {
                if let Some(chunk) = self.answer.opening_chunk(choices.usage()) {
                    push_data(&mut bytes, &chunk);
                    self.state = State::Running(choices);
                    return Some(bytes);
                }
                choices
            }
            State::Running(choices) => choices,
            State::Ended => return None,
        };
        let mut silent = 0;
        while bytes.is_empty() {
            match choices.next().await {
                Ok(Some(piece)) => {
                    let ended = self.render(&piece, &choices, &mut bytes);
                    if ended {
                        return Some(bytes);
                    }
                    silent += 1;
                    if bytes.is_empty() && silent == SILENT_EVENTS {
                        bytes.extend_from_slice(b":\n\n");
                    }
                }
                Ok(None) => return None,
                Err(error) => {
                    // The status has been sent, so the fault goes where the next chunk would; no
                    // [DONE] follows.
                    push_data(&mut bytes, &error.to_event(&choices.resume()));
                    return Some(bytes);
                }
            }
        }
        self.state = State::Running(choices);
        Some(bytes)
    }

    /// Append what a piece is sent as: nothing where it has no part and is not the last of its
    /// choice. True after the last of all.
    fn render(&mut self, piece: &Piece, choices: &Choices<E>, bytes: &mut Vec<u8>) -> bool {
        let usage = choices.usage();
        for part in &piece.parts {
            for chunk in self
                .answer
                .part_chunks(piece.index, part, self.calls, usage)
            {
                push_data(bytes, &chunk);
            }
            self.calls += usize::from(matches!(part, Part::Call(_)));
        }
        let Some(end) = piece.end else {
            return false;
        };
        self.calls = 0;
        let chunk = self.answer.finish_chunk(piece.index, end, usage);
        push_data(bytes, &chunk);
        let ended = piece.index + 1 == choices.total();
        if ended {
            if let Some(chunk) = self.answer.usage_chunk(usage) {
                push_data(bytes, &chunk);
            }
            push_data(bytes, b"[DONE]");
        }
        ended
    }
}

/// One event. JSON as serde writes it is a single line, so one `data:` field holds it.
fn push_data(bytes: &mut Vec<u8>, data: &[u8]) {
    bytes.extend_from_slice(b"data: ");
    bytes.extend_from_slice(data);
    bytes.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests;
