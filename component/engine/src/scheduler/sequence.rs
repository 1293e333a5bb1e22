//! One generation, from the queue to its last token.

use std::time::Instant;

use sterna_kernels::Isa;

use super::Admitted;
use super::ending::{End, Ending};
use super::lookup::Lookup;
use super::pool::Pool;
use super::speculation::{MAX_DRAFT, Trust};
use crate::error::EngineError;
use crate::model::Model;
use crate::request::{Event, Finish, FinishReason, GenerationId, Usage, clamp_u32};
use crate::sampler::Sampler;
use crate::tokenizer::{StopMatcher, StopStep, TextStream};

/// The state of a generation.
pub(super) struct Sequence {
    pub(super) id: GenerationId,
    /// Cache blocks it may need at most.
    pub(super) kv_blocks: usize,
    /// When it left the queue.
    pub(super) started: Instant,
    /// The prompt and what was generated.
    tokens: Vec<u32>,
    prompt_len: usize,
    /// Tokens that were given to the model.
    fed: usize,
    max_new: usize,
    sampler: Sampler,
    ending: Ending,
    text: TextStream,
    stop: StopMatcher,
    /// Where it is to be embedded: the states of its tokens.
    pool: Option<Pool>,
    /// The source of drafts, the next tokens by them, and the rate at which they were right.
    lookup: Lookup,
    draft: Vec<u32>,
    pub(super) trust: Trust,
}

impl Sequence {
    pub(super) fn new(id: GenerationId, admitted: Admitted) -> Self {
        Sequence {
            id,
            kv_blocks: admitted.kv_blocks(),
            started: Instant::now(),
            fed: 0,
            prompt_len: admitted.tokens.len(),
            max_new: admitted.max_new,
            sampler: Sampler::new(admitted.sampling, &admitted.tokens),
            text: TextStream::new(),
            stop: StopMatcher::new(&admitted.stop).including(admitted.ending.include_stop),
            ending: admitted.ending,
            pool: admitted.embed.map(Pool::new),
            tokens: admitted.tokens,
            lookup: Lookup::default(),
            draft: Vec::new(),
            trust: Trust::new(),
        }
    }

    /// Prompt tokens the model has not seen.
    pub(super) fn prompt_left(&self) -> usize {
        self.prompt_len.saturating_sub(self.fed)
    }

    fn generated(&self) -> usize {
        self.tokens.len() - self.prompt_len
    }

    /// Look up what may follow the newest token. Returns how many tokens that is, never so many
    /// that all of them and the one sampled after them would exceed what the sequence may generate.
    pub(super) fn look_up(&mut self) -> usize {
        let left = self.max_new - self.generated();
        let max = MAX_DRAFT.min(left.saturating_sub(1));
        self.draft = self.lookup.draft(&self.tokens, max);
        self.draft.len()
    }

    /// Give the model `prefill` further prompt tokens, or, where the prompt is in, the newest token
    /// and the first `drafted` of the draft. `push` gets position, token, and whether the token
    /// after it is to be chosen.
    pub(super) fn feed(
        &mut self,
        prefill: usize,
        drafted: usize,
        mut push: impl FnMut(usize, u32, bool),
    ) {
        if self.prompt_left() > 0 {
            for &token in self.tokens[self.fed..].iter().take(prefill) {
                self.fed += 1;
                let is_last = self.fed == self.prompt_len;
                push(self.fed - 1, token, is_last && self.pool.is_none());
            }
            return;
        }
        let newest = self.tokens[self.fed..].iter();
        for (at, &token) in newest.chain(&self.draft[..drafted]).enumerate() {
            push(self.fed + at, token, true);
        }
        // The draft's tokens count once they are generated.
        self.fed = self.tokens.len();
    }

    /// The newest token was the draft's `index`-th, if there was one: remembers whether it was
    /// right. Returns that.
    pub(super) fn judge(&mut self, index: usize) -> bool {
        let Some(drafted) = self.draft.get(index) else {
            return false;
        };
        let right = self.tokens.last() == Some(drafted);
        self.trust.update(right);
        right
    }

    /// The step is over: its draft is of no use any more.
    pub(super) fn forget_draft(&mut self) {
        self.draft.clear();
    }

    /// The newest token was fed with the batch that is being read: the next one is chosen from the
    /// next logits.
    pub(super) fn was_fed(&mut self) {
        self.fed = self.tokens.len();
    }

    /// Take in the final state of the token at `position`, if it is to be embedded and that state
    /// counts. The embedding, or a fault, with the last token.
    pub(super) fn pool(
        &mut self,
        position: usize,
        state: impl FnOnce() -> Result<Vec<f32>, EngineError>,
    ) -> Option<Result<Event, EngineError>> {
        let is_last = position + 1 == self.prompt_len;
        let usage = self.usage();
        let pool = self.pool.as_mut()?;
        if pool.wants(position, is_last)
            && let Err(error) = state().map(|state| pool.add(&state))
        {
            return Some(Err(error));
        }
        is_last.then(|| {
            Ok(Event {
                embedding: Some(pool.embedding()?),
                finish: Some(Finish {
                    reason: FinishReason::Stop,
                    usage,
                }),
                ..Event::default()
            })
        })
    }

    /// Choose the next token from its logits, and say what it adds to the completion.
    pub(super) fn next(
        &mut self,
        isa: Isa,
        model: &Model,
        logits: &mut [f32],
    ) -> Result<Event, EngineError> {
        let token = self
            .sampler
            .sample_without(isa, logits, self.ending.banned(self.generated()))
            .map_err(|error| EngineError::Internal(error.to_string()))?;
        self.tokens.push(token);
        let end = self.ending.of(token);
        let is_full = self.generated() == self.max_new;
        let tokenizer = &model.tokenizer;
        let mut shown = StopStep::default();
        // An end-of-sequence token has no text of its own, whatever its type.
        let is_silent = end == Some(End::Silent);
        if is_silent || tokenizer.is_special(token) {
            if is_silent {
                let rest = self.text.finish();
                shown.then(self.stop_in(rest));
            }
            if self.may_stop() {
                let name = tokenizer.token_bytes(token).unwrap_or_default();
                shown.then(self.stop.push_hidden(&String::from_utf8_lossy(name)));
            }
        } else {
            let piece = self.text.push(tokenizer, token);
            shown.then(self.stop_in(piece));
        }
        if end.is_some() || is_full {
            let rest = self.text.finish();
            shown.then(self.stop_in(rest));
            shown.text += &self.stop.finish();
        }
        let StopStep { text, stopped } = shown;
        let reason = if end.is_some() || stopped {
            Some(FinishReason::Stop)
        } else {
            is_full.then_some(FinishReason::Length)
        };
        let finish = reason.map(|reason| Finish {
            reason,
            usage: self.usage(),
        });
        Ok(Event {
            text,
            tokens: vec![token],
            finish,
            details: Vec::new(),
            prompt: Vec::new(),
            embedding: None,
        })
    }

    /// True if enough tokens are there for a stop text to end it.
    fn may_stop(&self) -> bool {
        self.generated() > self.ending.min_new
    }

    /// The newest token's text, as far as it can be shown: nothing stops it before the fewest
    /// tokens are there.
    fn stop_in(&mut self, piece: String) -> StopStep {
        if !self.may_stop() {
            return StopStep {
                text: piece,
                stopped: false,
            };
        }
        self.stop.push(&piece)
    }

    fn usage(&self) -> Usage {
        Usage {
            prompt_tokens: clamp_u32(self.prompt_len),
            completion_tokens: clamp_u32(self.generated()),
            cached_tokens: 0,
        }
    }
}
