//! A call that is a JSON object: with the function's name and its arguments.
//!
//! Where the name comes first, the arguments are told while they come; else the object is read once
//! it is complete.

use super::super::{Call, Part};
use crate::{
    partial_json::{Fault, Scanner},
    raw::Raw,
};
use serde_json::Value;

/// The arguments' field: OpenAI's name of it, and Llama's.
const ARGUMENTS: [&str; 2] = ["arguments", "parameters"];
/// Further fields with which a call may begin.
const OTHERS: [&str; 4] = ["name", "type", "function", "id"];

/// Which functions may be called.
#[derive(Clone, Debug)]
pub(super) enum Names {
    /// Any.
    All,
    /// These.
    Only(Vec<String>),
}

impl Names {
    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            Names::All => !name.is_empty(),
            Names::Only(names) => names.iter().any(|known| known == name),
        }
    }
}

/// Reads a call from its first bracket on.
#[derive(Debug, Default)]
pub(super) struct Reader {
    scanner: Scanner,
    state: State,
    /// The object, until it is told.
    object: String,
    /// Its fields before the arguments.
    fields: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before the arguments.
    #[default]
    Head,
    /// Nothing is told before it is complete.
    Whole,
    Arguments,
    /// Behind them: the call was told.
    Behind,
}

/// What became of the text that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// All of it belongs to the object, of which more is to come.
    More,
    /// So many bytes of it were the object's last, and the call was told.
    Told(usize),
    /// It is no call, or nothing that can be one. Nothing was told.
    Nothing,
    /// So many bytes of it are the call's; the next one cannot follow. Its name was told.
    Broken(usize),
}

impl Reader {
    /// True once its name is told.
    pub(super) fn is_told(&self) -> bool {
        matches!(self.state, State::Arguments | State::Behind)
    }

    /// True while its arguments are told.
    pub(super) fn tells_arguments(&self) -> bool {
        self.state == State::Arguments
    }

    /// Read more of the object.
    pub(super) fn read(&mut self, text: &str, names: &Names, parts: &mut Vec<Part>) -> Read {
        // Of the text, where the arguments that are not told yet begin.
        let mut arguments = 0;
        for (at, &byte) in text.as_bytes().iter().enumerate() {
            let until = |at: usize| text.get(arguments..at).unwrap_or_default();
            if self.scanner.push(byte) == Err(Fault) {
                if self.state == State::Arguments {
                    tell_arguments(until(at), parts);
                }
                return if self.is_told() {
                    Read::Broken(at)
                } else {
                    Read::Nothing
                };
            }
            let levels = self.scanner.levels();
            match self.state {
                State::Head if byte == b':' && levels == 1 && self.scanner.wants_value() => {
                    self.fields += 1;
                    // No more than have a name: each costs a look at all that came.
                    if self.fields > ARGUMENTS.len() + OTHERS.len() {
                        return Read::Nothing;
                    }
                    let key = key(&self.object, text.get(..at).unwrap_or_default());
                    if !key.is_some_and(|key| ARGUMENTS.iter().chain(&OTHERS).any(|it| *it == key))
                    {
                        return Read::Nothing;
                    }
                }
                State::Head if byte == b'{' && levels == 2 => {
                    let begun = [&*self.object, text.get(..=at).unwrap_or_default()].concat();
                    match head(&begun) {
                        Some(name) if names.has(&name) => {
                            parts.push(Part::Call(name));
                            self.state = State::Arguments;
                            self.object = String::new();
                            arguments = at;
                        }
                        Some(_) => return Read::Nothing,
                        None => self.state = State::Whole,
                    }
                }
                State::Arguments if levels == 1 => {
                    tell_arguments(until(at + 1), parts);
                    parts.push(Part::CallEnd { whole: true });
                    self.state = State::Behind;
                }
                _ => {}
            }
            if self.scanner.is_complete() {
                if self.state == State::Behind {
                    return Read::Told(at + 1);
                }
                self.object += text.get(..=at).unwrap_or_default();
                let call = call(&self.object).filter(|call| names.has(&call.name));
                return match call {
                    Some(call) => {
                        call.tell(parts);
                        Read::Told(at + 1)
                    }
                    None => Read::Nothing,
                };
            }
        }
        match self.state {
            State::Head | State::Whole => self.object += text,
            State::Arguments => tell_arguments(text.get(arguments..).unwrap_or_default(), parts),
            State::Behind => {}
        }
        Read::More
    }
}

pub(super) fn tell_arguments(text: &str, parts: &mut Vec<Part>) {
    if !text.is_empty() {
        parts.push(Part::Arguments(text.to_owned()));
    }
}

/// The key before a colon: the last text of these two, which follow one another.
fn key(object: &str, text: &str) -> Option<String> {
    let begun = [object, text].concat();
    let begun = begun.trim_end().strip_suffix('"')?;
    begun.rsplit_once('"').map(|(_, key)| key.to_owned())
}

/// The name of a call that has come up to the first bracket of its arguments, if it is known.
fn head(begun: &str) -> Option<String> {
    let before = begun.strip_suffix('{')?.trim_end().strip_suffix(':')?;
    let field = before.trim_end().strip_suffix('"')?.rsplit_once('"')?.1;
    if !ARGUMENTS.contains(&field) {
        return None;
    }
    let value: Value = serde_json::from_str(&format!("{begun}}}}}")).ok()?;
    let others = ARGUMENTS.iter().filter(|it| value.get(it).is_some());
    let name = value.get("name").and_then(Value::as_str);
    name.filter(|_| others.count() == 1).map(str::to_owned)
}

/// The call that a whole object is.
pub(super) fn call(text: &str) -> Option<Call> {
    let value: Value = serde_json::from_str(text).ok()?;
    if value.get("function").is_some_and(Value::is_object) {
        return call(Raw::new(text).field("function")?.text());
    }
    let name = value.get("name").and_then(Value::as_str)?;
    let field = ARGUMENTS.into_iter().find(|name| value.get(name).is_some());
    let arguments = match field.map(|field| (field, &value[field])) {
        None | Some((_, Value::Null)) => "{}".to_owned(),
        Some((field, Value::Object(_))) => Raw::new(text).field(field)?.text().to_owned(),
        // None, as histories have it.
        Some((_, Value::String(json))) if json.trim().is_empty() => "{}".to_owned(),
        // As text, as OpenAI has them.
        Some((_, Value::String(json))) => {
            let is_object = serde_json::from_str::<Value>(json).is_ok_and(|json| json.is_object());
            is_object.then(|| json.clone())?
        }
        Some(_) => return None,
    };
    (!name.is_empty()).then(|| Call {
        name: name.to_owned(),
        arguments,
        whole: true,
    })
}
