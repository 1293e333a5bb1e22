//! Calls without tags, the form of Llama 3: the answer is an object, or several with `;` between.
//! Behind `<|python_tag|>`, before which text may stand, a call may also be
//! `name.call(argument="...")` or code.
//!
//! Nothing but the names of the request's functions tells them from an answer that is JSON, so only
//! those are called.

use super::{
    super::{Call, Part, overlap},
    builtin,
    object::{Names, Read, Reader, tell_arguments},
    prose::Prose,
};

/// What Llama 3 writes before calls of its built-in functions.
const PYTHON_TAG: &str = "<|python_tag|>";
/// Functions that are called by what they are to run.
const INTERPRETERS: [&str; 3] = ["code_interpreter", "ipython", "python"];

/// Tells calls from text.
#[derive(Debug)]
pub(in super::super) struct Bare {
    names: Names,
    prose: Prose,
    state: State,
    /// What is not taken in yet.
    held: String,
    /// All that came since the last that was told.
    raw: String,
    /// The call before was the first thing of the answer, or of a tag.
    told: bool,
}

#[derive(Debug)]
enum State {
    /// Before a call, if one comes.
    Start,
    /// Behind the tag.
    Tag,
    Call(Reader),
    /// Within arguments that are no JSON.
    Broken,
    /// Behind the tag, in what is no object.
    Code,
    Text,
}

impl Bare {
    pub(super) fn new(names: Vec<String>) -> Self {
        Bare {
            names: Names::Only(names),
            prose: Prose::default(),
            state: State::Start,
            held: String::new(),
            raw: String::new(),
            told: false,
        }
    }

    /// True if some of what came is not told yet, or the call to which it belongs is not complete.
    pub(super) fn holds(&self) -> bool {
        let is_between = matches!(self.state, State::Start | State::Text);
        !is_between || !self.held.is_empty() || !self.raw.is_empty() || self.prose.holds()
    }

    /// Append what is certain to `parts`.
    pub(super) fn push(&mut self, text: &str, last: bool, parts: &mut Vec<Part>) {
        self.held.push_str(text);
        while match self.state {
            State::Start | State::Tag => self.start(last),
            State::Call(_) => self.call(parts),
            State::Broken => {
                tell_arguments(&std::mem::take(&mut self.held), parts);
                false
            }
            State::Code => false,
            State::Text => self.text(last, parts),
        } {}
        if last {
            self.end(parts);
        }
    }

    fn take(&mut self, bytes: usize) {
        self.raw.extend(self.held.drain(..bytes));
    }

    /// Look for the beginning of a call. True if it is certain what follows.
    fn start(&mut self, last: bool) -> bool {
        let is_tagged = matches!(self.state, State::Tag);
        let blank = |c: char| c.is_whitespace() || (self.told && c == ';');
        let blanks = self.held.len() - self.held.trim_start_matches(blank).len();
        self.take(blanks);
        if self.held.is_empty() {
            return false;
        }
        if self.held.starts_with('{') {
            self.state = State::Call(Reader::default());
        } else if is_tagged {
            self.state = State::Code;
        } else if self.held.starts_with(PYTHON_TAG) {
            self.take(PYTHON_TAG.len());
            self.state = State::Tag;
        } else if !last && PYTHON_TAG.starts_with(&self.held) {
            return false;
        } else {
            self.nothing();
        }
        true
    }

    /// What came is no call.
    fn nothing(&mut self) {
        self.held.insert_str(0, &std::mem::take(&mut self.raw));
        self.state = State::Text;
    }

    /// Read on in a call. True if that is over.
    fn call(&mut self, parts: &mut Vec<Part>) -> bool {
        let State::Call(reader) = &mut self.state else {
            return true;
        };
        let read = reader.read(&self.held, &self.names, parts);
        let told_arguments = reader.tells_arguments();
        if reader.is_told() || matches!(read, Read::Told(_)) {
            self.prose.call();
            self.raw.clear();
            self.told = true;
        }
        match read {
            Read::More if reader.is_told() => self.held.clear(),
            Read::More => self.take(self.held.len()),
            Read::Told(bytes) => {
                self.held.drain(..bytes);
                self.state = State::Start;
                return true;
            }
            Read::Broken(bytes) => {
                self.held.drain(..bytes);
                self.state = match told_arguments {
                    true => State::Broken,
                    false => State::Text,
                };
                return true;
            }
            Read::Nothing => {
                self.nothing_at_all();
                return true;
            }
        }
        false
    }

    /// As [`Self::nothing`], where what came begins with the tag, in which no other is looked for.
    fn nothing_at_all(&mut self) {
        if self.raw.trim_start().starts_with(PYTHON_TAG) {
            self.state = State::Code;
        } else {
            self.nothing();
        }
    }

    /// Tell the text before a tag. True if there is one.
    fn text(&mut self, last: bool, parts: &mut Vec<Part>) -> bool {
        let begin = self.held.find(PYTHON_TAG);
        let until = match begin {
            Some(at) => at,
            None if last => self.held.len(),
            None => self.held.len() - overlap(&self.held, PYTHON_TAG),
        };
        let text: String = self.held.drain(..until).collect();
        self.prose.text(&text, parts);
        if begin.is_some() {
            self.take(PYTHON_TAG.len());
            self.state = State::Tag;
        }
        begin.is_some()
    }

    /// Nothing follows.
    fn end(&mut self, parts: &mut Vec<Part>) {
        let text = std::mem::take(&mut self.raw) + &std::mem::take(&mut self.held);
        match std::mem::replace(&mut self.state, State::Text) {
            State::Call(reader) if reader.tells_arguments() => {
                parts.push(Part::CallEnd { whole: false });
            }
            State::Call(reader) if reader.is_told() => {}
            State::Broken => parts.push(Part::CallEnd { whole: false }),
            State::Code => match self.code(&text) {
                Some(call) => {
                    self.prose.call();
                    call.tell(parts);
                }
                None => self.prose.text(&text, parts),
            },
            // What stands between calls.
            State::Start if self.told => {}
            State::Start | State::Tag | State::Call(_) | State::Text => {
                self.prose.text(&text, parts);
            }
        }
        self.prose.end(parts);
    }

    /// What follows the tag, as a call.
    fn code(&self, text: &str) -> Option<Call> {
        let code = text.split_once(PYTHON_TAG)?.1.trim();
        if let Some(call) = builtin::call(code).filter(|call| self.names.has(&call.name)) {
            return Some(call);
        }
        let name = INTERPRETERS.iter().find(|name| self.names.has(name))?;
        let arguments = serde_json::json!({"code": code}).to_string();
        (!code.is_empty()).then(|| Call {
            name: (*name).to_owned(),
            arguments,
            whole: true,
        })
    }
}
