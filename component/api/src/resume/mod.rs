//! Streams that go on elsewhere: each event of a stream has an `id`, a signed token with which the
//! same request, sent to any server of the same model, is answered from behind that event on.
//!
//! A token says where the stream was (`position`: the events of each choice that were sent), of
//! which request and model it is, and the identity of the answer, which its drawn seed follows
//! from. That is enough: the same request, seed and model give the same tokens, and the answer is
//! told in the same events, so it is told anew and the first events of it are left out (`marker`).
//! Texts that were held back, halves of characters, calls and reasoning are then as they were.
//!
//! To spare the tokens before, a token also has the ids of those that came with the choice's last
//! event; one client sends the ids of all events, another has the last event of a cut stream, which
//! has all of them. The engine takes them in as it does a prompt. A gap among them costs time, and
//! no more.
//!
//! Tokens are signed (HMAC-SHA256) and not encrypted: what they hold the client was sent or sent
//! itself, save the ids of tokens that a request wanted hidden.

mod marker;
mod position;
mod request;
mod token;

pub use marker::{Framing, Marker};
pub use position::{Position, Progress};
pub use request::{Begun, begin};
pub use token::{Run, Token};

use std::collections::BTreeMap;

use crate::engine::Usage;

/// What is known of a stream that goes on here, for the choices that are to be generated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resumed {
    /// Where it was.
    pub position: Position,
    /// The first tokens of each choice, as far as the client has told them.
    pub tokens: BTreeMap<u32, Vec<u32>>,
}

impl Resumed {
    /// True if a choice was told to its end.
    pub fn has_ended(&self, index: u32) -> bool {
        self.position.of(index).ended
    }

    /// What the choices that ended have cost.
    pub fn usage(&self) -> Usage {
        self.position.usage
    }
}

#[cfg(test)]
mod tests;
