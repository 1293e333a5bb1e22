//! Calls of functions: JSON objects with `name` and `arguments` between two tags, the form of
//! Hermes and Qwen.

use super::{Call, Part, overlap};
use crate::{engine::Tags, raw::Raw};
use serde_json::Value;

/// Tells calls from text.
#[derive(Debug)]
pub(super) struct Calls {
    tags: Tags,
    /// Blanks that came last. They are part of the text if more of it follows.
    blanks: String,
    /// What is not told yet: the beginning of a tag, or all of a call so far.
    held: String,
    /// Bytes of `held` in which no end of a call is to be looked for again.
    searched: usize,
    /// The last thing that was told is a call.
    behind: bool,
}

impl Calls {
    pub(super) fn new(tags: Tags) -> Self {
        Calls {
            tags,
            blanks: String::new(),
            held: String::new(),
            searched: 0,
            behind: false,
        }
    }

    /// True if some of what came is not told yet.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty() || !self.blanks.is_empty()
    }

    /// Append what is certain to `parts`.
    pub(super) fn push(&mut self, text: &str, last: bool, parts: &mut Vec<Part>) {
        self.held.push_str(text);
        loop {
            let more = if self.held.starts_with(&self.tags.begin) {
                self.call(last, parts)
            } else {
                self.text(last, parts)
            };
            if !more {
                break;
            }
        }
        if last && !self.behind && !self.blanks.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut self.blanks)));
        }
    }

    /// Tell the text before a call. True if one begins.
    fn text(&mut self, last: bool, parts: &mut Vec<Part>) -> bool {
        let begin = self.held.find(&self.tags.begin);
        let until = match begin {
            Some(at) => at,
            None if last => self.held.len(),
            None => self.held.len() - overlap(&self.held, &self.tags.begin),
        };
        let text: String = self.held.drain(..until).collect();
        let said = text.trim_end();
        if said.is_empty() {
            self.blanks.push_str(&text);
        } else {
            self.say(said, parts);
            self.blanks.push_str(&text[said.len()..]);
        }
        begin.is_some()
    }

    /// Tell the call at the start of what is held, once it is there. False if it is not.
    fn call(&mut self, last: bool, parts: &mut Vec<Part>) -> bool {
        let from = self.searched.max(self.tags.begin.len());
        let Some(at) = self.held[from..].find(&self.tags.end) else {
            if last {
                self.unended(parts);
                return false;
            }
            let open = self.held.len() - overlap(&self.held, &self.tags.end);
            self.searched = open.max(from);
            return false;
        };
        let (inner, whole) = (from + at, from + at + self.tags.end.len());
        match parse(&self.held[self.tags.begin.len()..inner]) {
            Found::Call(call) => self.tell(call, parts),
            // The tag is within one of its texts.
            Found::Unfinished => {
                self.searched = whole;
                return true;
            }
            Found::Nothing => {
                let text = self.held[..whole].to_owned();
                self.say(&text, parts);
            }
        }
        self.held.drain(..whole);
        self.searched = 0;
        true
    }

    /// Nothing follows what is held. Some models leave the last tag out.
    fn unended(&mut self, parts: &mut Vec<Part>) {
        let held = std::mem::take(&mut self.held);
        let inner = &held[self.tags.begin.len()..];
        let inner = &inner[..inner.len() - overlap(inner, &self.tags.end)];
        match parse(inner) {
            Found::Call(call) => self.tell(call, parts),
            Found::Unfinished | Found::Nothing => self.say(&held, parts),
        }
    }

    fn tell(&mut self, call: Call, parts: &mut Vec<Part>) {
        self.blanks.clear();
        self.behind = true;
        parts.push(Part::Call(call));
    }

    fn say(&mut self, text: &str, parts: &mut Vec<Part>) {
        let mut said = std::mem::take(&mut self.blanks);
        said.push_str(text);
        self.behind = false;
        parts.push(Part::Text(said));
    }
}

enum Found {
    Call(Call),
    /// It may become one.
    Unfinished,
    Nothing,
}

fn parse(text: &str) -> Found {
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) if error.is_eof() => return Found::Unfinished,
        Err(_) => return Found::Nothing,
    };
    let Some(name) = value.get("name").and_then(Value::as_str) else {
        return Found::Nothing;
    };
    // Llama's name for the same.
    let named = ["arguments", "parameters"];
    let field = named.into_iter().find(|name| value.get(name).is_some());
    let arguments = match field.map(|field| (field, &value[field])) {
        None | Some((_, Value::Null)) => Some("{}".to_owned()),
        Some((field, Value::Object(_))) => {
            let raw = Raw::new(text).field(field);
            raw.map(|raw| raw.text().to_owned())
        }
        // None, as histories have it.
        Some((_, Value::String(json))) if json.trim().is_empty() => Some("{}".to_owned()),
        // As text, as OpenAI has them.
        Some((_, Value::String(json))) => {
            let is_object = serde_json::from_str::<Value>(json).is_ok_and(|json| json.is_object());
            is_object.then(|| json.clone())
        }
        Some(_) => None,
    };
    match arguments {
        Some(arguments) if !name.is_empty() => Found::Call(Call {
            name: name.to_owned(),
            arguments,
        }),
        _ => Found::Nothing,
    }
}
