//! Whole requests against a scripted engine: what each status is for, and what each route answers.
//! One file per topic.

mod answers;
mod any_input;
mod bodies;
mod calls;
mod completion_effects;
mod deadlines;
mod embeddings;
mod known_fields;
mod llama_cpp;
mod loading;
mod messages;
mod ollama;
mod operator;
mod page;
mod probabilities;
mod refusals;
mod response_effects;
mod response_events;
mod responses;
mod resume;
mod routes;
mod several;
mod sites;
mod tokens;

use super::*;
use crate::{
    now,
    testing::{ScriptedEngine, all, end, settings, text},
};
use serde_json::{Value, json};

pub(super) const CHAT: &str = "/v1/chat/completions";
pub(super) const TEXT: &str = "/v1/completions";
pub(super) const EMBED: &str = "/v1/embeddings";
const STAMP: Stamp = Stamp {
    id: 1,
    created: 1_700_000_000,
    clock: || 0,
};

pub(super) fn story() -> ScriptedEngine {
    ScriptedEngine::new(Ok(vec![text("Once"), text(""), end(" upon")]))
}

pub(super) struct Got {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Got {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| value.as_str())
    }

    /// Status, `code` and `param` of an error, after checking its shape.
    pub(super) fn error(&self) -> (u16, String, Option<String>) {
        let document = self.json();
        let error = document["error"].as_object().unwrap();
        let mut keys: Vec<&str> = error.keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["code", "message", "param", "type"]);
        assert!(!error["message"].as_str().unwrap().is_empty());
        assert!(error["type"].as_str().unwrap().ends_with("_error"));
        assert_eq!(self.header("content-type"), Some("application/json"));
        (
            self.status,
            error["code"].as_str().unwrap().to_owned(),
            error["param"].as_str().map(str::to_owned),
        )
    }
}

pub(super) fn ask(engine: &ScriptedEngine, head: &Head, body: &[u8]) -> Got {
    ask_under(&settings(), engine, head, body)
}

pub(super) fn ask_under(
    settings: &Settings,
    engine: &ScriptedEngine,
    head: &Head,
    mut body: &[u8],
) -> Got {
    let reply = now(handle(engine, settings, head, &mut body, STAMP));
    Got {
        status: reply.status,
        headers: reply
            .headers
            .iter()
            .map(|header| (header.name, header.value()))
            .collect(),
        body: match reply.body {
            Body::Whole(bytes) => bytes,
            Body::Events(events) => all(*events).concat(),
        },
    }
}

/// The head of a request that names its body JSON, if it has one.
pub(super) fn head(method: &str, path: &str, body: &[u8]) -> Head {
    let content_type = (!body.is_empty()).then(|| "application/json; charset=utf-8".to_owned());
    Head {
        method: method.into(),
        path: path.into(),
        content_type,
        ..Head::default()
    }
}

pub(super) fn send(engine: &ScriptedEngine, method: &str, path: &str, body: &[u8]) -> Got {
    ask(engine, &head(method, path, body), body)
}

pub(super) fn post(engine: &ScriptedEngine, path: &str, body: &Value) -> Got {
    send(engine, "POST", path, body.to_string().as_bytes())
}

/// The documents of a stream's events.
pub(super) fn events(got: &Got) -> Vec<Value> {
    let body = std::str::from_utf8(&got.body).unwrap();
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

pub(super) fn hello() -> Value {
    json!({"messages": [{"role": "user", "content": "Hello"}]})
}
