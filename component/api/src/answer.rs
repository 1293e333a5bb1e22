//! Completions as OpenAI writes them: whole, or in chunks.

use crate::{
    choices::{Cost, End, Tokens},
    engine::Usage,
    json::to_json,
    kind::Kind,
    logprobs::{Logprobs, Offset, Place, Shown},
    params::StreamUsage,
    parts::{Call, Joined, Part},
    timings::timings,
};
use serde::Serialize;
use serde_json::Value;

pub use crate::stamp::Stamp;

/// Says which build answered. The same build, model, prompt and seed give the same tokens on every
/// CPU, so the version is all that a fingerprint has to tell.
const SYSTEM_FINGERPRINT: &str = concat!("sterna-", env!("CARGO_PKG_VERSION"));

/// The common part of all chunks of one answer.
#[derive(Debug)]
pub struct Answer {
    kind: Kind,
    id: String,
    /// Of the answer; its calls' follow.
    number: u128,
    created: u64,
    model: String,
    /// Which chunks say what it cost.
    usage: StreamUsage,
    /// What is told of tokens.
    shown: Shown,
    /// The times that are told.
    timings: Option<Value>,
}

/// A choice that is complete.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// All of its text.
    pub text: String,
    /// All of its reasoning.
    pub reasoning: String,
    /// The functions that it calls.
    pub calls: Vec<Call>,
    /// All of it in its order.
    pub parts: Vec<Part>,
    /// How many parts, and how many of the tokens that are told, came at a time.
    pub steps: Vec<(usize, usize)>,
    /// Why it ended.
    pub end: End,
    /// The text at which it stopped, where that is told.
    pub stopped: Option<String>,
    /// Tokens of its reasoning.
    pub reasoning_tokens: u32,
    /// The tokens of it all.
    pub tokens: Tokens,
    /// What it cost.
    pub cost: Cost,
}

impl Finished {
    /// The choice that these parts and tokens make.
    pub fn new(parts: Vec<Part>, tokens: Tokens, end: End) -> Self {
        let mut finished = Finished {
            text: String::new(),
            reasoning: String::new(),
            calls: Vec::new(),
            parts: parts.clone(),
            steps: Vec::new(),
            end,
            stopped: None,
            reasoning_tokens: 0,
            tokens,
            cost: Cost::default(),
        };
        for part in Joined::all(parts) {
            match part {
                Joined::Text(text) => finished.text.push_str(&text),
                Joined::Reasoning(text) => finished.reasoning.push_str(&text),
                Joined::Call(call) => finished.calls.push(call),
            }
        }
        finished
    }
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
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<&'a Value>,
    /// Of a chat, which has one prompt.
    #[serde(flatten)]
    prompt: PromptDocument,
}

/// What is told of a prompt's tokens: with a chat, or with each choice of a completion.
#[derive(Default, Serialize)]
struct PromptDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_token_ids: Option<Vec<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_logprobs: Option<Vec<Option<Place>>>,
}

/// A choice's tokens, before the first part of the choice that is written takes them.
#[derive(Debug, Default)]
pub struct Told {
    /// Calls of the choice that were told.
    pub calls: usize,
    /// Tokens that were not.
    pub tokens: Tokens,
    offset: Offset,
}

/// One of `message`, `delta` and `text` is set.
#[derive(Default, Serialize)]
struct Choice<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<MessageDocument<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<Delta<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    logprobs: Option<Logprobs>,
    finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ids: Option<Vec<u32>>,
    #[serde(flatten)]
    prompt: PromptDocument,
}

#[derive(Serialize)]
struct MessageDocument<'a> {
    role: &'static str,
    /// Null where there are calls and no text.
    content: Option<&'a str>,
    refusal: (),
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallDocument<'a>>,
}

/// A call, or in a chunk a part of one: then with the place it has among the answer's calls.
#[derive(Serialize)]
struct CallDocument<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    function: FunctionDocument<'a>,
}

#[derive(Serialize)]
struct FunctionDocument<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[CallDocument<'a>; 1]>,
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
            number: stamp.id,
            created: stamp.created,
            model,
            usage,
            shown: Shown::default(),
            timings: None,
        }
    }

    /// Tell the times of what this cost.
    pub fn time(&mut self, cost: Cost) {
        self.timings = Some(timings(cost));
    }

    /// The same with this of its tokens.
    pub fn showing(self, shown: Shown) -> Self {
        Answer { shown, ..self }
    }

    /// A choice with what is told of its tokens, which are used up.
    fn choice_of<'a>(&self, index: u32, told: &mut Told) -> Choice<'a> {
        let tokens = std::mem::take(&mut told.tokens);
        let shown = self.shown;
        let ids = |are: bool, ids: Vec<u32>| Some(ids).filter(|ids| are && !ids.is_empty());
        let prompt_ids = tokens.prompt.iter().map(|token| token.token).collect();
        Choice {
            index,
            logprobs: shown.logprobs(self.kind, &tokens, &mut told.offset),
            prompt: PromptDocument {
                prompt_token_ids: ids(shown.ids, prompt_ids),
                prompt_logprobs: shown.prompt_logprobs(&tokens),
            },
            token_ids: ids(shown.ids, tokens.ids),
            ..Choice::default()
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
        self.document(object, choices, Some(Some(usage.into())))
    }

    fn choice<'a>(&self, index: u32, finished: &'a Finished) -> Choice<'a> {
        let mut told = Told {
            tokens: finished.tokens.clone(),
            ..Told::default()
        };
        let mut choice = Choice {
            finish_reason: Some(reason(finished.end)),
            ..self.choice_of(index, &mut told)
        };
        match self.kind {
            Kind::Chat => {
                let Finished {
                    text,
                    reasoning,
                    calls,
                    ..
                } = finished;
                let calls = calls.iter().enumerate();
                let calls = calls
                    .map(|(at, call)| self.call(index, at, &call.name, &call.arguments))
                    .collect::<Vec<_>>();
                let some = |text: &'a str, is: bool| Some(text).filter(|_| is);
                choice.message = Some(MessageDocument {
                    role: "assistant",
                    content: some(text, !text.is_empty() || calls.is_empty()),
                    refusal: (),
                    reasoning_content: some(reasoning, !reasoning.is_empty()),
                    tool_calls: calls,
                });
            }
            Kind::Text => choice.text = Some(&finished.text),
        }
        choice
    }

    /// The chunk that opens a choice of a chat and names the speaker; a completion has none.
    pub fn opening_chunk(&self, index: u32, usage: Usage) -> Option<Vec<u8>> {
        let delta = Delta {
            role: Some("assistant"),
            // Null: that no text is an empty one.
            content: Some(None),
            ..Delta::default()
        };
        let choice = Choice {
            delta: Some(delta),
            ..self.choice_of(index, &mut Told::default())
        };
        (self.kind == Kind::Chat).then(|| self.chunk(choice, usage))
    }

    /// A part of a choice; a call's end has no chunk. `usage` is what all of them cost so far; the
    /// chunk has what is `told` of tokens.
    pub fn part_chunk(
        &self,
        index: u32,
        part: &Part,
        told: &mut Told,
        usage: Usage,
    ) -> Option<Vec<u8>> {
        let delta = match part {
            Part::Text(text) if self.kind == Kind::Text => {
                let choice = Choice {
                    text: Some(text),
                    ..self.choice_of(index, told)
                };
                return Some(self.chunk(choice, usage));
            }
            Part::Text(text) => Delta {
                content: Some(Some(text)),
                ..Delta::default()
            },
            Part::Reasoning(text) => Delta {
                reasoning_content: Some(text),
                ..Delta::default()
            },
            Part::Call(name) => {
                let mut call = self.call(index, told.calls, name, "");
                call.index = Some(told.calls);
                told.calls += 1;
                Delta {
                    tool_calls: Some([call]),
                    ..Delta::default()
                }
            }
            Part::Arguments(text) => Delta {
                tool_calls: Some([CallDocument {
                    index: Some(told.calls.saturating_sub(1)),
                    id: None,
                    r#type: None,
                    function: FunctionDocument {
                        name: None,
                        arguments: text,
                    },
                }]),
                ..Delta::default()
            },
            Part::CallEnd { .. } => return None,
        };
        let choice = Choice {
            delta: Some(delta),
            ..self.choice_of(index, told)
        };
        Some(self.chunk(choice, usage))
    }

    /// A whole call, the one at `at` of this choice.
    fn call<'a>(
        &self,
        index: u32,
        at: usize,
        name: &'a str,
        arguments: &'a str,
    ) -> CallDocument<'a> {
        CallDocument {
            index: None,
            id: Some(call_id(self.number, index, at)),
            r#type: Some("function"),
            function: FunctionDocument {
                name: Some(name),
                arguments,
            },
        }
    }

    /// Why a choice ended, and what is left to be `told` of its tokens.
    pub fn finish_chunk(&self, index: u32, why: End, told: &mut Told, usage: Usage) -> Vec<u8> {
        let mut choice = Choice {
            finish_reason: Some(reason(why)),
            ..self.choice_of(index, told)
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
            .then(|| self.document(self.chunk_object(), Vec::new(), Some(Some(usage.into()))))
    }

    fn chunk(&self, choice: Choice<'_>, usage: Usage) -> Vec<u8> {
        let usage = match self.usage {
            StreamUsage::Never => None,
            StreamUsage::AtTheEnd => Some(None),
            StreamUsage::Always => Some(Some(usage.into())),
        };
        self.document(self.chunk_object(), vec![choice], usage)
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
        mut choices: Vec<Choice<'_>>,
        usage: Option<Option<UsageDocument>>,
    ) -> Vec<u8> {
        let mut prompt = PromptDocument::default();
        if self.kind == Kind::Chat {
            // One prompt for all choices. The last that is moved is the first one's.
            for choice in choices.iter_mut().rev() {
                prompt = std::mem::take(&mut choice.prompt);
            }
        }
        to_json(&Document {
            id: &self.id,
            object,
            created: self.created,
            model: &self.model,
            system_fingerprint: SYSTEM_FINGERPRINT,
            choices: &choices,
            usage,
            timings: self.timings.as_ref(),
            prompt,
        })
    }
}

/// The name of a call, the one at `at` of a choice of its answer.
pub fn call_id(answer: u128, choice: u32, at: usize) -> String {
    // The places of choice and call tell calls apart. 96 random bits are enough.
    let number = (answer >> 32) + (u128::from(choice) << 24) + at as u128;
    format!("call_{:024x}", number & ((1 << 96) - 1))
}

fn reason(end: End) -> &'static str {
    match end {
        End::Stop => "stop",
        End::Length => "length",
        End::Calls => "tool_calls",
    }
}
