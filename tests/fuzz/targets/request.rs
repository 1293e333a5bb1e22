//! An HTTP request: method and path, content type, body; and the whole answer to it.
#![no_main]
#![allow(missing_docs, reason = "the macro's own")]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use sterna_api::answer::Stamp;
use sterna_api::engine::{
    CallForm, Conversation, Engine, Error, Event, Finish, FinishReason, Generation, ListedModel,
    ModelInfo, ModelState, Request, Tags, Usage,
};
use sterna_api::http::Head;
use sterna_api::reply::Body;
use sterna_api::settings::Settings;

/// Says a sentence and ends, whatever it is asked.
#[derive(Clone)]
struct Echo;

struct Sentence(Vec<Event>);

fn tags(begin: &str, end: &str) -> Option<Tags> {
    let (begin, end) = (begin.into(), end.into());
    Some(Tags { begin, end })
}

fn info() -> ModelInfo {
    ModelInfo {
        id: "m".into(),
        created: 0,
        architecture: "bitnet".into(),
        context_length: 64,
        vocab_size: 512,
        parameters: 1,
        head_type: "F16".into(),
        kv_type: "f32".into(),
        isa: "scalar".into(),
        max_sequences: 1,
        embedding_size: 4,
        generates: true,
        reasoning_tags: tags("<think>", "</think>"),
        call_form: tags("<tool_call>", "</tool_call>").map(CallForm::Tagged),
        fingerprint: String::new(),
    }
}

impl Engine for Echo {
    type Generation = Sentence;

    fn models(&self) -> Vec<ListedModel> {
        vec![ListedModel {
            id: "m".into(),
            alias_of: None,
            created: 0,
            state: ModelState::Loaded,
            info: Some(info()),
        }]
    }

    fn model(&self, _: Option<&str>, _: u32) -> Result<Option<ModelInfo>, Error> {
        Ok(Some(info()))
    }

    fn now_ms(&self) -> u64 {
        0
    }

    fn generate(&self, request: &Request) -> Result<Sentence, Error> {
        let usage = Usage {
            prompt_tokens: 1,
            completion_tokens: 2,
            cached_tokens: 0,
        };
        let event = |text: &str, finish| Event {
            text: text.into(),
            tokens: vec![1],
            finish,
            details: Vec::new(),
            prompt: Vec::new(),
            embedding: None,
        };
        let reason = FinishReason::Stop;
        if request.embed {
            let embedding = Some(vec![0.5; 4]);
            return Ok(Sentence(vec![Event {
                embedding,
                ..event("", Some(Finish { reason, usage }))
            }]));
        }
        Ok(Sentence(vec![
            event("\u{1F600}\"\n", Some(Finish { reason, usage })),
            event("<tool_call>{\"name\": \"f\"}</tool_call> <tool_call>", None),
            event("Why</think>Yes", None),
        ]))
    }

    fn tokenize(&self, _model: &str, text: &str, _add_special: bool) -> Result<Vec<u32>, Error> {
        Ok(text.bytes().map(u32::from).collect())
    }

    fn detokenize(&self, _model: &str, tokens: &[u32]) -> Result<String, Error> {
        Ok("\u{FFFD}".repeat(tokens.len()))
    }

    fn apply_template(&self, _model: &str, conversation: &Conversation) -> Result<String, Error> {
        let turns = conversation.messages.iter();
        Ok(turns.map(|turn| turn.content.as_str()).collect())
    }

    async fn pause(&self) {}
}

impl Generation for Sentence {
    async fn next(&mut self) -> Result<Option<Event>, Error> {
        Ok(self.0.pop())
    }

    fn prompt_tokens(&self) -> u32 {
        1
    }

    fn reasons(&self) -> bool {
        true
    }
}

/// Nothing here waits for anything.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => {
            panic!("the API waits for nothing but engine and body, and neither waits here")
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let [line, content_type, body] = sterna_fuzz::parts(input);
    let line = String::from_utf8_lossy(line);
    let (method, path) = line.split_once(' ').unwrap_or(("POST", &line));
    let head = Head {
        method: method.into(),
        path: path.into(),
        content_type: std::str::from_utf8(content_type).ok().map(Into::into),
        ..Head::default()
    };
    let settings = Settings {
        api_keys: Vec::new(),
        default_max_tokens: Some(8),
        max_tokens: Some(16),
        max_prompt_tokens: None,
        max_messages: 8,
        max_body_bytes: 1 << 16,
        model_alias: Some("alias".into()),
        cors_origin: None,
        allowed_hosts: Vec::new(),
        request_timeout_ms: None,
        resume_keys: Vec::new(),
    };
    let stamp = Stamp {
        id: 1,
        created: 2,
        clock: || 0,
    };
    let reply = now(sterna_api::route::handle(
        &Echo,
        &settings,
        &head,
        &mut &*body,
        stamp,
    ));
    assert!((200..600).contains(&reply.status));
    match reply.body {
        Body::Whole(bytes) => {
            let json = reply
                .headers
                .iter()
                .any(|h| h.value() == "application/json");
            if json && method != "HEAD" {
                serde_json::from_slice::<serde_json::Value>(&bytes).expect("JSON");
            }
        }
        Body::Events(mut events) => while now(events.next()).is_some() {},
    }
});
