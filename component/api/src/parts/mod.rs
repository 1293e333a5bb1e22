//! The parts of a chat's answer: reasoning, text and calls of functions, told apart in what the
//! model writes as it comes.
//!
//! The engine says by which tags its model marks them (`wit/engine.wit`). A part is told as soon as
//! it is certain what it is: text but for an end that may be the beginning of a tag, a call once it
//! is complete. What only looks like a call is text, tags and all. Nothing is lost but the blank
//! lines around tags.

mod calls;
mod reasoning;
#[cfg(test)]
mod tests;
mod thought;

use crate::engine::Tags;
use calls::Calls;
use reasoning::Reasoning;
pub use thought::Thought;

/// A function that is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The function's name, as the model wrote it.
    pub name: String,
    /// The text of a JSON object, as the model wrote it.
    pub arguments: String,
}

/// A part of an answer. Successive ones belong together, save calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// What the model thinks before it answers.
    Reasoning(String),
    /// What it says.
    Text(String),
    /// A function that it calls.
    Call(Call),
}

/// What is looked for in an answer.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// Tags around reasoning, in which nothing is a call.
    pub reasoning: Option<Tags>,
    /// It stays in the text, tags and all.
    pub inline: bool,
    /// Tags around calls, if there may be any.
    pub calls: Option<Tags>,
}

/// Takes an answer apart.
#[derive(Debug)]
pub struct Splitter {
    reasoning: Option<Reasoning>,
    inline: bool,
    calls: Option<Calls>,
}

impl Splitter {
    /// For an answer that begins within the model's reasoning if `inside`.
    pub fn new(marks: &Marks, inside: bool) -> Self {
        // The engine may be anybody's. A tag without text would be found everywhere.
        let usable = |tags: &Option<Tags>| {
            let tags = tags.clone();
            tags.filter(|tags| !tags.begin.is_empty() && !tags.end.is_empty())
        };
        Splitter {
            reasoning: usable(&marks.reasoning)
                .map(|tags| Reasoning::new(tags, inside, marks.inline)),
            inline: marks.inline,
            calls: usable(&marks.calls).map(Calls::new),
        }
    }

    /// The parts that are certain once this text has come; all that are left if it is the last.
    pub fn push(&mut self, text: &str, last: bool) -> Vec<Part> {
        let mut parts = Vec::new();
        let text = match &mut self.reasoning {
            Some(reasoning) => {
                let (thought, said) = reasoning.push(text, last);
                if !thought.is_empty() {
                    let part = if self.inline {
                        Part::Text
                    } else {
                        Part::Reasoning
                    };
                    parts.push(part(thought));
                }
                said
            }
            None => text.to_owned(),
        };
        match &mut self.calls {
            Some(calls) => calls.push(&text, last, &mut parts),
            None if text.is_empty() => {}
            None => parts.push(Part::Text(text)),
        }
        parts
    }

    /// True if some of what came is not told yet.
    pub fn holds(&self) -> bool {
        self.reasoning.as_ref().is_some_and(Reasoning::holds)
            || self.calls.as_ref().is_some_and(Calls::holds)
    }
}

/// Bytes at the end of `text` that may be the beginning of `tag`.
fn overlap(text: &str, tag: &str) -> usize {
    let is_beginning = |n: &usize| tag.get(..*n).is_some_and(|begin| text.ends_with(begin));
    (1..tag.len()).rev().find(is_beginning).unwrap_or(0)
}
