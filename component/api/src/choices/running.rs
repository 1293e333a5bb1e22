//! One choice while it is generated.

use super::{Cost, End, Form, Piece, Tokens};
use crate::{
    engine::{Event, FinishReason, Generation, TokenDetail},
    parts::{Part, Splitter},
};

/// A choice that the engine generates.
pub(super) struct Running<G> {
    pub(super) index: u32,
    pub(super) generation: G,
    /// Takes it apart, from its first event on.
    splitter: Option<Splitter>,
    /// It has called a function.
    called: bool,
    /// Tokens that came.
    told: Vec<u32>,
    /// How many of them, from the first on, are told whole: nothing of their text is held back.
    whole: usize,
    /// The prompt's text, where the client wrote one and wants to see it.
    echo: Option<String>,
    /// The prompt's tokens, until all of them are there.
    prompt: Vec<TokenDetail>,
    /// The prompt was told.
    begun: bool,
    /// When the engine was given it.
    given_us: u64,
    /// When its first token came.
    first_us: Option<u64>,
}

impl<G: Generation> Running<G> {
    pub(super) fn new(index: u32, generation: G, echo: Option<String>, now_us: u64) -> Self {
        Running {
            index,
            generation,
            splitter: None,
            called: false,
            told: Vec::new(),
            whole: 0,
            echo,
            prompt: Vec::new(),
            begun: false,
            given_us: now_us,
            first_us: None,
        }
    }

    /// Tokens that came.
    pub(super) fn n_tokens(&self) -> u32 {
        u32::try_from(self.told.len()).unwrap_or(u32::MAX)
    }

    /// Their ids.
    pub(super) fn tokens(&self) -> &[u32] {
        &self.told
    }

    /// Those that are told whole.
    pub(super) fn whole_tokens(&self) -> &[u32] {
        self.told.get(..self.whole).unwrap_or_default()
    }

    /// What it cost until now.
    fn cost(&mut self, event: &Event, now_us: u64) -> Cost {
        if self.first_us.is_none() && !event.tokens.is_empty() {
            self.first_us = Some(now_us);
        }
        let first_us = self.first_us.unwrap_or(now_us);
        let usage = event.finish.map(|finish| finish.usage);
        Cost {
            prompt_tokens: self.generation.prompt_tokens(),
            cached_tokens: usage.map_or(0, |usage| usage.cached_tokens),
            completion_tokens: usage.map_or(self.n_tokens(), |usage| usage.completion_tokens),
            prompt_us: first_us.saturating_sub(self.given_us),
            completion_us: now_us.saturating_sub(first_us),
        }
    }

    /// What an event that came at this time adds to the choice.
    pub(super) fn take_in(&mut self, mut event: Event, form: &Form, now_us: u64) -> Piece {
        let inside = self.generation.reasons();
        let splitter = self
            .splitter
            .get_or_insert_with(|| Splitter::new(&form.marks, inside));
        let mut text = std::mem::take(&mut event.text);
        let stopped = event.finish.and_then(|finish| {
            let stops = form.told_stops.iter().filter(|stop| text.ends_with(*stop));
            let is_stop = finish.reason == FinishReason::Stop;
            stops
                .max_by_key(|stop| stop.len())
                .filter(|_| is_stop)
                .cloned()
        });
        text.truncate(text.len() - stopped.as_ref().map_or(0, String::len));
        let parts = splitter.push(&text, event.finish.is_some());
        let holds = splitter.holds();
        self.told.extend(&event.tokens);
        let cost = self.cost(&event, now_us);
        if !holds {
            self.whole = self.told.len();
        }
        let reason = event.finish.map(|finish| finish.reason);
        let (parts, end) = self.told_of(parts, reason, form);
        let mut piece = Piece {
            index: self.index,
            tokens: u32::try_from(event.tokens.len()).unwrap_or(u32::MAX),
            parts,
            end,
            stopped,
            told: Tokens {
                ids: event.tokens,
                details: event.details,
                prompt: Vec::new(),
            },
            cost,
        };
        self.prompt.extend(event.prompt);
        if !self.begun && (!piece.told.ids.is_empty() || piece.end.is_some()) {
            self.begun = true;
            piece.told.prompt = std::mem::take(&mut self.prompt);
            if form.echo {
                let text = self.echo.take();
                let text = text.unwrap_or_else(|| shown(&piece.told.prompt));
                if !text.is_empty() {
                    piece.parts.insert(0, Part::Text(text));
                }
            }
        }
        piece
    }

    /// What is told of these parts, and why the choice ends with them, if it does.
    fn told_of(
        &mut self,
        parts: Vec<Part>,
        reason: Option<FinishReason>,
        form: &Form,
    ) -> (Vec<Part>, Option<End>) {
        let mut kept = Vec::new();
        for part in parts {
            match part {
                Part::Reasoning(_) if form.hides_reasoning => {}
                // A call that the model broke off is one too; one that the limit cut goes with it.
                Part::CallEnd { whole } if form.one_call && (whole || reason.is_none()) => {
                    kept.push(part);
                    return (kept, Some(End::Calls));
                }
                Part::Call(_) => {
                    self.called = true;
                    kept.push(part);
                }
                part => kept.push(part),
            }
        }
        let end = reason.map(|reason| match reason {
            FinishReason::Length => End::Length,
            FinishReason::Stop if self.called => End::Calls,
            FinishReason::Stop => End::Stop,
        });
        (kept, end)
    }
}

/// The text of tokens, special ones left out.
fn shown(tokens: &[TokenDetail]) -> String {
    let tokens = tokens.iter().filter(|token| !token.special);
    let bytes: Vec<u8> = tokens.flat_map(|token| &token.bytes).copied().collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
