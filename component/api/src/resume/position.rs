//! How far a stream was sent.

use std::collections::BTreeMap;

use super::token::{Reader, write};
use crate::engine::Usage;

/// How much of one choice was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Events, the one included that has the token.
    pub events: u32,
    /// The last of them was sent too.
    pub ended: bool,
}

/// How far a stream was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// Events of all choices together.
    pub events: u32,
    /// Choices before this one have ended.
    first: u32,
    /// The others that have begun.
    choices: BTreeMap<u32, Progress>,
    /// What those that ended have cost.
    pub usage: Usage,
}

impl Default for Position {
    /// Nothing was sent.
    fn default() -> Self {
        Position {
            events: 0,
            first: 0,
            choices: BTreeMap::new(),
            usage: Usage {
                prompt_tokens: 0,
                completion_tokens: 0,
                cached_tokens: 0,
            },
        }
    }
}

impl Position {
    /// How much of a choice was sent.
    pub fn of(&self, index: u32) -> Progress {
        if index < self.first {
            return Progress {
                events: u32::MAX,
                ended: true,
            };
        }
        self.choices.get(&index).copied().unwrap_or_default()
    }

    /// So much of a choice was sent.
    pub fn set(&mut self, index: u32, progress: Progress) {
        if index < self.first {
            return;
        }
        self.choices.insert(index, progress);
        while self.of(self.first).ended && self.choices.remove(&self.first).is_some() {
            self.first += 1;
        }
    }

    /// The choices of which the client was sent a part, but not the end.
    pub fn open(&self) -> impl Iterator<Item = (u32, Progress)> {
        let choices = self
            .choices
            .iter()
            .map(|(&index, &progress)| (index, progress));
        choices.filter(|(_, progress)| !progress.ended)
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        write(bytes, self.events);
        write(bytes, self.first);
        write(bytes, self.choices.len() as u32);
        for (&index, progress) in &self.choices {
            write(bytes, index - self.first);
            write(bytes, progress.events);
            bytes.push(u8::from(progress.ended));
        }
        for count in [
            self.usage.prompt_tokens,
            self.usage.completion_tokens,
            self.usage.cached_tokens,
        ] {
            write(bytes, count);
        }
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Option<Self> {
        let (events, first) = (from.number()?, from.number()?);
        let mut choices = BTreeMap::new();
        for _ in 0..from.number()? {
            let index = first.checked_add(from.number()?)?;
            let progress = Progress {
                events: from.number()?,
                ended: from.byte()? != 0,
            };
            choices.insert(index, progress);
        }
        let usage = Usage {
            prompt_tokens: from.number()?,
            completion_tokens: from.number()?,
            cached_tokens: from.number()?,
        };
        Some(Position {
            events,
            first,
            choices,
            usage,
        })
    }
}
