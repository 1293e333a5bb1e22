//! The reasoning with which an answer begins.

use super::overlap;
use crate::engine::Tags;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing but blanks has come.
    Start,
    /// Within the reasoning, of which nothing but line breaks has come.
    Opening,
    Inside,
    /// Behind it, before anything but line breaks.
    Gap,
    Outside,
}

/// Tells reasoning from what follows it.
#[derive(Debug)]
pub(super) struct Reasoning {
    tags: Tags,
    /// It is told as it is written, with its tags.
    verbatim: bool,
    state: State,
    /// What is not told yet.
    held: String,
}

impl Reasoning {
    pub(super) fn new(tags: Tags, inside: bool, verbatim: bool) -> Self {
        Reasoning {
            tags,
            verbatim,
            state: if inside { State::Opening } else { State::Start },
            held: String::new(),
        }
    }

    /// True if some of what came is not told yet.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// What is reasoning and what is not, of what is certain.
    pub(super) fn push(&mut self, text: &str, last: bool) -> (String, String) {
        if self.state == State::Outside {
            return (String::new(), text.to_owned());
        }
        self.held.push_str(text);
        let mut thought = String::new();
        if self.state == State::Start {
            self.start(last);
        }
        if matches!(self.state, State::Opening | State::Inside) {
            self.inside(last, &mut thought);
        }
        if self.state == State::Gap {
            let said = self.held.trim_start_matches('\n');
            self.held = said.to_owned();
            if !self.held.is_empty() {
                self.state = State::Outside;
            }
        }
        let said = match self.state {
            State::Outside => std::mem::take(&mut self.held),
            _ => String::new(),
        };
        (thought, said)
    }

    fn start(&mut self, last: bool) {
        let begun = self.held.trim_start();
        if let Some(rest) = begun.strip_prefix(&self.tags.begin) {
            if !self.verbatim {
                self.held = rest.to_owned();
            }
            self.state = State::Opening;
        } else if last || !self.tags.begin.starts_with(begun) {
            self.state = State::Outside;
        }
    }

    fn inside(&mut self, last: bool, thought: &mut String) {
        if self.verbatim {
            let end = self.held.find(&self.tags.end);
            if end.is_some() {
                self.state = State::Outside;
            }
            let until = end.map_or_else(|| self.told_until(last), |at| at + self.tags.end.len());
            thought.extend(self.held.drain(..until));
            return;
        }
        if self.state == State::Opening {
            self.held = self.held.trim_start_matches('\n').to_owned();
        }
        let end = self.held.find(&self.tags.end);
        let until = end.unwrap_or_else(|| self.told_until(last));
        // Line breaks are told once something follows them: the last ones are the template's.
        let told = self.held[..until].trim_end_matches('\n');
        thought.push_str(told);
        if !told.is_empty() {
            self.state = State::Inside;
        }
        let told = told.len();
        match end {
            Some(at) => {
                self.held.drain(..at + self.tags.end.len());
                self.state = State::Gap;
            }
            None => {
                self.held.drain(..told);
            }
        }
    }

    /// Bytes of what is held that are certain to be before the end's tag, which is not there yet.
    fn told_until(&self, last: bool) -> usize {
        match last {
            true => self.held.len(),
            false => self.held.len() - overlap(&self.held, &self.tags.end),
        }
    }
}
