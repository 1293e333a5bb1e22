//! The next batch: a token of every decoding sequence, the prompt tokens that there is time for,
//! and where there are none, drafted tokens.

use super::Scheduler;
use super::report::MAX_SCORED;
use super::sequence::Sequence;
use super::share::share;
use super::speculation::MAX_DRAFT;
use crate::error::EngineError;
use crate::forward::BatchToken;
use crate::kv::KvCache;
use crate::options::Speculation;

/// The parts of a batch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Planned {
    /// Tokens of decoding sequences, without drafts.
    pub(super) streams: usize,
    /// Prompt tokens.
    pub(super) prompt: usize,
    /// Drafted tokens.
    pub(super) drafted: usize,
}

impl Scheduler {
    /// Put the next batch together, with blocks for all of it. Sequences for which there is no
    /// memory at all fail: `fail` gets them.
    pub(super) fn plan(
        &mut self,
        kv: &mut KvCache,
        fail: &mut dyn FnMut(&mut Self, usize, EngineError, &mut KvCache),
    ) {
        self.batch.clear();
        self.planned = Planned::default();
        // The first first: whoever makes room comes behind, and is not in the batch yet.
        let mut order: Vec<usize> = (0..self.running.len()).collect();
        order.retain(|&number| self.running[number].is_some());
        order.sort_by_key(|&number| self.running[number].as_ref().map(Sequence::rank));
        let prefill = self.prefill_shares(&order, kv);
        let drafted = self.drafted();
        for &number in &order {
            let positions = match &self.running[number] {
                None => continue,
                Some(sequence) if sequence.prefill_left() > 0 => sequence.fed() + prefill[number],
                Some(sequence) => sequence.n_tokens(),
            };
            if let Err(error) = self.make_room(number, positions, kv) {
                fail(self, number, error, kv);
            }
        }
        // Who runs still has room. Drafts take what is left: nobody goes for one.
        for number in order {
            let (prefill, mut drafted) = match &self.running[number] {
                None => continue,
                Some(sequence) if sequence.prefill_left() > 0 => (prefill[number], 0),
                Some(_) => (0, drafted[number]),
            };
            let positions = self.running[number].as_ref().map_or(0, Sequence::n_tokens);
            if drafted > 0 && kv.reserve(number, positions + drafted).is_err() {
                drafted = 0;
            }
            self.feed(number, prefill, drafted);
        }
    }

    fn feed(&mut self, number: usize, prefill: usize, drafted: usize) {
        let Some(sequence) = &mut self.running[number] else {
            return;
        };
        if sequence.prefill_left() > 0 {
            self.planned.prompt += prefill;
            self.stats.prompt_tokens += prefill as u64;
        } else {
            self.planned.streams += 1;
            self.planned.drafted += drafted;
        }
        let batch = &mut self.batch;
        sequence.feed(prefill, drafted, |position, token, wants_logits| {
            batch.push(BatchToken {
                sequence: number,
                position,
                token,
                wants_logits,
            });
        });
    }

    /// The prompt tokens that each sequence takes in; `order` has those that run, the first first.
    fn prefill_shares(&self, order: &[usize], kv: &KvCache) -> Vec<usize> {
        let mut left: Vec<usize> = self
            .running
            .iter()
            .map(|place| place.as_ref().map_or(0, Sequence::prefill_left))
            .collect();
        let streams = order.iter().filter(|&&number| left[number] == 0).count();
        let budget = self.pace.chunk(streams, self.limits.prefill_chunk);
        self.limit_scored(order, &mut left);
        let shares_of = |left: &[usize]| {
            let wanted: Vec<usize> = order.iter().map(|&number| left[number]).collect();
            let mut shares = vec![0; left.len()];
            for (&number, share) in order.iter().zip(share(budget, self.stats.steps, &wanted)) {
                shares[number] = share;
            }
            shares
        };
        loop {
            let shares = shares_of(&left);
            // What another one writes just then need not be computed twice.
            let mut served = order.iter().filter(|&&number| shares[number] > 0);
            match served.find(|&&number| self.awaits_another(number, &shares, kv)) {
                Some(&number) => left[number] = 0,
                None => return shares,
            }
        }
    }

    /// Let no more prompt tokens wait for this step than may have their logits, those of the first
    /// in `order` before others.
    fn limit_scored(&self, order: &[usize], waiting: &mut [usize]) {
        let mut left = MAX_SCORED;
        for &number in order {
            let sequence = self.running[number].as_ref();
            if sequence.is_some_and(Sequence::scores_prompt) {
                waiting[number] = waiting[number].min(left);
                left -= waiting[number];
            }
        }
    }

    /// The number of drafted tokens each sequence takes in. None while prompts are taken in: such
    /// steps compute enough, and those without prompt tokens are there to be measured.
    fn drafted(&mut self) -> Vec<usize> {
        let mut taken = vec![0; self.running.len()];
        let mut places = self.running.iter().flatten();
        if self.limits.speculation == Speculation::Off
            || places.any(|sequence| sequence.prefill_left() > 0)
        {
            return taken;
        }
        let running = self.running.iter_mut().enumerate();
        let running = running.filter_map(|(number, place)| Some((number, place.as_mut()?)));
        let (numbers, drafts): (Vec<_>, Vec<_>) = running
            .map(|(number, sequence)| (number, (sequence.look_up(), sequence.trust)))
            .unzip();
        let mut budget = self.limits.prefill_chunk;
        let chosen = match self.limits.speculation {
            Speculation::Always(most) => drafts
                .iter()
                .map(|(length, _)| {
                    let take = (*length).min(most).min(MAX_DRAFT).min(budget);
                    budget -= take;
                    take
                })
                .collect(),
            _ => self.costs.choose(numbers.len(), &drafts, budget),
        };
        for (number, chosen) in numbers.into_iter().zip(chosen) {
            taken[number] = chosen;
        }
        taken
    }
}
