//! Completions as OpenAI writes them: whole, or in chunks.

use crate::{
    engine::{Finish, FinishReason, Usage},
    http::to_json,
};
use serde::Serialize;

/// Says which build answered. The same build, model, prompt and seed give the same tokens on every CPU, so
/// the version is all that a fingerprint has to tell.
const SYSTEM_FINGERPRINT: &str = concat!("sterna-", env!("CARGO_PKG_VERSION"));

/// Which of the two completion routes is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Text,
}

impl Kind {
    /// The field that carries the prompt.
    pub fn prompt_field(self) -> &'static str {
        match self {
            Kind::Chat => "messages",
            Kind::Text => "prompt",
        }
    }
}

/// What makes an answer different from every other one; drawn by the transport.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// 128 random bits.
    pub id: u128,
    /// Unix time in seconds.
    pub created: u64,
}

/// What all parts of one answer have in common.
#[derive(Debug)]
pub struct Answer {
    kind: Kind,
    id: String,
    created: u64,
    model: String,
    /// Chunks carry `"usage": null` then, and a last one the figures.
    include_usage: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'static str,
    choices: &'a [Choice<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<UsageDocument>>,
}

/// One of `message`, `delta` and `text` is set; `logprobs` is always null.
#[derive(Default, Serialize)]
struct Choice<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<MessageDocument<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<Delta<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    logprobs: (),
    finish_reason: Option<&'static str>,
}

#[derive(Serialize)]
struct MessageDocument<'a> {
    role: &'static str,
    content: &'a str,
    refusal: (),
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

#[derive(Serialize)]
struct UsageDocument {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u64,
    prompt_tokens_details: PromptTokensDetails,
}

#[derive(Serialize)]
struct PromptTokensDetails {
    cached_tokens: u32,
}

impl From<Usage> for UsageDocument {
    fn from(usage: Usage) -> Self {
        UsageDocument {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: u64::from(usage.prompt_tokens) + u64::from(usage.completion_tokens),
            prompt_tokens_details: PromptTokensDetails {
                cached_tokens: usage.cached_tokens,
            },
        }
    }
}

impl Answer {
    /// An answer by `model`; `include_usage` matters to chunks only.
    pub fn new(kind: Kind, stamp: Stamp, model: String, include_usage: bool) -> Self {
        let prefix = match kind {
            Kind::Chat => "chatcmpl",
            Kind::Text => "cmpl",
        };
        let id = format!("{prefix}-{:032x}", stamp.id);
        Answer {
            kind,
            id,
            created: stamp.created,
            model,
            include_usage,
        }
    }

    /// The whole answer.
    pub fn whole(&self, text: &str, finish: Finish) -> Vec<u8> {
        let mut choice = Choice {
            finish_reason: Some(reason(finish.reason)),
            ..Choice::default()
        };
        let object = match self.kind {
            Kind::Chat => {
                choice.message = Some(MessageDocument {
                    role: "assistant",
                    content: text,
                    refusal: (),
                });
                "chat.completion"
            }
            Kind::Text => {
                choice.text = Some(text);
                "text_completion"
            }
        };
        self.document(object, &[choice], Some(Some(finish.usage.into())))
    }

    /// The chunk that opens a chat and names the speaker; a completion has none.
    pub fn opening_chunk(&self) -> Option<Vec<u8>> {
        let delta = Delta {
            role: Some("assistant"),
            content: Some(""),
        };
        let choice = Choice {
            delta: Some(delta),
            ..Choice::default()
        };
        (self.kind == Kind::Chat).then(|| self.chunk(&[choice], None))
    }

    /// A piece of text.
    pub fn text_chunk(&self, text: &str) -> Vec<u8> {
        let choice = match self.kind {
            Kind::Chat => Choice {
                delta: Some(Delta {
                    role: None,
                    content: Some(text),
                }),
                ..Choice::default()
            },
            Kind::Text => Choice {
                text: Some(text),
                ..Choice::default()
            },
        };
        self.chunk(&[choice], None)
    }

    /// Why the answer ended.
    pub fn finish_chunk(&self, why: FinishReason) -> Vec<u8> {
        let mut choice = Choice {
            finish_reason: Some(reason(why)),
            ..Choice::default()
        };
        match self.kind {
            Kind::Chat => choice.delta = Some(Delta::default()),
            Kind::Text => choice.text = Some(""),
        }
        self.chunk(&[choice], None)
    }

    /// What the answer cost, if the client asked for it.
    pub fn usage_chunk(&self, usage: Usage) -> Option<Vec<u8>> {
        self.include_usage
            .then(|| self.chunk(&[], Some(usage.into())))
    }

    fn chunk(&self, choices: &[Choice<'_>], usage: Option<UsageDocument>) -> Vec<u8> {
        let object = match self.kind {
            Kind::Chat => "chat.completion.chunk",
            Kind::Text => "text_completion",
        };
        self.document(object, choices, self.include_usage.then_some(usage))
    }

    fn document(
        &self,
        object: &'static str,
        choices: &[Choice<'_>],
        usage: Option<Option<UsageDocument>>,
    ) -> Vec<u8> {
        to_json(&Document {
            id: &self.id,
            object,
            created: self.created,
            model: &self.model,
            system_fingerprint: SYSTEM_FINGERPRINT,
            choices,
            usage,
        })
    }
}

fn reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
    }
}
