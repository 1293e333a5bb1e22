//! A message as Anthropic's clients read it: whole, or as events.

use serde_json::{Value, json};

use crate::{
    answer::{Finished, Stamp, call_id},
    choices::{End, Piece},
    engine::Usage,
    error::{ApiError, Form, Resume},
    json::{Written, array},
    parts::{Joined, Part},
    stream::{Teller, push_event},
};

/// Tells an answer as a message.
#[derive(Debug)]
pub(super) struct Events {
    stamp: Stamp,
    model: String,
    /// The block that goes on.
    open: Option<Open>,
    /// Blocks that are whole.
    blocks: usize,
    calls: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Thinking,
    Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Said(Kind),
    Call,
}

/// Why a message ended, and the text that ended it.
type Stop<'a> = (&'static str, Option<&'a str>);

fn stop(end: End, text: Option<&str>) -> Stop<'_> {
    match (end, text) {
        (End::Length, _) => ("max_tokens", None),
        (End::Calls, _) => ("tool_use", None),
        (End::Stop, Some(text)) => ("stop_sequence", Some(text)),
        (End::Stop, None) => ("end_turn", None),
    }
}

impl Events {
    pub(super) fn new(stamp: Stamp, model: String) -> Self {
        Events {
            stamp,
            model,
            open: None,
            blocks: 0,
            calls: 0,
        }
    }

    /// The message with this content, texts of JSON.
    fn message(&self, content: &[String], stop: Option<Stop<'_>>, usage: Usage) -> String {
        let (reason, text) = match stop {
            Some((reason, text)) => (Some(reason), text),
            None => (None, None),
        };
        Written::new()
            .with("id", &format!("msg_{:032x}", self.stamp.id))
            .with("type", &"message")
            .with("role", &"assistant")
            .with("model", &self.model)
            .with_raw("content", &array(content))
            .with("stop_reason", &reason)
            .with("stop_sequence", &text)
            .with("usage", &cost(usage))
            .text()
    }

    fn call_block(&mut self, name: &str, input: &str) -> String {
        let id = call_id(self.stamp.id, 0, self.calls).replace("call_", "toolu_");
        self.calls += 1;
        Written::new()
            .with("type", &"tool_use")
            .with("id", &id)
            .with("name", &name)
            .with_raw("input", input)
            .text()
    }

    fn event(name: &str, fields: Written, bytes: &mut Vec<u8>) {
        let event = Written::new().with("type", &name).with_all(&fields);
        push_event(bytes, name, event.text().as_bytes());
    }

    /// The beginning of an event about the block that is next or goes on.
    fn at(&self) -> Written {
        Written::new().with("index", &self.blocks)
    }

    fn delta(&self, kind: &str, name: &str, text: &str, bytes: &mut Vec<u8>) {
        let delta = json!({"type": kind, name: text});
        let fields = self.at().with("delta", &delta);
        Self::event("content_block_delta", fields, bytes);
    }

    fn begin(&self, block: &str, bytes: &mut Vec<u8>) {
        let fields = self.at().with_raw("content_block", block);
        Self::event("content_block_start", fields, bytes);
    }

    fn text(&mut self, kind: Kind, text: &str, bytes: &mut Vec<u8>) {
        if self.open != Some(Open::Said(kind)) {
            self.close(bytes);
            self.begin(&block(kind, "").to_string(), bytes);
            self.open = Some(Open::Said(kind));
        }
        match kind {
            Kind::Thinking => self.delta("thinking_delta", "thinking", text, bytes),
            Kind::Text => self.delta("text_delta", "text", text, bytes),
        }
    }

    fn close(&mut self, bytes: &mut Vec<u8>) {
        if self.open.take().is_some() {
            Self::event("content_block_stop", self.at(), bytes);
            self.blocks += 1;
        }
    }

    fn part(&mut self, part: &Part, bytes: &mut Vec<u8>) {
        match part {
            Part::Reasoning(text) => self.text(Kind::Thinking, text, bytes),
            Part::Text(text) => self.text(Kind::Text, text, bytes),
            Part::Call(name) => {
                self.close(bytes);
                let block = self.call_block(name, "{}");
                self.begin(&block, bytes);
                self.open = Some(Open::Call);
            }
            Part::Arguments(text) => {
                self.delta("input_json_delta", "partial_json", text, bytes);
            }
            Part::CallEnd { .. } => self.close(bytes),
        }
    }
}

/// A block of a text. What Anthropic signs so that it can be given back needs no signature here.
fn block(kind: Kind, text: &str) -> Value {
    match kind {
        Kind::Thinking => json!({"type": "thinking", "thinking": text, "signature": ""}),
        Kind::Text => json!({"type": "text", "text": text}),
    }
}

/// Cached tokens are counted apart from the others.
fn cost(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens.saturating_sub(usage.cached_tokens),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    })
}

impl Teller for Events {
    fn whole(&mut self, finished: &[Finished], usage: Usage) -> Vec<u8> {
        // A chat has one choice.
        let Some(finished) = finished.first() else {
            return Vec::new();
        };
        let mut content = Vec::new();
        for part in Joined::all(finished.parts.clone()) {
            content.push(match part {
                Joined::Reasoning(text) => block(Kind::Thinking, &text).to_string(),
                Joined::Text(text) => block(Kind::Text, &text).to_string(),
                Joined::Call(call) => self.call_block(&call.name, &call.object()),
            });
        }
        let stop = stop(finished.end, finished.stopped.as_deref());
        self.message(&content, Some(stop), usage).into_bytes()
    }

    fn open(&mut self, usage: Usage, bytes: &mut Vec<u8>) {
        let message = self.message(&[], None, usage);
        let fields = Written::new().with_raw("message", &message);
        Self::event("message_start", fields, bytes);
        bytes.extend(self.keep_alive());
    }

    fn tell(&mut self, piece: &Piece, usage: Usage, last: bool, bytes: &mut Vec<u8>) {
        for part in &piece.parts {
            self.part(part, bytes);
        }
        let Some(end) = piece.end.filter(|_| last) else {
            return;
        };
        let (reason, text) = stop(end, piece.stopped.as_deref());
        self.close(bytes);
        let delta = json!({"stop_reason": reason, "stop_sequence": text});
        let fields = Written::new()
            .with("delta", &delta)
            .with("usage", &cost(usage));
        Self::event("message_delta", fields, bytes);
        Self::event("message_stop", Written::new(), bytes);
    }

    fn fault(&mut self, error: &ApiError, resume: &Resume, bytes: &mut Vec<u8>) {
        let event = Written::new()
            .with("type", &"error")
            .with("error", &Form::anthropic(error))
            .with("resume", resume);
        push_event(bytes, "error", event.text().as_bytes());
    }

    fn keep_alive(&self) -> Vec<u8> {
        b"event: ping\ndata: {\"type\":\"ping\"}\n\n".to_vec()
    }
}
