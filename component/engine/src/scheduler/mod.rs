//! Continuous batching as a plain step function.
//!
//! Requests wait in a line for each client (`queue`), and up to `max_sequences` of them run, each
//! with what is cached of its prompt (`room`). Each step is one batch (`plan`): a token of every
//! decoding sequence, and at most `prefill_chunk` prompt tokens, beside streams as many as they can
//! wait for (`pace`), shared by the sequences in prefill (`share`). So a long prompt never stops a
//! running stream, and a short prompt never waits for a long one to end. A step without prompts may
//! also take in drafted tokens (`speculation`), and then bring a sequence several tokens. Where
//! keys and values run out, the last one that began goes back into the queue.
//!
//! A request to embed its prompt is such a sequence too: it ends with its prompt's last token, and
//! takes the states of its tokens (`pool`) where another takes logits.

pub mod admit;
pub mod ending;
mod lookup;
mod pace;
mod plan;
mod pool;
mod queue;
mod read;
mod report;
mod room;
mod sequence;
mod share;
mod size;
mod speculation;
mod token_rules;

use std::time::{Duration, Instant};

pub use admit::{Admitted, Gate, Limits};
use sterna_kernels::Isa;

use crate::error::EngineError;
use crate::forward::{BatchToken, Forward};
use crate::kv::KvCache;
use crate::request::{Delivery, EngineStats, Event, GenerationId, Submitted, clamp_u32};
use pace::Pace;
use plan::Planned;
use queue::Queue;
use read::Scratch;
pub use report::Report;
use sequence::Sequence;
pub use size::{PromptSize, conversation_bytes};
use speculation::Costs;

/// The queue and what runs.
pub struct Scheduler {
    limits: Limits,
    queue: Queue<Sequence>,
    /// By their number in the cache; `None` where another may begin.
    running: Vec<Option<Sequence>>,
    batch: Vec<BatchToken>,
    planned: Planned,
    next_id: u64,
    /// Requests that have begun.
    begun: u64,
    stats: EngineStats,
    /// The time a sequence ran of late, smoothed.
    hold_time: Duration,
    /// The time of a step by its width.
    costs: Costs,
    /// The time of a step by its streams and prompt tokens.
    pace: Pace,
    scratch: Scratch,
}

impl Scheduler {
    /// Nothing queued, nothing running.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Scheduler {
            queue: Queue::new(),
            running: (0..limits.max_sequences).map(|_| None).collect(),
            batch: Vec::with_capacity(limits.max_sequences + limits.prefill_chunk),
            planned: Planned::default(),
            next_id: 0,
            begun: 0,
            stats: EngineStats::default(),
            hold_time: Duration::from_secs(1),
            costs: Costs::new(),
            scratch: Scratch::default(),
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
        let sequence = Sequence::new(id, admitted);
        self.queue.push(sequence.client, sequence.rank(), sequence);
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
        let mut failed = self.end_late(Instant::now(), kv, deliver);
        self.begin_waiting(kv);
        self.attach_further(kv);
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
        let team = forward.team();
        let start = Instant::now();
        let logits = match forward.forward(&self.batch, kv) {
            Ok(logits) => logits,
            Err(error) => {
                self.fail_batch(&error, kv, deliver);
                return true;
            }
        };
        self.measured(start.elapsed().as_secs_f64());
        let batch = std::mem::take(&mut self.batch);
        self.read(isa, &model, &team, (&batch, logits), kv, deliver);
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
        self.queue.charge(sequence.client, sequence.to_charge());
        if result.is_ok() {
            self.stats.finished += 1;
            self.hold_time = (self.hold_time * 3 + sequence.started.elapsed()) / 4;
        } else {
            self.stats.failed += 1;
        }
        deliver((sequence.id, result));
    }

    /// End a generation wherever it is. Returns whether it was alive.
    pub fn cancel(&mut self, id: GenerationId, kv: &mut KvCache) -> bool {
        let is_it = |sequence: &Sequence| sequence.id == id;
        let running = self
            .running
            .iter()
            .position(|place| place.as_ref().is_some_and(is_it));
        if let Some(number) = running {
            self.leave(number, kv);
        } else if self.queue.remove(is_it).is_none() {
            return false;
        }
        self.stats.cancelled += 1;
        true
    }

    /// A running sequence is of no use any more.
    fn leave(&mut self, number: usize, kv: &mut KvCache) -> Option<GenerationId> {
        let sequence = self.running[number].take()?;
        kv.free(number);
        self.queue.charge(sequence.client, sequence.to_charge());
        Some(sequence.id)
    }

    /// End those whose time is over, wherever they are. Whether there were any.
    fn end_late(
        &mut self,
        now: Instant,
        kv: &mut KvCache,
        deliver: &mut dyn FnMut(Delivery),
    ) -> bool {
        let is_late = |sequence: &Sequence| sequence.is_late(now);
        let waiting = self.queue.remove_all(is_late);
        let mut late: Vec<GenerationId> = waiting.iter().map(|sequence| sequence.id).collect();
        for number in 0..self.running.len() {
            if self.running[number].as_ref().is_some_and(is_late) {
                self.keep_written(number, kv);
                late.extend(self.leave(number, kv));
            }
        }
        self.stats.cancelled += late.len() as u64;
        for &id in &late {
            deliver((id, Err(EngineError::TimedOut)));
        }
        !late.is_empty()
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
