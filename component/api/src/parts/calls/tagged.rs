//! Calls between two tags, the form of Hermes and Qwen: an object each, or, as Falcon has it, an
//! array of them.
//!
//! What cannot be a call is text with its tag. Behind a call that was told, what stands before the
//! end's tag is left out.

use super::{
    super::{Part, overlap},
    object::{Names, Read, Reader, tell_arguments},
    prose::Prose,
};
use crate::engine::Tags;

/// Tells calls from text.
#[derive(Debug)]
pub(in super::super) struct Tagged {
    tags: Tags,
    prose: Prose,
    state: State,
    /// What is not taken in yet: the beginning of a tag, or what follows a call.
    held: String,
    /// Bytes of `held` in which no end is to be looked for again.
    searched: usize,
    /// Between tags: all from the first one on, until something is told.
    raw: String,
    /// A call between these tags was told.
    told: bool,
}

#[derive(Debug)]
enum State {
    Outside,
    /// Between tags, and between calls.
    Between,
    Call(Reader),
    /// Within arguments that are no JSON.
    Broken,
    /// Behind a call, in what is none.
    Behind,
}

impl Tagged {
    pub(super) fn new(tags: Tags) -> Self {
        Tagged {
            tags,
            prose: Prose::default(),
            state: State::Outside,
            held: String::new(),
            searched: 0,
            raw: String::new(),
            told: false,
        }
    }

    /// True if some of what came is not told yet, or the call to which it belongs is not complete.
    pub(super) fn holds(&self) -> bool {
        let is_outside = matches!(self.state, State::Outside);
        !is_outside || !self.held.is_empty() || self.prose.holds()
    }

    /// Append what is certain to `parts`.
    pub(super) fn push(&mut self, text: &str, last: bool, parts: &mut Vec<Part>) {
        self.held.push_str(text);
        while match self.state {
            State::Outside => self.outside(last, parts),
            State::Between => self.between(parts),
            State::Call(_) => self.call(parts),
            State::Broken | State::Behind => self.rest(parts),
        } {}
        if last {
            self.end(parts);
        }
    }

    /// Take in so many bytes.
    fn take(&mut self, bytes: usize) {
        if self.told {
            self.held.drain(..bytes);
        } else {
            self.raw.extend(self.held.drain(..bytes));
        }
    }

    /// Tell the text before a call. True if one begins.
    fn outside(&mut self, last: bool, parts: &mut Vec<Part>) -> bool {
        let begin = self.held.find(&self.tags.begin);
        let until = match begin {
            Some(at) => at,
            None if last => self.held.len(),
            None => self.held.len() - overlap(&self.held, &self.tags.begin),
        };
        let text: String = self.held.drain(..until).collect();
        self.prose.text(&text, parts);
        if begin.is_some() {
            self.told = false;
            self.take(self.tags.begin.len());
            self.state = State::Between;
        }
        begin.is_some()
    }

    /// Look for a call or the end. True if something was found.
    fn between(&mut self, parts: &mut Vec<Part>) -> bool {
        let separators = [' ', '\t', '\r', '\n', '[', ']', ','];
        let blanks = self.held.len() - self.held.trim_start_matches(separators).len();
        self.take(blanks);
        let (begin, end) = (&self.tags.begin, &self.tags.end);
        if self.held.is_empty() {
            return false;
        }
        if self.held.starts_with('{') {
            self.state = State::Call(Reader::default());
        } else if self.held.starts_with(end) && self.told {
            self.held.drain(..end.len());
            self.state = State::Outside;
        } else if self.told && self.held.starts_with(begin) {
            self.held.drain(..begin.len());
        } else if self.told && [begin, end].iter().any(|tag| tag.starts_with(&self.held)) {
            return false;
        } else if self.told {
            self.state = State::Behind;
        } else {
            self.nothing(parts);
        }
        true
    }

    /// What came is no call.
    fn nothing(&mut self, parts: &mut Vec<Part>) {
        let raw = std::mem::take(&mut self.raw);
        self.prose.text(&raw, parts);
        self.state = State::Outside;
    }

    /// Read on in a call. True if that is over.
    fn call(&mut self, parts: &mut Vec<Part>) -> bool {
        let State::Call(reader) = &mut self.state else {
            return true;
        };
        let read = reader.read(&self.held, &Names::All, parts);
        if reader.is_told() || matches!(read, Read::Told(_)) {
            self.told = true;
            self.raw.clear();
            self.prose.call();
        }
        let told_arguments = reader.tells_arguments();
        match read {
            Read::More => {
                self.take(self.held.len());
                return false;
            }
            Read::Told(bytes) => {
                self.take(bytes);
                self.state = State::Between;
            }
            Read::Broken(bytes) => {
                self.take(bytes);
                self.state = match told_arguments {
                    true => State::Broken,
                    false => State::Behind,
                };
            }
            Read::Nothing if self.told => self.state = State::Behind,
            Read::Nothing => self.nothing(parts),
        }
        true
    }

    /// Go on to the end's tag, or from behind a call to the next one's. True if it is there.
    fn rest(&mut self, parts: &mut Vec<Part>) -> bool {
        let is_broken = matches!(self.state, State::Broken);
        let from = self.searched.min(self.held.len());
        let find = |tag: &str| self.held.get(from..).and_then(|it| it.find(tag));
        let end = find(&self.tags.end);
        let begin =
            find(&self.tags.begin).filter(|&at| !is_broken && end.is_none_or(|end| at < end));
        if let Some(at) = begin {
            let text: String = self.held.drain(..from + at).collect();
            self.prose.text(&text, parts);
            self.searched = 0;
            self.state = State::Outside;
            return true;
        }
        let open = |tag: &str| self.held.len() - overlap(&self.held, tag);
        let open = open(&self.tags.end).min(if is_broken {
            self.held.len()
        } else {
            open(&self.tags.begin)
        });
        let until = end.map_or(open, |at| from + at);
        if is_broken {
            let text: String = self.held.drain(..until).collect();
            tell_arguments(&text, parts);
            self.searched = 0;
        } else {
            self.searched = until;
        }
        if end.is_none() {
            return false;
        }
        if is_broken {
            parts.push(Part::CallEnd { whole: false });
        }
        let behind = if is_broken { 0 } else { until };
        self.held.drain(..behind + self.tags.end.len());
        self.searched = 0;
        self.state = State::Outside;
        true
    }

    /// Nothing follows. Some models leave the last tag out, or it is cut.
    fn end(&mut self, parts: &mut Vec<Part>) {
        let held = std::mem::take(&mut self.held);
        match std::mem::replace(&mut self.state, State::Outside) {
            State::Call(reader) if reader.tells_arguments() => {
                parts.push(Part::CallEnd { whole: false });
            }
            State::Broken => {
                let cut = held.len() - overlap(&held, &self.tags.end);
                tell_arguments(&held[..cut], parts);
                parts.push(Part::CallEnd { whole: false });
            }
            // There is no end's tag: it is text.
            State::Behind => self.prose.text(&held, parts),
            State::Between | State::Call(_) if !self.told => {
                let raw = std::mem::take(&mut self.raw) + &held;
                self.prose.text(&raw, parts);
            }
            State::Between | State::Call(_) | State::Outside => {}
        }
        self.prose.end(parts);
    }
}
