//! A response as its typed events, and as the whole that they come to.

use super::answer::{self, Cost, Document, State};
use crate::{
    answer::Finished,
    choices::{End, MAX_BYTES, Piece},
    engine::{TokenDetail, Usage},
    error::{ApiError, Resume},
    json::{Written, array, to_text},
    logprobs::Shown,
    parts::{Part, Thought},
    stream::{Teller, push_event},
};

/// Tells an answer as a response.
#[derive(Debug)]
pub(super) struct Events {
    document: Document,
    /// Events sent.
    number: u64,
    /// Items that are whole, texts of JSON.
    output: Vec<String>,
    /// The item that goes on.
    open: Option<Open>,
    /// The call that goes on.
    call: Option<OpenCall>,
    calls: usize,
    thought: Thought,
    /// Log probabilities are told.
    shown: Shown,
    /// Tokens that came and belong to no part yet.
    pending: Vec<TokenDetail>,
    /// No events are told: the answer is sent whole.
    is_whole: bool,
}

#[derive(Debug)]
struct Open {
    kind: Kind,
    id: String,
    text: String,
    /// Its tokens, texts of JSON.
    tokens: Vec<String>,
}

#[derive(Debug)]
struct OpenCall {
    id: String,
    call_id: String,
    /// The fields that say which function it calls.
    name: Written,
    arguments: String,
}

/// An item that is told in deltas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Reasoning,
    Message,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Kind::Reasoning => "rs",
            Kind::Message => "msg",
        }
    }

    fn item(
        self,
        id: &str,
        status: answer::Status,
        text: Option<&str>,
        tokens: &[String],
    ) -> String {
        match self {
            Kind::Reasoning => answer::reasoning(id, status, text),
            Kind::Message => answer::message(id, status, text, tokens),
        }
    }

    fn part(self, text: &str, tokens: &[String]) -> String {
        match self {
            Kind::Reasoning => answer::reasoning_part(text),
            Kind::Message => answer::text_part(text, tokens),
        }
    }

    /// The name of the events of its text.
    fn text_event(self, what: &str) -> String {
        match self {
            Kind::Reasoning => format!("response.reasoning_text.{what}"),
            Kind::Message => format!("response.output_text.{what}"),
        }
    }

    fn with_logprobs(self, event: Written, tokens: &[String]) -> Written {
        match self {
            Kind::Reasoning => event,
            Kind::Message => event.with_raw("logprobs", &array(tokens)),
        }
    }
}

impl Events {
    /// `shows_logprobs` where they are told of the tokens of messages.
    pub(super) fn new(document: Document, shows_logprobs: bool) -> Self {
        Events {
            document,
            number: 0,
            output: Vec::new(),
            open: None,
            call: None,
            calls: 0,
            thought: Thought::default(),
            shown: Shown {
                logprobs: shows_logprobs,
                ..Shown::default()
            },
            pending: Vec::new(),
            is_whole: false,
        }
    }

    fn event(&mut self, name: &str, fields: Written, bytes: &mut Vec<u8>) {
        if self.is_whole {
            return;
        }
        let event = Written::new()
            .with("type", &name)
            .with("sequence_number", &self.number)
            .with_all(&fields);
        self.number += 1;
        push_event(bytes, name, event.text().as_bytes());
    }

    fn state(&mut self, name: &str, state: &State, bytes: &mut Vec<u8>) {
        let response = self.document.write(state, &self.output);
        self.event(name, Written::new().with_raw("response", &response), bytes);
    }

    fn item(&mut self, name: &str, item: &str, bytes: &mut Vec<u8>) {
        let at = self.output.len();
        let fields = Written::new()
            .with("output_index", &at)
            .with_raw("item", item);
        self.event(name, fields, bytes);
    }

    /// The beginning of an event about the item that goes on.
    fn about(&self, id: &str) -> Written {
        Written::new()
            .with("item_id", &id)
            .with("output_index", &self.output.len())
    }

    /// Text of an item of this kind, which begins if there is none.
    fn text(&mut self, kind: Kind, text: &str, bytes: &mut Vec<u8>) {
        if self.open.as_ref().is_some_and(|open| open.kind != kind) {
            self.close("completed", bytes);
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.begin(kind, bytes),
        };
        let mut tokens = self.tokens_of(kind, text, open.text.is_empty());
        if !text.is_empty() {
            let fields = self.about(&open.id).with("content_index", &0);
            let fields = kind.with_logprobs(fields.with("delta", &text), &tokens);
            self.event(&kind.text_event("delta"), fields, bytes);
        }
        open.text.push_str(text);
        open.tokens.append(&mut tokens);
        self.open = Some(open);
    }

    /// The tokens of a text, as far as they came; those of other parts are left out. Before the
    /// `first` text of a message there may be tokens that are none of it, as those of tags.
    fn tokens_of(&mut self, kind: Kind, text: &str, first: bool) -> Vec<String> {
        let mut tokens = std::mem::take(&mut self.pending);
        if kind != Kind::Message || !self.shown.logprobs {
            return Vec::new();
        }
        tokens.retain(|token| !token.special);
        if first {
            let begins = |at: &usize| {
                let behind = tokens.iter().skip(*at).flat_map(|token| &token.bytes);
                let behind: Vec<u8> = behind.copied().take(text.len()).collect();
                behind == text.as_bytes()
            };
            let begin = (0..tokens.len()).find(begins);
            let last = tokens.len().saturating_sub(1);
            tokens.drain(..begin.unwrap_or(last));
        }
        self.shown.tokens(&tokens).iter().map(to_text).collect()
    }

    fn begin(&mut self, kind: Kind, bytes: &mut Vec<u8>) -> Open {
        let id = self.document.item_id(kind.prefix(), self.output.len());
        let item = kind.item(&id, "in_progress", None, &[]);
        self.item("response.output_item.added", &item, bytes);
        let part = self.about(&id).with("content_index", &0);
        let part = part.with_raw("part", &kind.part("", &[]));
        self.event("response.content_part.added", part, bytes);
        Open {
            kind,
            id,
            text: String::new(),
            tokens: Vec::new(),
        }
    }

    fn close(&mut self, status: answer::Status, bytes: &mut Vec<u8>) {
        let Some(open) = self.open.take() else {
            return;
        };
        let Open {
            kind,
            id,
            text,
            tokens,
        } = open;
        let about = self.about(&id).with("content_index", &0);
        let fields = kind.with_logprobs(about.clone().with("text", &text), &tokens);
        self.event(&kind.text_event("done"), fields, bytes);
        let part = about.with_raw("part", &kind.part(&text, &tokens));
        self.event("response.content_part.done", part, bytes);
        let item = kind.item(&id, status, Some(&text), &tokens);
        self.item("response.output_item.done", &item, bytes);
        self.output.push(item);
    }

    /// Begin a call.
    fn call(&mut self, name: &str, bytes: &mut Vec<u8>) {
        self.close("completed", bytes);
        self.pending.clear();
        let id = self.document.item_id("fc", self.output.len());
        let call_id = self.document.call_id(self.calls);
        self.calls += 1;
        let name = self.document.name(name);
        let item = answer::call(&id, "in_progress", &call_id, &name, "");
        self.item("response.output_item.added", &item, bytes);
        self.call = Some(OpenCall {
            id,
            call_id,
            name,
            arguments: String::new(),
        });
    }

    /// More of the call's arguments.
    fn arguments(&mut self, text: &str, bytes: &mut Vec<u8>) {
        let Some(mut open) = self.call.take() else {
            return;
        };
        self.pending.clear();
        let delta = self.about(&open.id).with("delta", &text);
        self.event("response.function_call_arguments.delta", delta, bytes);
        open.arguments += text;
        self.call = Some(open);
    }

    /// The call is over.
    fn end_call(&mut self, whole: bool, bytes: &mut Vec<u8>) {
        let Some(call) = self.call.take() else {
            return;
        };
        let done = self.about(&call.id).with_all(&call.name);
        let done = done.with("arguments", &call.arguments);
        self.event("response.function_call_arguments.done", done, bytes);
        let status = if whole { "completed" } else { "incomplete" };
        let item = answer::call(&call.id, status, &call.call_id, &call.name, &call.arguments);
        self.item("response.output_item.done", &item, bytes);
        self.output.push(item);
    }

    /// What ends the items: an answer has one at least.
    fn end(&mut self, end: End, bytes: &mut Vec<u8>) {
        if self.output.is_empty() && self.open.is_none() {
            self.text(Kind::Message, "", bytes);
        }
        let cut = end == End::Length;
        self.close(if cut { "incomplete" } else { "completed" }, bytes);
    }

    /// Tokens that came with the next parts, or before them.
    fn come<'a>(&mut self, tokens: impl IntoIterator<Item = &'a TokenDetail>) {
        if self.shown.logprobs {
            self.pending.extend(tokens.into_iter().cloned());
        }
    }

    fn part(&mut self, part: &Part, bytes: &mut Vec<u8>) {
        match part {
            Part::Reasoning(text) => self.text(Kind::Reasoning, text, bytes),
            Part::Text(text) => self.text(Kind::Message, text, bytes),
            Part::Call(name) => self.call(name, bytes),
            Part::Arguments(text) => self.arguments(text, bytes),
            Part::CallEnd { whole } => self.end_call(*whole, bytes),
        }
    }
}

impl Teller for Events {
    fn whole(&mut self, finished: &[Finished], usage: Usage) -> Vec<u8> {
        // A chat has one choice.
        let Some(finished) = finished.first() else {
            return Vec::new();
        };
        self.is_whole = true;
        let mut events = Vec::new();
        let mut parts = finished.parts.iter();
        let mut tokens = finished.tokens.details.iter();
        for &(n_parts, n_tokens) in &finished.steps {
            self.come(tokens.by_ref().take(n_tokens));
            for part in parts.by_ref().take(n_parts) {
                self.part(part, &mut events);
            }
        }
        self.end(finished.end, &mut events);
        let reasoning_tokens = finished.reasoning_tokens;
        let cost = Cost {
            usage,
            reasoning_tokens,
        };
        let state = State::Ended(finished.end, cost);
        self.document.write(&state, &self.output).into_bytes()
    }

    /// The items that ended are told again, each and all together.
    fn most_bytes(&self) -> usize {
        MAX_BYTES / 2
    }

    fn open(&mut self, _usage: Usage, bytes: &mut Vec<u8>) {
        self.state("response.created", &State::InProgress, bytes);
        self.state("response.in_progress", &State::InProgress, bytes);
    }

    fn tell(&mut self, piece: &Piece, usage: Usage, last: bool, bytes: &mut Vec<u8>) {
        self.thought.count(&piece.parts, piece.tokens);
        self.come(&piece.told.details);
        for part in &piece.parts {
            self.part(part, bytes);
        }
        let Some(end) = piece.end.filter(|_| last) else {
            return;
        };
        self.end(end, bytes);
        let reasoning_tokens = self.thought.tokens();
        let cost = Cost {
            usage,
            reasoning_tokens,
        };
        let name = match end {
            End::Length => "response.incomplete",
            _ => "response.completed",
        };
        self.state(name, &State::Ended(end, cost), bytes);
    }

    fn fault(&mut self, error: &ApiError, resume: &Resume, bytes: &mut Vec<u8>) {
        self.close("incomplete", bytes);
        self.end_call(false, bytes);
        self.document.resume(resume);
        self.state("response.failed", &State::Failed(error.clone()), bytes);
    }
}
