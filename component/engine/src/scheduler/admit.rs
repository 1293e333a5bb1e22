//! The gate: every field of a request is checked here, rendered and tokenised, so that what follows
//! can trust it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::size::PromptSize;
use crate::config::Pooling;
use crate::constraint::Guard;
use crate::error::EngineError;
use crate::kv::{BLOCK, KvShape};
use crate::model::Model;
use crate::options::{EngineOptions, MaxStep, Speculation};
use crate::request::{Prompt, Request, Sampling};
use crate::sampler::{Params, TokenRules, fresh_seed};
use crate::scheduler::ending::Ending;
use crate::scheduler::report::Report;
use crate::scheduler::token_rules::token_rules;
use crate::tokenizer::TooMany;

/// Stop texts of a request at most.
const MAX_STOPS: usize = 16;
/// Token ids at which a completion may end, at most.
const MAX_STOP_TOKENS: usize = 64;
/// Tokens that are told beside one, with their probabilities, at most.
const MAX_TOP: u32 = 20;

/// Bytes of a stop text at most: it is searched for in what is generated, with eight bytes of
/// tables for each.
const MAX_STOP_BYTES: usize = 4096;

/// Bytes of a text that tells cached prompts apart, at most.
const MAX_SALT_BYTES: usize = 256;

/// The capacity of an engine.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sequences at the same time.
    pub max_sequences: usize,
    /// Waiting requests.
    pub max_queue: usize,
    /// Prompt tokens a step.
    pub prefill_chunk: usize,
    /// Positions of a sequence: the model's, the option's, or what the cache's budget holds.
    pub context: usize,
    /// Cache blocks of all sequences together.
    pub kv_blocks: usize,
    /// The drafting of tokens.
    pub speculation: Speculation,
    /// Keys and values of prompts are kept for those that begin alike.
    pub prefix_cache: bool,
    /// The bound of a step with prompt tokens beside running streams.
    pub max_step: MaxStep,
}

impl Limits {
    /// The limits of an engine with these options for this model.
    ///
    /// # Errors
    /// `Unavailable` where the cache's budget does not hold one block.
    pub fn new(model: &Model, options: &EngineOptions) -> Result<Self, EngineError> {
        let shape = KvShape::of(&model.config, options.kv_type);
        let context = options
            .max_context
            .unwrap_or(usize::MAX)
            .min(model.config.context_length);
        let budget = options
            .max_kv_bytes
            .map(|bytes| bytes / shape.block_bytes());
        let kv_blocks = budget.map_or(usize::MAX, |blocks| {
            usize::try_from(blocks).unwrap_or(usize::MAX)
        });
        if kv_blocks == 0 {
            let least = shape.block_bytes();
            return Err(EngineError::Unavailable(format!(
                "engine option max_kv_bytes must be at least {least}"
            )));
        }
        Ok(Limits {
            max_sequences: options.max_sequences,
            max_queue: options.max_queue,
            prefill_chunk: options.prefill_chunk,
            context: context.min(kv_blocks.saturating_mul(BLOCK)),
            kv_blocks,
            speculation: options.speculation,
            prefix_cache: options.prefix_cache,
            max_step: options.max_step,
        })
    }

    /// Cache blocks there can be: the budget's, or all sequences' at full length.
    #[must_use]
    pub fn most_kv_blocks(&self) -> usize {
        let full = self
            .context
            .div_ceil(BLOCK)
            .saturating_mul(self.max_sequences);
        full.min(self.kv_blocks)
    }
}

/// So much later than now; never where that is beyond the clock's end.
fn deadline(timeout_ms: Option<u32>) -> Option<Instant> {
    let timeout = Duration::from_millis(timeout_ms?.into());
    Instant::now().checked_add(timeout)
}

/// A request that can be run as it is.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The prompt; not empty, every id in the vocabulary.
    pub tokens: Vec<u32>,
    /// The prompt ends with the tag that begins the model's reasoning.
    pub reasons: bool,
    /// Tokens with which the completion begins, `max_new` at most, every id in the vocabulary.
    pub resumed: Vec<u32>,
    /// Tokens to generate at most; prompt and completion fit the context together.
    pub max_new: usize,
    /// Stop texts, none empty.
    pub stop: Vec<String>,
    /// Which tokens end it.
    pub ending: Ending,
    /// The grammar that its text follows.
    pub guard: Option<Guard>,
    /// The sampling parameters.
    pub sampling: Params,
    /// What is added to logits, and which tokens are banned.
    pub rules: TokenRules,
    /// What is told of tokens.
    pub report: Report,
    /// The names of special tokens are part of the text.
    pub show_special: bool,
    /// Where the prompt is embedded and nothing generated: how.
    pub embed: Option<Pooling>,
    /// Keys and values are shared with requests only that have the same.
    pub salt: Vec<u32>,
    /// Requests with lower numbers come first.
    pub priority: i32,
    /// Whose it is: clients take turns.
    pub client: u64,
    /// When it ends, complete or not.
    pub deadline: Option<Instant>,
}

impl Admitted {
    /// A prompt that is embedded.
    fn to_embed(tokens: Vec<u32>, pooling: Pooling) -> Self {
        Admitted {
            tokens,
            reasons: false,
            resumed: Vec::new(),
            max_new: 0,
            stop: Vec::new(),
            ending: Ending::default(),
            guard: None,
            sampling: Params::GREEDY,
            rules: TokenRules::default(),
            report: Report::default(),
            show_special: false,
            embed: Some(pooling),
            salt: Vec::new(),
            priority: 0,
            client: 0,
            deadline: None,
        }
    }

    /// Cache blocks it may need.
    #[must_use]
    pub fn kv_blocks(&self) -> usize {
        (self.tokens.len() + self.max_new).div_ceil(BLOCK)
    }
}

/// Checks requests. It needs no engine: any thread may have one, and none waits for another.
#[derive(Clone, Debug)]
pub struct Gate {
    model: Arc<Model>,
    size: PromptSize,
}

impl Gate {
    /// As an engine with these options has it.
    ///
    /// # Errors
    /// As [`Limits::new`].
    pub fn of(model: &Arc<Model>, options: &EngineOptions) -> Result<Self, EngineError> {
        let limits = Limits::new(model, options)?;
        Ok(Gate::new(Arc::clone(model), limits.context))
    }

    /// For sequences of `context` positions.
    #[must_use]
    pub fn new(model: Arc<Model>, context: usize) -> Self {
        let size = PromptSize {
            context,
            token_bytes: model.tokenizer.token_bytes_at_most(),
        };
        Gate { model, size }
    }

    /// The limits of a prompt.
    #[must_use]
    pub fn size(&self) -> PromptSize {
        self.size
    }

    /// Check, render and tokenise. The work follows from the context and the conversation's
    /// template: a text that does not fit is left as soon as that is certain.
    ///
    /// # Errors
    /// `InvalidRequest` with the field as WIT names it; `ContextOverflow`; what template and
    /// tokenizer say.
    pub fn admit(&self, request: Request) -> Result<Admitted, EngineError> {
        let embedding = &self.model.config.embedding;
        let (salt, priority) = (salt(request.cache_salt.as_deref())?, request.priority);
        let (client, deadline) = (request.client, deadline(request.timeout_ms));
        if request.embed {
            let tokens = self.input_tokens(request.prompt)?;
            return Ok(Admitted {
                salt,
                priority,
                client,
                deadline,
                ..Admitted::to_embed(tokens, embedding.pooling.unwrap_or_default())
            });
        }
        if embedding.pooling.is_some() {
            return Err(invalid(
                "model",
                "the model was trained for embeddings and cannot generate text; send /v1/embeddings",
            ));
        }
        let reserved = request.reserved();
        let Request {
            prompt,
            embed: _,
            max_tokens,
            stop,
            stop_tokens,
            include_stop,
            min_tokens,
            ignore_eos,
            logit_bias,
            allowed_tokens,
            bad_words,
            logprobs,
            echo,
            prompt_logprobs,
            show_special,
            truncate_prompt,
            mut resumed,
            constraint,
            sampling,
            cache_salt: _,
            priority: _,
            client: _,
            timeout_ms: _,
        } = request;
        let sampling = params(&self.model, &sampling)?;
        let report = Report {
            generated: top("logprobs", logprobs)?,
            prompt: echo,
            prompt_top: top("prompt-logprobs", prompt_logprobs)?,
        };
        if max_tokens == Some(0) && !report.tells_prompt() {
            return Err(invalid("max-tokens", "is 0, must be at least 1"));
        }
        check_stops(&stop)?;
        let mut ending = ending(&self.model, stop_tokens, ignore_eos)?;
        ending.include_stop = include_stop;
        ending.min_new = usize::try_from(min_tokens).unwrap_or(usize::MAX);
        if let Some(max) = max_tokens.filter(|&max| max < min_tokens) {
            return Err(invalid(
                "min-tokens",
                format!("is {min_tokens}, must be at most max_tokens, which is {max}"),
            ));
        }
        let rules = token_rules(&self.model, logit_bias, allowed_tokens, &bad_words)?;
        let tokens = match truncate_prompt {
            None => self.prompt_tokens(prompt, reserved)?,
            Some(keep) => self.last_tokens(prompt, keep, max_tokens, reserved)?,
        };
        let room = self.size.context - tokens.len();
        let max_new = max_tokens.map_or(room, |max| room.min(usize::try_from(max).unwrap_or(room)));
        resumed.truncate(max_new);
        if let Some(fault) = self.fault_of_resumed(&resumed, report) {
            return Err(invalid("resumed", fault));
        }
        let guard = constraint
            .map(|constraint| self.model.constrain(&constraint, &tokens))
            .transpose()?;
        Ok(Admitted {
            reasons: self.model.reasons_after(&tokens),
            tokens,
            resumed,
            max_new,
            stop,
            ending,
            guard,
            sampling,
            rules,
            report,
            show_special,
            embed: None,
            salt,
            priority,
            client,
            deadline,
        })
    }

    /// Why a completion cannot begin with these tokens, if it cannot.
    fn fault_of_resumed(&self, resumed: &[u32], report: Report) -> Option<String> {
        if report.generated.is_some() && !resumed.is_empty() {
            return Some("has no probabilities to report: it is not for 'logprobs'".into());
        }
        let vocab_size = self.model.config.vocab_size;
        let beyond = resumed.iter().find(|&&id| id as usize >= vocab_size)?;
        Some(format!(
            "has the token {beyond}, but the vocabulary ends at {vocab_size}"
        ))
    }

    /// The token ids of a prompt that is to be embedded: a text's end with the token that the model
    /// wants there.
    fn input_tokens(&self, prompt: Prompt) -> Result<Vec<u32>, EngineError> {
        let is_text = !matches!(prompt, Prompt::Tokens(_));
        let end = self.model.config.embedding.end_token.filter(|_| is_text);
        let mut tokens = self.prompt_tokens(prompt, 0)?;
        if let Some(end) = end.filter(|end| tokens.last() != Some(end)) {
            if tokens.len() == self.size.context {
                return Err(self.size.overflow(tokens.len(), 1));
            }
            tokens.push(end);
        }
        Ok(tokens)
    }

    /// The same request with its prompt's token ids in the place of its prompt: admitted again, it
    /// costs next to nothing.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn admit_as_tokens(&self, mut request: Request) -> Result<Request, EngineError> {
        let prompt = std::mem::replace(&mut request.prompt, Prompt::Tokens(Vec::new()));
        let admitted = self.admit(Request {
            prompt,
            ..request.clone()
        })?;
        request.prompt = Prompt::Tokens(admitted.tokens);
        Ok(request)
    }

    /// A prompt's token ids: not empty, all in the vocabulary, and `reserved` fewer than the
    /// context has positions.
    ///
    /// # Errors
    /// `InvalidRequest` for the field `prompt`; `ContextOverflow`; what template and tokenizer say.
    pub fn prompt_tokens(&self, prompt: Prompt, reserved: usize) -> Result<Vec<u32>, EngineError> {
        self.tokens_within(self.size, prompt, reserved)
    }

    /// The last `keep` of a prompt's token ids, and of a text's also those that go before it. The
    /// largest `keep` leaves room for `max_tokens`, up to half of the context.
    fn last_tokens(
        &self,
        prompt: Prompt,
        keep: u32,
        max_tokens: Option<u32>,
        reserved: usize,
    ) -> Result<Vec<u32>, EngineError> {
        let context = self.size.context;
        let keep = match keep {
            0 => return Err(invalid("truncate-prompt", "is 0, must be at least 1")),
            u32::MAX => {
                let wanted = max_tokens.map_or(reserved, |max| max as usize);
                context - wanted.clamp(reserved, (context / 2).max(reserved))
            }
            keep => keep as usize,
        };
        let is_text = matches!(prompt, Prompt::Text(_));
        let mut tokens = self.tokens_within(self.size.before_cut(), prompt, reserved)?;
        let prefix = Some(self.model.tokenizer.prefix());
        let prefix = prefix.filter(|prefix| is_text && tokens.starts_with(prefix));
        let kept = prefix.map_or(0, <[u32]>::len).min(keep);
        let excess = tokens.len().saturating_sub(keep);
        tokens.drain(kept..kept + excess);
        if tokens.len() + reserved > context {
            return Err(self.size.overflow(tokens.len(), reserved));
        }
        Ok(tokens)
    }

    /// As [`Self::prompt_tokens`] for a prompt of this size.
    fn tokens_within(
        &self,
        size: PromptSize,
        prompt: Prompt,
        reserved: usize,
    ) -> Result<Vec<u32>, EngineError> {
        size.check(&prompt, reserved)?;
        let (model, most) = (&self.model, size.context.saturating_sub(reserved));
        let tokens = match prompt {
            // The template writes the beginning-of-sequence token itself where the model wants one.
            Prompt::Messages(conversation) => {
                let template = &model.template;
                template.encode_at_most(&model.tokenizer, &conversation, most)?
            }
            Prompt::Text(text) => model.tokenize_at_most(&text, true, most)?,
            Prompt::Tokens(tokens) => Ok(tokens),
        };
        let tokens = tokens.map_err(|TooMany(least)| size.overflow(least, reserved))?;
        if tokens.is_empty() {
            return Err(invalid("prompt", "is empty, must have at least one token"));
        }
        let vocab_size = model.config.vocab_size;
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= vocab_size) {
            return Err(invalid(
                "prompt",
                format!("has token {token}, ids must be below {vocab_size}"),
            ));
        }
        Ok(tokens)
    }
}

/// The number of tokens that are told beside one.
fn top(field: &str, n: Option<u32>) -> Result<Option<usize>, EngineError> {
    match n {
        Some(n) if n > MAX_TOP => Err(invalid(field, format!("is {n}, must be at most {MAX_TOP}"))),
        n => Ok(n.map(|n| n as usize)),
    }
}

/// What tells blocks apart besides their tokens.
fn salt(text: Option<&str>) -> Result<Vec<u32>, EngineError> {
    let bytes = text.unwrap_or_default().bytes();
    if bytes.len() > MAX_SALT_BYTES {
        let message = format!(
            "has {} bytes, at most {MAX_SALT_BYTES} are allowed",
            bytes.len()
        );
        return Err(invalid("cache-salt", message));
    }
    Ok(bytes.map(u32::from).collect())
}

fn check_stops(stop: &[String]) -> Result<(), EngineError> {
    if stop.len() > MAX_STOPS {
        return Err(invalid(
            "stop",
            format!("has {} texts, at most {MAX_STOPS} are allowed", stop.len()),
        ));
    }
    if stop.iter().any(String::is_empty) {
        return Err(invalid("stop", "has an empty text; leave it out"));
    }
    if let Some(long) = stop.iter().find(|text| text.len() > MAX_STOP_BYTES) {
        return Err(invalid(
            "stop",
            format!(
                "has a text of {} bytes, at most {MAX_STOP_BYTES} are allowed; give its beginning",
                long.len()
            ),
        ));
    }
    Ok(())
}

/// Which tokens end a completion, before any are asked for.
fn ending(model: &Model, stop_tokens: Vec<u32>, ignore_eos: bool) -> Result<Ending, EngineError> {
    if stop_tokens.len() > MAX_STOP_TOKENS {
        let message = format!(
            "has {} ids, at most {MAX_STOP_TOKENS} are allowed",
            stop_tokens.len()
        );
        return Err(invalid("stop-tokens", message));
    }
    let vocab_size = model.config.vocab_size;
    if let Some(token) = stop_tokens.iter().find(|&&id| id as usize >= vocab_size) {
        let message = format!("has token {token}, ids must be below {vocab_size}");
        return Err(invalid("stop-tokens", message));
    }
    Ok(Ending::new(
        &model.config.eos_tokens,
        stop_tokens,
        ignore_eos,
    ))
}

/// Sampling with the model's defaults filled in and every range checked.
fn params(model: &Model, sampling: &Sampling) -> Result<Params, EngineError> {
    let defaults = &model.defaults;
    let number =
        |field: &str, value: Option<f32>, default: f32, ok: fn(f32) -> bool, range: &str| {
            let value = value.unwrap_or(default);
            // NaN and the infinities are in no range.
            if value.is_finite() && ok(value) {
                Ok(value)
            } else {
                Err(invalid(
                    &format!("sampling.{field}"),
                    format!("is {value}, must be {range}"),
                ))
            }
        };
    let penalty = |value| (-2.0..=2.0).contains(&value);
    Ok(Params {
        temperature: number(
            "temperature",
            sampling.temperature.or(defaults.temperature),
            1.0,
            |value| (0.0..=2.0).contains(&value),
            "0 to 2",
        )?,
        top_k: usize::try_from(sampling.top_k.or(defaults.top_k).unwrap_or(0))
            .unwrap_or(usize::MAX),
        top_p: number(
            "top-p",
            sampling.top_p.or(defaults.top_p),
            1.0,
            |value| (0.0..=1.0).contains(&value),
            "0 to 1",
        )?,
        min_p: number(
            "min-p",
            sampling.min_p.or(defaults.min_p),
            0.0,
            |value| (0.0..=1.0).contains(&value),
            "0 to 1",
        )?,
        repetition_penalty: number(
            "repetition-penalty",
            sampling.repetition_penalty.or(defaults.repetition_penalty),
            1.0,
            |value| value > 0.0,
            "above 0",
        )?,
        presence_penalty: number(
            "presence-penalty",
            sampling.presence_penalty,
            0.0,
            penalty,
            "-2 to 2",
        )?,
        frequency_penalty: number(
            "frequency-penalty",
            sampling.frequency_penalty,
            0.0,
            penalty,
            "-2 to 2",
        )?,
        seed: sampling.seed.unwrap_or_else(fresh_seed),
    })
}

pub(super) fn invalid(field: &str, message: impl Into<String>) -> EngineError {
    EngineError::InvalidRequest {
        field: field.into(),
        message: message.into(),
    }
}
