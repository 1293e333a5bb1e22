//! Ids for the events of a stream; of one that goes on here, the events that were sent before are
//! left out.

use std::collections::BTreeMap;

use super::{
    Resumed,
    position::{Position, Progress},
    token::{Run, Short, Token},
};
use crate::{engine::Usage, stamp::Stamp};

/// A longer id is none that a client could send in a header: there the last event of a cut stream
/// has that of the event before it.
const MAX_ID_BYTES: usize = 4096;

/// Gives the events of one answer their ids.
#[derive(Debug)]
pub struct Marker {
    /// Signs.
    key: String,
    model: Short,
    request: Short,
    stamp: Stamp,
    position: Position,
    /// Where the client is.
    resumed: Resumed,
    form: Framing,
    /// Of each choice: what was told of it here, and its tokens.
    told: BTreeMap<u32, Told>,
}

/// The form of a stream's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events, which have ids.
    Events,
    /// Lines of JSON, which have none.
    Lines,
}

impl Framing {
    fn end(self) -> &'static [u8] {
        match self {
            Framing::Events => b"\n\n",
            Framing::Lines => b"\n",
        }
    }

    /// Each of several events, with its end.
    fn split(self, bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
        let (mut left, end) = (bytes, self.end());
        std::iter::from_fn(move || {
            let at = left.windows(end.len()).position(|bytes| bytes == end);
            let (event, rest) = left.split_at(at.map_or(left.len(), |at| at + end.len()));
            left = rest;
            (!event.is_empty()).then_some(event)
        })
    }

    fn push(self, out: &mut Vec<u8>, id: impl FnOnce() -> String, event: &[u8]) {
        if self == Framing::Events {
            out.extend_from_slice(b"id: ");
            out.extend_from_slice(id().as_bytes());
            out.push(b'\n');
        }
        out.extend_from_slice(event);
    }
}

#[derive(Debug, Default)]
struct Told {
    /// Events, those included that were left out.
    events: u32,
    /// Tokens that are in an id, or belong to events that were left out.
    tokens: u32,
    /// Those behind them.
    pending: Vec<u32>,
}

impl Marker {
    pub(super) fn new(
        key: String,
        [model, request]: [Short; 2],
        stamp: Stamp,
        resumed: Resumed,
    ) -> Self {
        Marker {
            key,
            model,
            request,
            stamp,
            position: resumed.position.clone(),
            resumed,
            form: Framing::Events,
            told: BTreeMap::new(),
        }
    }

    /// The same for a stream of this form.
    #[must_use]
    pub fn framed(self, form: Framing) -> Self {
        Marker { form, ..self }
    }

    /// Append `events` of a choice to `out`, with their ids and without those that were sent. They
    /// account for these tokens. `ended` is what all choices that are over have cost, where they
    /// are the choice's last.
    pub fn mark(
        &mut self,
        events: &[u8],
        index: u32,
        tokens: &[u32],
        ended: Option<Usage>,
        out: &mut Vec<u8>,
    ) {
        let sent = self.resumed.position.of(index);
        let told = self.told.entry(index).or_default();
        told.pending.extend(tokens);
        let mut left = self.form.split(events).peekable();
        while let Some(event) = left.next() {
            told.events += 1;
            let is_last = left.peek().is_none();
            if sent.ended || told.events <= sent.events {
                if is_last {
                    told.tokens += count(&told.pending);
                    told.pending.clear();
                }
                continue;
            }
            let mut runs = Vec::new();
            if is_last && !told.pending.is_empty() {
                let ids = std::mem::take(&mut told.pending);
                let start = told.tokens;
                told.tokens += count(&ids);
                runs.push(Run { index, start, ids });
            }
            let progress = Progress {
                events: told.events,
                ended: is_last && ended.is_some(),
            };
            self.position.events = self.position.events.saturating_add(1);
            self.position.set(index, progress);
            if let Some(usage) = ended.filter(|_| is_last) {
                self.position.usage = usage;
            }
            let token = Token {
                model: self.model,
                request: self.request,
                id: self.stamp.id,
                created: self.stamp.created,
                position: self.position.clone(),
                runs,
            };
            self.form.push(out, || token.sign(&self.key), event);
        }
    }

    /// The token with all tokens of these choices, with which the stream goes on elsewhere.
    pub fn token(&self, choices: &BTreeMap<u32, Vec<u32>>) -> String {
        let runs = choices.iter().filter(|(_, ids)| !ids.is_empty());
        let runs = runs.map(|(&index, ids)| Run {
            index,
            start: 0,
            ids: ids.clone(),
        });
        let runs = runs.collect();
        self.with(runs)
    }

    /// Append the last events of a stream that is cut: they are no part of the answer, and only the
    /// last has an id, this token if that is short enough.
    pub fn mark_cut(&self, events: &[u8], token: &str, out: &mut Vec<u8>) {
        let mut left = self.form.split(events).peekable();
        while let Some(event) = left.next() {
            if left.peek().is_some() {
                out.extend_from_slice(event);
            } else {
                let id = || match token.len() {
                    0..=MAX_ID_BYTES => token.to_owned(),
                    _ => self.with(Vec::new()),
                };
                self.form.push(out, id, event);
            }
        }
    }

    /// True if a choice ended before the event that its client was sent last: the answer is not the
    /// one that was begun.
    pub fn falls_short(&self) -> bool {
        let mut open = self.resumed.position.open();
        open.any(|(index, sent)| {
            let told = self.told.get(&index);
            told.map_or(0, |told| told.events) < sent.events
        })
    }

    fn with(&self, runs: Vec<Run>) -> String {
        let token = Token {
            model: self.model,
            request: self.request,
            id: self.stamp.id,
            created: self.stamp.created,
            position: self.position.clone(),
            runs,
        };
        token.sign(&self.key)
    }
}

fn count(ids: &[u32]) -> u32 {
    u32::try_from(ids.len()).unwrap_or(u32::MAX)
}
