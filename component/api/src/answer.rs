//! Completions as OpenAI writes them: whole, or in chunks.

use crate::{
    engine::{FinishReason, Usage},
    json::to_json,
    kind::Kind,
    params::StreamUsage,
};
use serde::Serialize;

/// Says which build answered. The same build, model, prompt and seed give the same tokens on every
/// CPU, so the version is all that a fingerprint has to tell.
const SYSTEM_FINGERPRINT: &str = concat!("sterna-", env!("CARGO_PKG_VERSION"));

/// The identity of an answer, different from every other one; drawn by the transport.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// 128 random bits.
    pub id: u128,
    /// Unix time in seconds.
    pub created: u64,
}

/// The common part of all chunks of one answer.
#[derive(Debug)]
pub struct Answer {
    kind: Kind,
    id: String,
    created: u64,
    model: String,
    /// Which chunks say what it cost.
    usage: StreamUsage,
}

/// A choice that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// All of its text.
    pub text: String,
    /// Why it ended.
    pub reason: FinishReason,
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
    /// An answer by `model`; `usage` matters to chunks only.
    pub fn new(kind: Kind, stamp: Stamp, model: String, usage: StreamUsage) -> Self {
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
            usage,
        }
    }

    /// The whole answer: its choices in order.
    pub fn whole(&self, finished: &[Finished], usage: Usage) -> Vec<u8> {
        let object = match self.kind {
            Kind::Chat => "chat.completion",
            Kind::Text => "text_completion",
        };
        let choices = (0..).zip(finished);
        let choices: Vec<_> = choices
            .map(|(index, one)| self.choice(index, one))
            .collect();
        self.document(object, &choices, Some(Some(usage.into())))
    }

    fn choice<'a>(&self, index: u32, finished: &'a Finished) -> Choice<'a> {
        let mut choice = Choice {
            index,
            finish_reason: Some(reason(finished.reason)),
            ..Choice::default()
        };
        match self.kind {
            Kind::Chat => {
                choice.message = Some(MessageDocument {
                    role: "assistant",
                    content: &finished.text,
                    refusal: (),
                });
            }
            Kind::Text => choice.text = Some(&finished.text),
        }
        choice
    }

    /// The chunk that opens a chat and names the speaker; a completion has none.
    pub fn opening_chunk(&self, usage: Usage) -> Option<Vec<u8>> {
        let delta = Delta {
            role: Some("assistant"),
            content: Some(""),
        };
        let choice = Choice {
            delta: Some(delta),
            ..Choice::default()
        };
        (self.kind == Kind::Chat).then(|| self.chunk(choice, usage))
    }

    /// A piece of a choice's text. `usage` is what all of them cost so far.
    pub fn text_chunk(&self, index: u32, text: &str, usage: Usage) -> Vec<u8> {
        let mut choice = Choice {
            index,
            ..Choice::default()
        };
        match self.kind {
            Kind::Chat => {
                choice.delta = Some(Delta {
                    role: None,
                    content: Some(text),
                });
            }
            Kind::Text => choice.text = Some(text),
        }
        self.chunk(choice, usage)
    }

    /// Why a choice ended.
    pub fn finish_chunk(&self, index: u32, why: FinishReason, usage: Usage) -> Vec<u8> {
        let mut choice = Choice {
            index,
            finish_reason: Some(reason(why)),
            ..Choice::default()
        };
        match self.kind {
            Kind::Chat => choice.delta = Some(Delta::default()),
            Kind::Text => choice.text = Some(""),
        }
        self.chunk(choice, usage)
    }

    /// The usage of the answer, if the client asked for it.
    pub fn usage_chunk(&self, usage: Usage) -> Option<Vec<u8>> {
        (self.usage != StreamUsage::Never)
            .then(|| self.document(self.chunk_object(), &[], Some(Some(usage.into()))))
    }

    fn chunk(&self, choice: Choice<'_>, usage: Usage) -> Vec<u8> {
        let usage = match self.usage {
            StreamUsage::Never => None,
            StreamUsage::AtTheEnd => Some(None),
            StreamUsage::Always => Some(Some(usage.into())),
        };
        self.document(self.chunk_object(), &[choice], usage)
    }

    fn chunk_object(&self) -> &'static str {
        match self.kind {
            Kind::Chat => "chat.completion.chunk",
            Kind::Text => "text_completion",
        }
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
