//! What a step's logits become: each sequence's next tokens, side by side on the team's threads.
//!
//! A sequence's choices need nothing of any other's, so that the tokens are the same whatever the
//! number of threads. What they mean for the scheduler is taken in afterwards, one by one.

use std::sync::{Mutex, PoisonError};

use sterna_kernels::Isa;

use super::Scheduler;
use super::sequence::Sequence;
use crate::error::EngineError;
use crate::forward::BatchToken;
use crate::kv::KvCache;
use crate::model::Model;
use crate::request::{Delivery, Event};
use crate::team::Team;

/// The operations on a logit that choosing a token takes, about.
const WORK_PER_LOGIT: usize = 16;

/// Buffers of `[vocab_size]` numbers for probabilities, one for each thread that wants one.
#[derive(Debug, Default)]
pub(super) struct Scratch(Mutex<Vec<Vec<f32>>>);

impl Scratch {
    fn with<R>(&self, work: impl FnOnce(&mut Vec<f32>) -> R) -> R {
        let buffers = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = buffers().pop().unwrap_or_default();
        let result = work(&mut buffer);
        buffers().push(buffer);
        result
    }
}

/// What a sequence has chosen.
#[derive(Default)]
struct Reading {
    /// In their order; the last one may end it.
    events: Vec<Event>,
    fault: Option<EngineError>,
    /// Tokens in the first of them that were chosen elsewhere.
    resumed: u64,
    /// Drafted tokens that it was given the logits of, and those of them that were right.
    drafted: usize,
    right: u64,
}

/// A sequence, its logits, and the place for what it makes of them.
struct Task<'a> {
    sequence: &'a mut Sequence,
    logits: &'a mut [f32],
    reading: &'a mut Reading,
}

impl Scheduler {
    /// Choose the next tokens of the sequences in `batch` from its logits,
    /// `[n_wanted, vocab_size]`.
    pub(super) fn read(
        &mut self,
        isa: Isa,
        model: &Model,
        team: &Team,
        (batch, logits): (&[BatchToken], &mut [f32]),
        kv: &mut KvCache,
        deliver: &mut dyn FnMut(Delivery),
    ) {
        let vocab_size = model.config.vocab_size;
        let work = logits.len() * WORK_PER_LOGIT;
        let mut readings: Vec<Option<Reading>> = Vec::new();
        readings.resize_with(self.running.len(), || None);
        // Each sequence's tokens lie side by side, and so do its logits.
        let mut rest = logits;
        let mut rows: Vec<Option<&mut [f32]>> = Vec::new();
        rows.resize_with(self.running.len(), || None);
        for tokens in batch.chunk_by(|a, b| a.sequence == b.sequence) {
            let wanting = tokens.iter().filter(|token| token.wants_logits).count();
            let (own, others) = std::mem::take(&mut rest).split_at_mut(wanting * vocab_size);
            rest = others;
            rows[tokens[0].sequence] = Some(own);
        }
        let places = self.running.iter_mut().zip(rows).zip(&mut readings);
        let tasks = places.filter_map(|((sequence, logits), reading)| {
            Some(Task {
                sequence: sequence.as_mut()?,
                logits: logits?,
                reading: reading.insert(Reading::default()),
            })
        });
        let scratch = &self.scratch;
        team.run(|| {
            team.for_each(tasks.collect(), work, |task: Task<'_>| {
                let rows = task.logits.chunks_exact_mut(vocab_size);
                *task.reading =
                    scratch.with(|scratch| read(task.sequence, isa, model, rows, scratch));
            });
        });
        for (number, reading) in readings.into_iter().enumerate() {
            if let Some(reading) = reading {
                self.take_in(number, reading, kv, deliver);
            }
        }
    }

    fn take_in(
        &mut self,
        number: usize,
        reading: Reading,
        kv: &mut KvCache,
        deliver: &mut dyn FnMut(Delivery),
    ) {
        let Some(sequence) = &self.running[number] else {
            return;
        };
        let id = sequence.id;
        self.stats.drafted += reading.drafted as u64;
        self.stats.accepted += reading.right;
        let mut resumed = reading.resumed;
        for event in reading.events {
            let tokens = event.tokens.len() as u64;
            self.stats.tokens_generated += tokens.saturating_sub(resumed);
            resumed = resumed.saturating_sub(tokens);
            if event.finish.is_some() {
                return self.end(number, Ok(event), kv, deliver);
            }
            deliver((id, Ok(event)));
        }
        if let Some(error) = reading.fault {
            self.end(number, Err(error), kv, deliver);
        }
    }
}

/// Choose a sequence's next tokens: one from the first logits, and from each further ones as long
/// as the token that they follow is the one that was just chosen.
fn read<'a>(
    sequence: &mut Sequence,
    isa: Isa,
    model: &Model,
    mut rows: impl ExactSizeIterator<Item = &'a mut [f32]>,
    scratch: &mut Vec<f32>,
) -> Reading {
    let mut reading = Reading::default();
    let scored = sequence.prompt_rows(rows.len());
    if scored > 0 {
        let rows = rows.by_ref().take(scored);
        match sequence.score_prompt(isa, model, rows, scratch) {
            Ok(event) => reading.events.push(event),
            Err(error) => {
                reading.fault = Some(error);
                return reading;
            }
        }
    }
    while rows.len() > 0
        && let Some(result) = sequence.next_resumed(model)
    {
        match result {
            Ok(event) => {
                reading.resumed += event.tokens.len() as u64;
                let ended = event.finish.is_some();
                reading.events.push(event);
                if ended {
                    return reading;
                }
            }
            Err(error) => {
                reading.fault = Some(error);
                return reading;
            }
        }
    }
    reading.drafted = rows.len().saturating_sub(1);
    for (index, logits) in rows.enumerate() {
        match sequence.next(isa, model, logits, scratch) {
            Ok(event) => {
                let ended = event.finish.is_some();
                reading.events.push(event);
                // Also where nothing was drafted: what would have been is judged for nothing.
                let is_right = sequence.judge(index);
                if ended || !is_right || index >= reading.drafted {
                    break;
                }
            }
            Err(error) => {
                sequence.judge(index);
                reading.fault = Some(error);
                break;
            }
        }
        sequence.was_fed();
        reading.right += 1;
    }
    sequence.forget_draft();
    reading
}
