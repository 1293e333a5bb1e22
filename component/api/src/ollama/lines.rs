//! An answer as Ollama's clients read it: whole, or a line of JSON for each piece.
//!
//! Ollama says how long things took; this component has no clock that could tell, so it does not.

use super::{Kind, facts::time};
use crate::{
    answer::{Finished, Stamp, call_id},
    choices::{End, Piece},
    engine::Usage,
    error::{ApiError, Resume},
    json::{Written, array, on_one_line},
    parts::{Call, Part},
    resume::Framing,
    stream::Teller,
};

/// Tells an answer by lines.
#[derive(Debug)]
pub(super) struct Lines {
    kind: Kind,
    stamp: Stamp,
    model: String,
    calls: usize,
    /// The call that goes on: it is told once it is complete.
    open: Option<Call>,
}

impl Lines {
    pub(super) fn new(kind: Kind, stamp: Stamp, model: String) -> Self {
        Lines {
            kind,
            stamp,
            model,
            calls: 0,
            open: None,
        }
    }

    fn begin(&self) -> Written {
        Written::new()
            .with("model", &self.model)
            .with("created_at", &time(self.stamp.created))
    }

    /// The field that holds what was said.
    fn said(&self, text: &str, reasoning: Option<&str>, calls: &[String]) -> Written {
        let thinking = reasoning.filter(|text| !text.is_empty());
        match self.kind {
            Kind::Prompt => Written::new()
                .with("response", &text)
                .with_some("thinking", thinking.as_ref()),
            Kind::Chat => {
                let mut message = Written::new()
                    .with("role", &"assistant")
                    .with("content", &text)
                    .with_some("thinking", thinking.as_ref());
                if !calls.is_empty() {
                    message = message.with_raw("tool_calls", &array(calls));
                }
                Written::new().with_raw("message", &message.text())
            }
        }
    }

    fn call(&mut self, call: &Call) -> String {
        let id = call_id(self.stamp.id, 0, self.calls);
        let function = Written::new()
            .with("index", &self.calls)
            .with("name", &call.name)
            .with_raw("arguments", &on_one_line(&call.object()));
        self.calls += 1;
        let call = Written::new().with("id", &id);
        call.with_raw("function", &function.text()).text()
    }

    fn piece(&self, said: &Written) -> String {
        self.begin().with_all(said).with("done", &false).text()
    }

    fn last(&self, said: &Written, end: End, usage: Usage) -> String {
        let reason = match end {
            End::Length => "length",
            _ => "stop",
        };
        self.begin()
            .with_all(said)
            .with("done", &true)
            .with("done_reason", &reason)
            .with("prompt_eval_count", &usage.prompt_tokens)
            .with("eval_count", &usage.completion_tokens)
            .text()
    }

    /// The answer to a request that only wants the model loaded.
    pub(super) fn loaded(&self) -> Vec<u8> {
        let document = self.begin().with_all(&self.said("", None, &[]));
        let document = document.with("done", &true).with("done_reason", &"load");
        document.text().into_bytes()
    }
}

fn push_line(bytes: &mut Vec<u8>, line: &str) {
    bytes.extend_from_slice(line.as_bytes());
    bytes.push(b'\n');
}

impl Teller for Lines {
    fn whole(&mut self, finished: &[Finished], usage: Usage) -> Vec<u8> {
        // Neither has several choices.
        let Some(finished) = finished.first() else {
            return Vec::new();
        };
        let calls: Vec<String> = finished.calls.iter().map(|it| self.call(it)).collect();
        let said = self.said(&finished.text, Some(&finished.reasoning), &calls);
        self.last(&said, finished.end, usage).into_bytes()
    }

    fn open(&mut self, _usage: Usage, _bytes: &mut Vec<u8>) {}

    fn tell(&mut self, piece: &Piece, usage: Usage, last: bool, bytes: &mut Vec<u8>) {
        for part in &piece.parts {
            let said = match part {
                Part::Text(text) => self.said(text, None, &[]),
                Part::Reasoning(text) => self.said("", Some(text), &[]),
                Part::Call(name) => {
                    self.open = Some(Call {
                        name: name.clone(),
                        arguments: String::new(),
                        whole: false,
                    });
                    continue;
                }
                Part::Arguments(text) => {
                    if let Some(call) = &mut self.open {
                        call.arguments += text;
                    }
                    continue;
                }
                Part::CallEnd { whole } => {
                    let Some(mut call) = self.open.take() else {
                        continue;
                    };
                    call.whole = *whole;
                    let call = self.call(&call);
                    self.said("", None, &[call])
                }
            };
            push_line(bytes, &self.piece(&said));
        }
        if let Some(end) = piece.end.filter(|_| last) {
            let said = self.said("", None, &[]);
            push_line(bytes, &self.last(&said, end, usage));
        }
    }

    fn fault(&mut self, error: &ApiError, resume: &Resume, bytes: &mut Vec<u8>) {
        let line = Written::new()
            .with("error", &error.message)
            .with("resume", resume);
        push_line(bytes, &line.text());
    }

    fn keep_alive(&self) -> Vec<u8> {
        // A blank line is no JSON.
        let mut line = Vec::new();
        push_line(&mut line, &self.piece(&self.said("", None, &[])));
        line
    }

    fn content_type(&self) -> &'static str {
        "application/x-ndjson"
    }

    fn framing(&self) -> Framing {
        Framing::Lines
    }
}
