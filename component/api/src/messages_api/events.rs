//! A message as Anthropic's clients read it: whole, or as events.

use serde_json::{Value, json};

use crate::{
    answer::{Finished, Stamp, call_id},
    choices::{End, Piece},
    engine::Usage,
    error::{ApiError, Form, Resume},
    json::{Written, array},
    parts::{Call, Part},
    stream::{Teller, push_event},
};

/// Tells an answer as a message.
#[derive(Debug)]
pub(super) struct Events {
    stamp: Stamp,
    model: String,
    /// The texts at which the answer stops; where it does, one is its end.
    stops: Vec<String>,
    /// The block that goes on.
    open: Option<Kind>,
    /// Blocks that are whole.
    blocks: usize,
    calls: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Thinking,
    Text,
}

/// Why a message ended, and the text that ended it.
type Stop = (&'static str, Option<String>);

impl Events {
    pub(super) fn new(stamp: Stamp, model: String, stops: Vec<String>) -> Self {
        Events {
            stamp,
            model,
            stops,
            open: None,
            blocks: 0,
            calls: 0,
        }
    }

    /// Take the stop text off the end of the last parts.
    fn stop(&self, parts: &mut Vec<Part>, end: End) -> Stop {
        let reason = match end {
            End::Length => return ("max_tokens", None),
            End::Calls => "tool_use",
            End::Stop => "end_turn",
        };
        // Blanks at the end are a part of their own.
        let mut last = String::new();
        while let Some(Part::Text(text)) = parts.last() {
            last.insert_str(0, text);
            parts.pop();
        }
        let found = self.stops.iter().filter(|stop| last.ends_with(*stop));
        let found = found.max_by_key(|stop| stop.len()).cloned();
        if let Some(stop) = &found {
            last.truncate(last.len() - stop.len());
        }
        if !last.is_empty() {
            parts.push(Part::Text(last));
        }
        match found {
            Some(stop) if end == End::Stop => ("stop_sequence", Some(stop)),
            _ => (reason, None),
        }
    }

    /// The message with this content, texts of JSON.
    fn message(&self, content: &[String], stop: Option<&Stop>, usage: Usage) -> String {
        let (reason, text) = match stop {
            Some((reason, text)) => (Some(*reason), text.as_ref()),
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

    fn call_block(&mut self, call: &Call, input: &str) -> String {
        let id = call_id(self.stamp.id, 0, self.calls).replace("call_", "toolu_");
        self.calls += 1;
        Written::new()
            .with("type", &"tool_use")
            .with("id", &id)
            .with("name", &call.name)
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
        if self.open != Some(kind) {
            self.close(bytes);
            self.begin(&block(kind, "").to_string(), bytes);
            self.open = Some(kind);
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
            Part::Call(call) => {
                self.close(bytes);
                let block = self.call_block(call, "{}");
                self.begin(&block, bytes);
                self.delta("input_json_delta", "partial_json", &call.arguments, bytes);
                Self::event("content_block_stop", self.at(), bytes);
                self.blocks += 1;
            }
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
        let mut last = vec![Part::Text(finished.text.clone())];
        let stop = self.stop(&mut last, finished.end);
        let mut content = Vec::new();
        if !finished.reasoning.is_empty() {
            content.push(block(Kind::Thinking, &finished.reasoning).to_string());
        }
        for part in &last {
            if let Part::Text(text) = part {
                content.push(block(Kind::Text, text).to_string());
            }
        }
        for call in &finished.calls {
            content.push(self.call_block(call, &call.arguments));
        }
        self.message(&content, Some(&stop), usage).into_bytes()
    }

    fn open(&mut self, usage: Usage, bytes: &mut Vec<u8>) {
        let message = self.message(&[], None, usage);
        let fields = Written::new().with_raw("message", &message);
        Self::event("message_start", fields, bytes);
        bytes.extend(self.keep_alive());
    }

    fn tell(&mut self, piece: &Piece, usage: Usage, last: bool, bytes: &mut Vec<u8>) {
        let Some(end) = piece.end.filter(|_| last) else {
            for part in &piece.parts {
                self.part(part, bytes);
            }
            return;
        };
        let mut parts = piece.parts.clone();
        let (reason, text) = self.stop(&mut parts, end);
        for part in &parts {
            self.part(part, bytes);
        }
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
