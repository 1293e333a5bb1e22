//! Continuous batching as a plain step function.
//!
//! Requests wait in one queue, and up to `max_sequences` of them run, each with what is cached of
//! its prompt (`room`). Each step is one batch (`plan`): a token of every decoding sequence, and at
//! most `prefill_chunk` prompt tokens, beside streams as many as they can wait for (`pace`), shared
//! by the sequences in prefill (`share`). So a long prompt never stops a running stream, and a
//! short prompt never waits for a long one to end. A step without prompts may also take in drafted
//! tokens (`speculation`), and then bring a sequence several tokens. Where keys and values run out,
//! the last one that began goes back into the queue.
//!
//! A request to embed its prompt is such a sequence too: it ends with its prompt's last token, and
//! takes the states of its tokens (`pool`) where another takes logits.

pub mod admit;
pub mod ending;
mod lookup;
mod pace;
mod plan;
mod pool;
mod report;
mod room;
mod sequence;
mod share;
mod size;
mod speculation;
mod token_rules;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use admit::{Admitted, Gate, Limits};
use sterna_kernels::Isa;

use crate::error::EngineError;
use crate::forward::{BatchToken, Forward};
use crate::kv::KvCache;
use crate::model::Model;
use crate::request::{Delivery, EngineStats, Event, GenerationId, Submitted, clamp_u32};
use pace::Pace;
use plan::Planned;
pub use report::Report;
use sequence::Sequence;
pub use size::{PromptSize, conversation_bytes};
use speculation::Costs;

/// The queue and what runs.
pub struct Scheduler {
    limits: Limits,
    /// By rank.
    queue: VecDeque<Sequence>,
    /// By their number in the cache; `None` where another may begin.
    running: Vec<Option<Sequence>>,
    batch: Vec<BatchToken>,
    planned: Planned,
    next_id: u64,
    stats: EngineStats,
    /// The time a sequence ran of late, smoothed.
    hold_time: Duration,
    /// The time of a step by its width.
    costs: Costs,
    /// The time of a step by its streams and prompt tokens.
    pace: Pace,
    /// For probabilities, `[vocab_size]`; empty before any are asked for.
    scratch: Vec<f32>,
}

impl Scheduler {
    /// Nothing queued, nothing running.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Scheduler {
            queue: VecDeque::new(),
            running: (0..limits.max_sequences).map(|_| None).collect(),
            batch: Vec::with_capacity(limits.max_sequences + limits.prefill_chunk),
            planned: Planned::default(),
            next_id: 0,
            stats: EngineStats::default(),
            hold_time: Duration::from_secs(1),
            costs: Costs::new(),
            scratch: Vec::new(),
            pace: Pace::new(limits.max_step, limits.max_sequences),
            limits,
        }
    }

    /// Queue a request. Returns its id and its prompt's length.
    ///
    /// # Errors
    /// `Overloaded` where the queue is full.
    pub fn submit(&mut self, admitted: Admitted) -> Result<Submitted, EngineError> {
        // A request that can begin at once is not held up by the queue's length.
        let free = self.running.iter().filter(|place| place.is_none()).count();
        if self.queue.len() >= self.limits.max_queue + free {
            return Err(EngineError::Overloaded {
                retry_after_ms: self.retry_after_ms(),
            });
        }
        let id = GenerationId(self.next_id);
        self.next_id += 1;
        let submitted = Submitted {
            id,
            prompt_tokens: clamp_u32(admitted.tokens.len()),
            reasons: admitted.reasons,
        };
        self.enqueue(Sequence::new(id, admitted));
        Ok(submitted)
    }

    /// One batch; `isa` is for the sampler. False when there was nothing to do.
    pub fn step(
        &mut self,
        forward: &mut Forward,
        kv: &mut KvCache,
        isa: Isa,
        deliver: &mut dyn FnMut(Delivery),
    ) -> bool {
        self.begin_waiting(kv);
        self.attach_further(kv);
        let mut failed = false;
        self.plan(kv, &mut |scheduler, number, error, kv| {
            failed = true;
            scheduler.end(number, Err(error), kv, deliver);
        });
        if self.batch.is_empty() {
            // Who made room for nobody begins again with the next step.
            let waits = !self.queue.is_empty() || self.running.iter().any(Option::is_some);
            return failed || waits;
        }
        self.stats.steps += 1;
        let model = forward.model().clone();
        let start = Instant::now();
        let logits = match forward.forward(&self.batch, kv) {
            Ok(logits) => logits,
            Err(error) => {
                self.fail_batch(&error, kv, deliver);
                return true;
            }
        };
        self.measured(start.elapsed().as_secs_f64());
        let mut logits = logits.chunks_exact_mut(model.config.vocab_size);
        let batch = std::mem::take(&mut self.batch);
        // Each sequence's tokens lie side by side.
        for tokens in batch.chunk_by(|a, b| a.sequence == b.sequence) {
            let wanting = tokens.iter().filter(|token| token.wants_logits).count();
            let logits = logits.by_ref().take(wanting);
            self.read(tokens[0].sequence, isa, &model, logits, kv, deliver);
        }
        for (row, token) in batch.iter().enumerate() {
            self.pool(token, || forward.final_state(row), kv, deliver);
        }
        self.batch = batch;
        for number in 0..self.running.len() {
            self.keep_written(number, kv);
        }
        true
    }

    /// The batch took so long.
    fn measured(&mut self, seconds: f64) {
        let Planned {
            streams,
            prompt,
            drafted,
        } = self.planned;
        if prompt == 0 {
            self.costs.measured(streams + drafted, seconds);
        }
        if drafted == 0 {
            self.pace.measured(streams, prompt, seconds);
        }
    }

    /// Take in the final state of one of the batch's tokens, if its sequence is embedded.
    fn pool(
        &mut self,
        token: &BatchToken,
        state: impl FnOnce() -> Result<Vec<f32>, EngineError>,
        kv: &mut KvCache,
        deliver: &mut dyn FnMut(Delivery),
    ) {
        let running = self.running[token.sequence].as_mut();
        if let Some(result) = running.and_then(|sequence| sequence.pool(token.position, state)) {
            self.end(token.sequence, result, kv, deliver);
        }
    }

    /// A sequence ends with this result.
    fn end(
        &mut self,
        number: usize,
        result: Result<Event, EngineError>,
        kv: &mut KvCache,
        deliver: &mut dyn FnMut(Delivery),
    ) {
        if result.is_ok() {
            self.keep_written(number, kv);
        }
        let Some(sequence) = self.running[number].take() else {
            return;
        };
        kv.free(number);
        if result.is_ok() {
            self.stats.finished += 1;
            self.hold_time = (self.hold_time * 3 + sequence.started.elapsed()) / 4;
        } else {
            self.stats.failed += 1;
        }
        deliver((sequence.id, result));
    }

    /// Choose a sequence's next tokens: one from the first logits, and from each further ones as
    /// long as the token that they follow is the one that was just chosen.
    fn read<'a>(
        &mut self,
        number: usize,
        isa: Isa,
        model: &Model,
        logits: impl ExactSizeIterator<Item = &'a mut [f32]>,
        kv: &mut KvCache,
        deliver: &mut dyn FnMut(Delivery),
    ) {
        let Some(sequence) = &mut self.running[number] else {
            return;
        };
        let id = sequence.id;
        let scratch = &mut self.scratch;
        let mut logits = logits;
        let scored = sequence.prompt_rows(logits.len());
        if scored > 0 {
            let rows = logits.by_ref().take(scored);
            match sequence.score_prompt(isa, model, rows, scratch) {
                Ok(event) => deliver((id, Ok(event))),
                Err(error) => {
                    logits.for_each(drop);
                    return self.end(number, Err(error), kv, deliver);
                }
            }
        }
        let drafted = logits.len().saturating_sub(1);
        let mut right = 0;
        // What is left of the iterator is passed over: it shares the batch's with other sequences.
        let (mut going, mut ended_with) = (true, None);
        for (index, logits) in logits.enumerate() {
            if !going {
                continue;
            }
            let result = sequence.next(isa, model, logits, scratch);
            let ended = match &result {
                Ok(event) => {
                    self.stats.tokens_generated += event.tokens.len() as u64;
                    event.finish.is_some()
                }
                Err(_) => true,
            };
            // Also where nothing was drafted: what would have been is judged for nothing.
            let is_right = sequence.judge(index);
            going = !ended && is_right && index < drafted;
            if going {
                sequence.was_fed();
                right += 1;
            }
            if ended {
                ended_with = Some(result);
            } else {
                deliver((id, result));
            }
        }
        match ended_with {
            Some(result) => self.end(number, result, kv, deliver),
            None => sequence.forget_draft(),
        }
        self.stats.drafted += drafted as u64;
        self.stats.accepted += right;
    }

    /// End a generation wherever it is. Returns whether it was alive.
    pub fn cancel(&mut self, id: GenerationId, kv: &mut KvCache) -> bool {
        let is_it = |sequence: &Sequence| sequence.id == id;
        let running = self
            .running
            .iter()
            .position(|place| place.as_ref().is_some_and(is_it));
        if let Some(number) = running {
            self.running[number] = None;
            kv.free(number);
        } else if let Some(place) = self.queue.iter().position(is_it) {
            self.queue.remove(place);
        } else {
            return false;
        }
        self.stats.cancelled += 1;
        true
    }

    /// Counts; the cache's bytes are not known here.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        EngineStats {
            queued: self.queue.len(),
            running: self.running.iter().flatten().count(),
            ..self.stats
        }
    }

    /// Cache blocks that the running sequences may come to need.
    #[must_use]
    pub fn reserved_blocks(&self) -> usize {
        let running = self.running.iter().flatten();
        running.map(|sequence| sequence.kv_blocks).sum()
    }

    /// The pass itself failed: nobody in it can go on.
    fn fail_batch(
        &mut self,
        error: &EngineError,
        kv: &mut KvCache,
        deliver: &mut dyn FnMut(Delivery),
    ) {
        for number in 0..self.running.len() {
            if self.batch.iter().any(|token| token.sequence == number) {
                self.end(number, Err(error.clone()), kv, deliver);
            }
        }
    }

    /// When a place in the queue is likely to be free, in milliseconds.
    #[must_use]
    pub fn retry_after_ms(&self) -> u32 {
        let running = self.running.iter().flatten();
        let longest = running.map(|sequence| sequence.started.elapsed()).max();
        time_between_ends(
            self.hold_time.max(longest.unwrap_or_default()),
            self.limits.max_sequences,
        )
    }
}

/// Milliseconds between two generations' ends, where each of `sequences` runs for `hold_time`: the
/// mean of those that ended of late, or how long the oldest has been running, if that is more.
fn time_between_ends(hold_time: Duration, sequences: usize) -> u32 {
    let between = hold_time / u32::try_from(sequences).unwrap_or(u32::MAX).max(1);
    u32::try_from(between.as_millis())
        .unwrap_or(u32::MAX)
        .clamp(100, 60_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_retry_follows_what_sequences_run_for() {
        let seconds = Duration::from_secs;
        assert_eq!(time_between_ends(seconds(8), 8), 1000);
        assert_eq!(time_between_ends(seconds(24), 8), 3000);
        assert_eq!(time_between_ends(seconds(24), 2), 12_000);
        assert_eq!(time_between_ends(seconds(0), 8), 100, "never at once");
        assert_eq!(
            time_between_ends(seconds(1 << 40), 1),
            60_000,
            "never hours"
        );
    }
}
