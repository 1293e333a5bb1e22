//! The conversation of another API, whose items may be parts of turns: what an assistant thought,
//! said and called follows one another there, and is one message here.

use super::Names;
use crate::json::{Written, array};

/// Writes `messages`.
#[derive(Debug, Default)]
pub struct Turns {
    written: Vec<String>,
    /// The assistant's turn that may go on.
    open: Option<Turn>,
    names: Names,
}

/// An assistant's turn.
#[derive(Debug, Default)]
struct Turn {
    reasoning: String,
    /// The text of JSON.
    content: Option<String>,
    calls: Vec<String>,
}

impl Turns {
    /// A whole message of another role: `fields` beside it, from the field `own`.
    pub fn message(&mut self, role: &str, fields: Written, own: &str) {
        self.close();
        let at = self.path();
        self.names.add(at, own);
        let message = Written::new().with("role", &role).with_all(&fields);
        self.written.push(message.text());
    }

    /// The content of the message that was written last was the field `own`.
    pub fn content(&mut self, own: &str) {
        if let Some(at) = self.written.len().checked_sub(1) {
            self.names.add(format!("messages[{at}].content"), own);
        }
    }

    /// What the assistant thought.
    pub fn reasoning(&mut self, text: &str, own: &str) {
        if self
            .open
            .as_ref()
            .is_some_and(|turn| turn.content.is_some() || !turn.calls.is_empty())
        {
            self.close();
        }
        let path = format!("{}.reasoning_content", self.path());
        self.names.add(path, own);
        let turn = self.open.get_or_insert_default();
        if !turn.reasoning.is_empty() {
            turn.reasoning.push('\n');
        }
        turn.reasoning.push_str(text);
    }

    /// What it said: `content` is the text of JSON, and was the field `own`.
    pub fn said(&mut self, content: &str, own: &str) {
        if self
            .open
            .as_ref()
            .is_some_and(|turn| turn.content.is_some() || !turn.calls.is_empty())
        {
            self.close();
        }
        let path = format!("{}.content", self.path());
        self.names.add(path, own);
        self.open.get_or_insert_default().content = Some(content.to_owned());
    }

    /// What it called: `id` and `function` are as in `tool_calls`, from the field `own`. `function`
    /// has the fields that `own` has.
    pub fn called(&mut self, id: Option<&str>, function: Written, own: &str) {
        let at = self.open.as_ref().map_or(0, |turn| turn.calls.len());
        let path = format!("{}.tool_calls[{at}]", self.path());
        self.names.add(format!("{path}.function"), own);
        self.names.add(path, own);
        if self.open.is_none() {
            let path = self.path();
            self.names.add(path, own);
        }
        let call = Written::new()
            .with_some("id", id.as_ref())
            .with_raw("function", &function.text());
        self.open.get_or_insert_default().calls.push(call.text());
    }

    /// `messages`, and the names of its parts.
    pub fn finish(mut self) -> (String, Names) {
        self.close();
        (array(&self.written), self.names)
    }

    /// Where the next message, or the open one, stands.
    fn path(&self) -> String {
        format!("messages[{}]", self.written.len())
    }

    fn close(&mut self) {
        let Some(turn) = self.open.take() else {
            return;
        };
        let reasoning = Some(&turn.reasoning).filter(|text| !text.is_empty());
        let mut message = Written::new()
            .with("role", &"assistant")
            .with_some("reasoning_content", reasoning);
        if let Some(content) = &turn.content {
            message = message.with_raw("content", content);
        }
        if !turn.calls.is_empty() {
            message = message.with_raw("tool_calls", &array(&turn.calls));
        }
        self.written.push(message.text());
    }
}
