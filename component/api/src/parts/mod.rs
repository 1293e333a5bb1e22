//! The parts of a chat's answer: reasoning, text and calls of functions, told apart in what the
//! model writes as it comes.
//!
//! The engine says by which tags its model marks them (`wit/engine.wit`). A part is told as soon as
//! it is certain what it is: text but for an end that may be the beginning of a tag, a call once
//! its name is there and its arguments have begun, which are told as they come. What only looks
//! like a call is text, tags and all. Nothing is lost but the blank lines around tags, and what a
//! model writes between a call and its tag.

mod calls;
mod reasoning;
#[cfg(test)]
mod tests;
mod thought;

use crate::engine::{CallForm, Tags};
use crate::partial_json;
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
    /// The arguments are complete, and JSON.
    pub whole: bool,
}

impl Call {
    /// As parts.
    fn tell(self, parts: &mut Vec<Part>) {
        let whole = self.whole;
        parts.push(Part::Call(self.name));
        parts.push(Part::Arguments(self.arguments));
        parts.push(Part::CallEnd { whole });
    }

    /// Its arguments as an object: of those that were cut, what is complete.
    #[must_use]
    pub fn object(&self) -> String {
        let is_json = |text: &str| serde_json::from_str::<serde_json::Value>(text).is_ok();
        if self.whole && is_json(&self.arguments) {
            return self.arguments.clone();
        }
        // What only looks like JSON, such as half a surrogate pair, is no part of a document.
        Some(partial_json::closed(&self.arguments))
            .filter(|closed| is_json(closed))
            .unwrap_or_else(|| "{}".to_owned())
    }
}

/// A part of an answer. Successive texts belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// What the model thinks before it answers.
    Reasoning(String),
    /// What it says.
    Text(String),
    /// A function of this name is called. Its arguments follow, and the call's end.
    Call(String),
    /// Of the text of the arguments.
    Arguments(String),
    /// The end of a call, whose arguments are complete JSON if it is `whole`.
    CallEnd {
        /// Nothing is missing.
        whole: bool,
    },
}

/// The parts with those that belong together joined, and each call in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joined {
    /// All of a stretch of reasoning.
    Reasoning(String),
    /// All of a stretch of text.
    Text(String),
    /// A call.
    Call(Call),
}

impl Joined {
    /// These parts.
    #[must_use]
    pub fn all(parts: Vec<Part>) -> Vec<Joined> {
        let mut all: Vec<Joined> = Vec::new();
        for part in parts {
            match (all.last_mut(), part) {
                (Some(Joined::Reasoning(before)), Part::Reasoning(more))
                | (Some(Joined::Text(before)), Part::Text(more)) => before.push_str(&more),
                (_, Part::Reasoning(text)) => all.push(Joined::Reasoning(text)),
                (_, Part::Text(text)) => all.push(Joined::Text(text)),
                (_, Part::Call(name)) => all.push(Joined::Call(Call {
                    name,
                    arguments: String::new(),
                    whole: false,
                })),
                (Some(Joined::Call(call)), Part::Arguments(more)) => call.arguments += &more,
                (Some(Joined::Call(call)), Part::CallEnd { whole }) => call.whole = whole,
                // They follow a call.
                (_, Part::Arguments(_) | Part::CallEnd { .. }) => {}
            }
        }
        all
    }
}

/// What is looked for in an answer.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// Tags around reasoning, in which nothing is a call.
    pub reasoning: Option<Tags>,
    /// It stays in the text, tags and all.
    pub inline: bool,
    /// How functions are called, if they may be.
    pub calls: Option<CallForm>,
    /// The functions' names.
    pub names: Vec<String>,
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
        let usable = |tags: &Tags| !tags.begin.is_empty() && !tags.end.is_empty();
        let calls = marks.calls.clone().filter(|form| match form {
            CallForm::Tagged(tags) => usable(tags),
            CallForm::Bare => true,
        });
        Splitter {
            reasoning: marks
                .reasoning
                .clone()
                .filter(usable)
                .map(|tags| Reasoning::new(tags, inside, marks.inline)),
            inline: marks.inline,
            calls: calls.map(|form| Calls::new(form, marks.names.clone())),
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
