//! Embeddings: an input's meaning as a vector. A long input is computed chunk by chunk, so that
//! whoever drives the engine may step running generations in between.

use super::Engine;
use crate::error::EngineError;
use crate::forward::BatchToken;
use crate::kv::BLOCK;
use crate::request::{Prompt, clamp_u32};

/// An input that is being embedded.
pub(super) struct Embedding {
    tokens: Vec<u32>,
    /// Tokens that were given to the model.
    fed: usize,
}

impl Engine {
    /// The final hidden state of the input's last token, after the output norm and scaled to length
    /// 1 (`[hidden_size]`), and the input's length in tokens. Runs to its end before the next step.
    ///
    /// # Errors
    /// `InvalidRequest`, `ContextOverflow`; `Overloaded` while the cache's budget is promised to
    /// others; `Internal` where the state is not finite.
    pub fn embed(&mut self, prompt: Prompt) -> Result<(Vec<f32>, u32), EngineError> {
        let prompt_tokens = self.embed_start(prompt)?;
        loop {
            if let Some(vector) = self.embed_step()? {
                return Ok((vector, prompt_tokens));
            }
        }
    }

    /// Take an input to embed, one at a time: an earlier one is given up. Returns its length in
    /// tokens.
    ///
    /// # Errors
    /// As [`Self::embed`], save `Internal`.
    pub fn embed_start(&mut self, prompt: Prompt) -> Result<u32, EngineError> {
        self.embed_stop();
        let tokens = self.gate.prompt_tokens(prompt, 0)?;
        let needed = tokens.len().div_ceil(BLOCK);
        if self.scheduler.reserved_blocks() + needed > self.limits.kv_blocks {
            // What the running sequences may come to need is theirs.
            return Err(EngineError::Overloaded {
                retry_after_ms: self.scheduler.retry_after_ms(),
            });
        }
        self.scheduler.lend_blocks(needed);
        let length = clamp_u32(tokens.len());
        self.embedding = Some(Embedding { tokens, fed: 0 });
        Ok(length)
    }

    /// Compute `prefill_chunk` tokens of the input. Its vector once that was the last of them.
    ///
    /// # Errors
    /// `Internal` where the state is not finite, or there is no input; the input is given up.
    pub fn embed_step(&mut self) -> Result<Option<Vec<f32>>, EngineError> {
        let sequence = self.options.max_sequences;
        let Some(input) = &mut self.embedding else {
            return Err(EngineError::Internal("no input is being embedded".into()));
        };
        let rest = input.tokens[input.fed..].iter().enumerate();
        let batch: Vec<BatchToken> = rest
            .take(self.options.prefill_chunk)
            .map(|(at, &token)| BatchToken {
                sequence,
                position: input.fed + at,
                token,
                wants_logits: false,
            })
            .collect();
        input.fed += batch.len();
        let is_last = input.fed == input.tokens.len();
        let mut state = self.forward.run_layers(&batch, &mut self.kv).map(|()| None);
        if is_last && state.is_ok() {
            let last = self.forward.final_state(batch.len() - 1);
            state = last.and_then(normalised).map(Some);
        }
        if is_last || state.is_err() {
            self.embed_stop();
        }
        state
    }

    /// Give the input up, if there is one, and free its keys and values.
    pub fn embed_stop(&mut self) {
        if self.embedding.take().is_some() {
            self.kv.free(self.options.max_sequences);
            self.scheduler.lend_blocks(0);
        }
    }
}

/// `x / |x|`, summed in f64 in order.
fn normalised(mut x: Vec<f32>) -> Result<Vec<f32>, EngineError> {
    let norm = x
        .iter()
        .map(|&v| f64::from(v) * f64::from(v))
        .sum::<f64>()
        .sqrt();
    if !norm.is_finite() {
        return Err(EngineError::Internal(
            "the model's last hidden state is not finite".into(),
        ));
    }
    if norm > 0.0 {
        x.iter_mut()
            .for_each(|v| *v = (f64::from(*v) / norm) as f32);
    }
    Ok(x)
}
