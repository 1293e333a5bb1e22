//! One generation, from the queue to its last token.

use std::time::Instant;

use sterna_kernels::Isa;

use super::Admitted;
use crate::engine::clamp_u32;
use crate::error::EngineError;
use crate::model::Model;
use crate::request::{Event, Finish, FinishReason, GenerationId, Usage};
use crate::sampler::Sampler;
use crate::tokenizer::{StopMatcher, TextStream};

/// What a generation is, knows and has done.
pub(super) struct Sequence {
    pub(super) id: GenerationId,
    /// Cache blocks it may need at most.
    pub(super) kv_blocks: usize,
    /// When it got its slot.
    pub(super) started: Instant,
    prompt: Vec<u32>,
    /// Positions that were given to the model.
    fed: usize,
    /// The newest generated token, which is fed next.
    last: u32,
    generated: usize,
    max_new: usize,
    sampler: Sampler,
    text: TextStream,
    stop: StopMatcher,
}

impl Sequence {
    pub(super) fn new(id: GenerationId, admitted: Admitted) -> Self {
        Sequence {
            id,
            kv_blocks: admitted.kv_blocks(),
            started: Instant::now(),
            fed: 0,
            last: 0,
            generated: 0,
            max_new: admitted.max_new,
            sampler: Sampler::new(admitted.sampling, &admitted.tokens),
            text: TextStream::new(),
            stop: StopMatcher::new(&admitted.stop),
            prompt: admitted.tokens,
        }
    }

    /// Prompt tokens the model has not seen.
    pub(super) fn prompt_left(&self) -> usize {
        self.prompt.len().saturating_sub(self.fed)
    }

    /// Give the model `prefill` further prompt tokens, or, where the prompt is in, the newest token.
    /// `push` gets position, token, and whether the token after it is to be chosen.
    pub(super) fn feed(&mut self, prefill: usize, mut push: impl FnMut(usize, u32, bool)) {
        if self.prompt_left() == 0 {
            push(self.fed, self.last, true);
            self.fed += 1;
            return;
        }
        for &token in self.prompt[self.fed..].iter().take(prefill) {
            push(self.fed, token, self.fed + 1 == self.prompt.len());
            self.fed += 1;
        }
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
            .sample(isa, logits)
            .map_err(|error| EngineError::Internal(error.to_string()))?;
        self.last = token;
        self.generated += 1;
        let is_eos = model.config.eos_tokens.contains(&token);
        let is_full = self.generated == self.max_new;
        let mut text = String::new();
        let mut stopped = false;
        // An end-of-sequence token has no text of its own.
        if !is_eos {
            let step = self.stop.push(&self.text.push(&model.tokenizer, token));
            (text, stopped) = (step.text, step.stopped);
        }
        if (is_eos || is_full) && !stopped {
            let step = self.stop.push(&self.text.finish());
            stopped = step.stopped;
            text += &step.text;
            text += &self.stop.finish();
        }
        let reason = if is_eos || stopped {
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
        })
    }

    fn usage(&self) -> Usage {
        Usage {
            prompt_tokens: clamp_u32(self.prompt.len()),
            completion_tokens: clamp_u32(self.generated),
            cached_tokens: 0,
        }
    }
}
