//! Requests to an engine and their answers: the Rust side of `wit/engine.wit`.
//!
//! These types mirror the contract one to one, so that the host's bindings and the component's
//! exports are plain conversions. Ranges and defaults are documented in the WIT and checked in
//! `scheduler::admit`.

use crate::error::EngineError;

/// A call of a function that an assistant's turn asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ToolCall {
    /// The name by which a `tool` turn answers it; may be empty.
    pub id: String,
    /// The function.
    pub name: String,
    /// Its arguments: the text of a JSON object, as the model wrote it.
    pub arguments: String,
}

/// One turn of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`; the chat template decides what it accepts.
    pub role: String,
    /// The turn's text; empty where it has none.
    pub content: String,
    /// The name of the speaker, or of the function that answers.
    pub name: Option<String>,
    /// The assistant's reasoning before its text.
    pub reasoning_content: Option<String>,
    /// Of a `tool` turn: the call it answers.
    pub tool_call_id: Option<String>,
    /// Calls of functions.
    pub tool_calls: Vec<ToolCall>,
}

impl Message {
    /// A turn that is only text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Message {
            role: role.into(),
            content: content.into(),
            ..Message::default()
        }
    }
}

/// The end of a conversation that is rendered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConversationEnd {
    /// The opening of an answer follows the last turn.
    #[default]
    AnswerOpening,
    /// Nothing follows it.
    Closed,
    /// The text ends with the last turn's own, so that it is continued.
    LastTurnOpen,
}

/// A conversation, and what else the model's chat template is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    /// The turns, at least one.
    pub messages: Vec<Message>,
    /// The functions that the model may call: the text of a JSON array of objects.
    pub tools: Option<String>,
    /// Further variables of the template: the text of a JSON object.
    pub template_kwargs: Option<String>,
    /// What follows the last turn.
    pub end: ConversationEnd,
}

impl From<Vec<Message>> for Conversation {
    fn from(messages: Vec<Message>) -> Self {
        Conversation {
            messages,
            ..Conversation::default()
        }
    }
}

/// The prompt to continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// A conversation, rendered by the model's chat template.
    Messages(Conversation),
    /// Plain text; the beginning-of-sequence token is put before it if the model has one.
    Text(String),
    /// Token ids, used as they are.
    Tokens(Vec<u32>),
}

/// Sampling of the next token; `None` takes the model's default. Ranges: `wit/engine.wit`.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "each field is documented in wit/engine.wit")]
pub struct Sampling {
    pub temperature: Option<f32>,
    pub top_k: Option<u32>,
    pub top_p: Option<f32>,
    pub min_p: Option<f32>,
    pub repetition_penalty: Option<f32>,
    pub presence_penalty: Option<f32>,
    pub frequency_penalty: Option<f32>,
    pub seed: Option<u64>,
}

/// The form of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each case is documented in wit/engine.wit")]
pub enum Grammar {
    JsonSchema { schema: String, strict: bool },
    JsonObject,
    Regex(String),
    Choice(Vec<String>),
    Lark(String),
    Gbnf(String),
}

/// A grammar that a completion follows, and from where on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is documented in wit/engine.wit")]
pub struct Constraint {
    pub grammar: Grammar,
    pub after_reasoning: bool,
    pub trigger: Option<String>,
}

/// One generation to start.
#[derive(Clone, Debug)]
pub struct Request {
    /// The prompt to continue.
    pub prompt: Prompt,
    /// Embed the prompt and generate nothing; the fields below are not looked at, save
    /// `cache_salt`, `priority`, `client` and `timeout_ms`.
    pub embed: bool,
    /// Tokens to generate at most; `None` fills the context. 0 only where the prompt is reported.
    pub max_tokens: Option<u32>,
    /// The completion ends before the first of these texts.
    pub stop: Vec<String>,
    /// Token ids that end the completion, as an end-of-sequence token does.
    pub stop_tokens: Vec<u32>,
    /// The stop text, or the text of the token in `stop_tokens`, is part of the completion.
    pub include_stop: bool,
    /// Tokens to generate at least: before them nothing ends the completion.
    pub min_tokens: u32,
    /// No end-of-sequence token is ever chosen, save those in `stop_tokens`.
    pub ignore_eos: bool,
    /// Added to the logits of these token ids; minus infinity bans the token.
    pub logit_bias: Vec<(u32, f32)>,
    /// No other tokens are ever chosen.
    pub allowed_tokens: Option<Vec<u32>>,
    /// Texts that are not generated.
    pub bad_words: Vec<String>,
    /// Report each generated token, with so many of the most likely ones in its place.
    pub logprobs: Option<u32>,
    /// Report the prompt's tokens.
    pub echo: bool,
    /// The same, with so many of the most likely tokens in each one's place.
    pub prompt_logprobs: Option<u32>,
    /// The names of special tokens are part of the text.
    pub show_special: bool,
    /// Keep the last so many tokens of the prompt.
    pub truncate_prompt: Option<u32>,
    /// Tokens with which the completion begins, as another engine chose them.
    pub resumed: Vec<u32>,
    /// The grammar that the completion follows.
    pub constraint: Option<Constraint>,
    /// The sampling parameters.
    pub sampling: Sampling,
    /// Cached keys and values are shared only among requests with the same.
    pub cache_salt: Option<String>,
    /// Requests with lower numbers come first.
    pub priority: i32,
    /// Whose it is: clients take turns.
    pub client: u64,
    /// Milliseconds from now after which it ends, complete or not.
    pub timeout_ms: Option<u32>,
}

impl Request {
    /// Positions that its prompt must leave free: one for the first token, if there is any.
    #[must_use]
    pub fn reserved(&self) -> usize {
        usize::from(!self.embed && self.max_tokens != Some(0))
    }

    /// A request to embed this.
    pub fn to_embed(prompt: Prompt) -> Self {
        Request {
            embed: true,
            ..Request::new(prompt)
        }
    }

    /// A request with every default: the model's sampling, no stop texts, the context as limit.
    pub fn new(prompt: Prompt) -> Self {
        Request {
            prompt,
            embed: false,
            max_tokens: None,
            stop: Vec::new(),
            stop_tokens: Vec::new(),
            include_stop: false,
            min_tokens: 0,
            ignore_eos: false,
            logit_bias: Vec::new(),
            allowed_tokens: None,
            bad_words: Vec::new(),
            logprobs: None,
            echo: false,
            prompt_logprobs: None,
            show_special: false,
            truncate_prompt: None,
            resumed: Vec::new(),
            constraint: None,
            sampling: Sampling::default(),
            cache_salt: None,
            priority: 0,
            client: 0,
            timeout_ms: None,
        }
    }
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// An end-of-sequence token or a stop text.
    Stop,
    /// `max_tokens`, or the context is full.
    Length,
}

/// The cost of a generation, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the rendered prompt.
    pub prompt_tokens: u32,
    /// Tokens generated, an end-of-sequence token included.
    pub completion_tokens: u32,
    /// Prompt tokens whose keys and values were already cached.
    pub cached_tokens: u32,
}

/// The end of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finish {
    /// Why it ended.
    pub reason: FinishReason,
    /// Its token counts.
    pub usage: Usage,
}

/// One of the most likely tokens of a place.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each field is documented in wit/engine.wit")]
pub struct Candidate {
    pub token: u32,
    pub bytes: Vec<u8>,
    pub logprob: f32,
}

/// A token, and its probability.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each field is documented in wit/engine.wit")]
pub struct TokenDetail {
    pub token: u32,
    pub bytes: Vec<u8>,
    pub special: bool,
    pub logprob: Option<f32>,
    pub rank: u32,
    pub top: Vec<Candidate>,
}

/// A piece of a completion, or an embedding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    /// Text to append; complete UTF-8 characters only.
    pub text: String,
    /// The token ids this event accounts for.
    pub tokens: Vec<u32>,
    /// Set on the last event.
    pub finish: Option<Finish>,
    /// Each of `tokens` where it was asked for.
    pub details: Vec<TokenDetail>,
    /// The prompt's next tokens where they were asked for.
    pub prompt: Vec<TokenDetail>,
    /// Of a prompt that was to be embedded: its vector, of length 1.
    pub embedding: Option<Vec<f32>>,
}

/// Names one generation within its engine; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GenerationId(pub u64);

/// An item of `Engine::step`: an event of one generation, or the fault that ended it.
pub type Delivery = (GenerationId, Result<Event, EngineError>);

/// A request that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// Its generation.
    pub id: GenerationId,
    /// Tokens of the rendered prompt.
    pub prompt_tokens: u32,
    /// The prompt ends with the tag that begins the model's reasoning, so the answer begins within
    /// it.
    pub reasons: bool,
}

/// Two texts around a part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is documented in wit/engine.wit")]
pub struct Tags {
    pub begin: String,
    pub end: String,
}

/// How a model writes the calls of functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallForm {
    /// JSON between these texts.
    Tagged(Tags),
    /// JSON as the whole answer, or behind `<|python_tag|>`.
    Bare,
}

/// The facts of `wit/engine.wit`'s `model-info`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is documented in wit/engine.wit")]
pub struct ModelInfo {
    pub id: String,
    pub created: u64,
    pub architecture: String,
    pub context_length: u32,
    pub vocab_size: u32,
    pub parameters: u64,
    pub head_type: String,
    pub kv_type: String,
    pub isa: String,
    pub max_sequences: u32,
    pub embedding_size: u32,
    pub generates: bool,
    pub reasoning_tags: Option<Tags>,
    pub call_form: Option<CallForm>,
    pub fingerprint: String,
}

/// The engine's state and counters; totals count from its creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Requests that wait, now.
    pub queued: usize,
    /// Sequences in prefill or decode, now.
    pub running: usize,
    /// Bytes of keys and values in use, now; those that sequences share once.
    pub kv_bytes: u64,
    /// Bytes of keys and values that are kept for prompts to come and in use by none, now.
    pub kv_idle_bytes: u64,
    /// Bytes of keys and values held: in use, kept, or ready for the next sequence.
    pub kv_allocated_bytes: u64,
    /// Bytes of keys and values the running sequences may come to need, were nothing shared.
    pub kv_reserved_bytes: u64,
    /// Bytes of keys and values there may be: the budget, or all sequences at full length.
    pub kv_limit_bytes: u64,
    /// Prompt tokens taken in. Cached ones are not; those of a pre-empted sequence are again.
    pub prompt_tokens: u64,
    /// Prompt tokens that need not be taken in, because their keys and values were cached.
    pub cached_tokens: u64,
    /// Times that a running sequence made room for another and went back into the queue.
    pub preempted: u64,
    /// Tokens generated.
    pub tokens_generated: u64,
    /// Generations that ended by themselves.
    pub finished: u64,
    /// Generations that were cancelled, or whose time was over.
    pub cancelled: u64,
    /// Generations that ended by a fault.
    pub failed: u64,
    /// Batches computed.
    pub steps: u64,
    /// When a place in the queue is likely to be free, in milliseconds.
    pub retry_after_ms: u32,
    /// Drafted tokens that were taken in.
    pub drafted: u64,
    /// Those of them that were generated too: each saved a step of its sequence.
    pub accepted: u64,
}

/// Sizes that come from files fit u32 in practice; what does not is reported as the largest u32.
#[must_use]
pub fn clamp_u32(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
