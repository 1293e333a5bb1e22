//! Who runs: waiting requests begin as soon as there is room for them, and where keys and values
//! run out, the one that was last makes room.
//!
//! A sequence that makes room (pre-emption) waits before all that have not begun, and goes on
//! later with the same tokens: its sampler, its text and its stop texts stay as they are, and what
//! the model had taken in is taken in again, as far as its blocks are not found among the kept
//! ones. The first of all is never pre-empted, and fits alone, so that somebody always gets on.

use std::time::Instant;

use super::Scheduler;
use super::sequence::Sequence;
use crate::error::EngineError;
use crate::kv::{BLOCK, KvCache};

impl Scheduler {
    /// Let waiting requests begin, in the queue's order, each with what is cached of its prompt, as
    /// long as there are blocks for what the running sequences will need soon.
    pub(super) fn begin_waiting(&mut self, kv: &mut KvCache) {
        for number in 0..self.running.len() {
            if self.running[number].is_some() {
                continue;
            }
            if self.queue.is_empty() {
                return;
            }
            let running = self.running.iter().enumerate();
            let running = running.filter_map(|(number, place)| Some((number, place.as_ref()?)));
            let promised: usize = running
                .map(|(number, sequence)| {
                    let soon = blocks_soon(sequence);
                    soon.saturating_sub(kv.n_blocks(number))
                })
                .sum();
            let is_alone = self.running.iter().all(Option::is_none);
            let uses_cache = self.limits.prefix_cache;
            let next = self.queue.begin_next(|next| {
                let room = Room {
                    tree: kv.tree_changes(),
                    available: kv.n_available(),
                    promised,
                    is_alone,
                };
                // What is cached need not be looked up again where nothing has changed since.
                if next.no_room == Some(room) {
                    return None;
                }
                // Cached blocks that it takes for itself are no longer available.
                if uses_cache && next.may_begin_cached() {
                    kv.attach(number, &next.salt, next.to_attach());
                }
                let cached = kv.n_blocks(number);
                let wanted = blocks_soon(next).saturating_sub(cached);
                if !is_alone && promised + wanted > kv.n_available() {
                    kv.free(number);
                    next.no_room = Some(room);
                    return None;
                }
                let to_take_in = next.prefill_left().saturating_sub(cached * BLOCK);
                Some(to_take_in as u64)
            });
            let Some(mut sequence) = next else {
                return;
            };
            sequence.no_room = None;
            sequence.started = Instant::now();
            if sequence.turn.is_none() {
                sequence.turn = Some(self.begun);
                self.begun += 1;
            }
            self.stats.cached_tokens += sequence.was_cached(kv.n_blocks(number) * BLOCK);
            self.running[number] = Some(sequence);
        }
    }

    /// Blocks for so many positions of a running sequence. Where there are none, the last of the
    /// running ones makes room. False if that is this one.
    ///
    /// # Errors
    /// The sequence runs alone, and there is no memory.
    pub(super) fn make_room(
        &mut self,
        number: usize,
        positions: usize,
        kv: &mut KvCache,
    ) -> Result<bool, EngineError> {
        loop {
            let Err(error) = kv.reserve(number, positions) else {
                return Ok(true);
            };
            let running = self.running.iter().enumerate();
            let running = running.filter_map(|(number, place)| Some((place.as_ref()?, number)));
            let last = running.clone().max_by_key(|(sequence, _)| sequence.rank());
            match last {
                Some((_, last)) if running.count() > 1 => {
                    self.preempt(last, kv);
                    if last == number {
                        return Ok(false);
                    }
                }
                _ => return Err(error),
            }
        }
    }

    /// A running sequence goes back into the queue.
    fn preempt(&mut self, number: usize, kv: &mut KvCache) {
        let Some(mut sequence) = self.running[number].take() else {
            return;
        };
        kv.free(number);
        sequence.preempt();
        self.stats.preempted += 1;
        self.queue.put_back(sequence.rank(), sequence);
    }

    /// Look once more what is cached of the prompts that are being taken in: another sequence may
    /// have got there first.
    pub(super) fn attach_further(&mut self, kv: &mut KvCache) {
        if !self.limits.prefix_cache {
            return;
        }
        for (number, sequence) in self.running.iter_mut().enumerate() {
            if let Some(sequence) = sequence
                && sequence.may_begin_cached()
                && sequence.prefill_left() > 0
                && sequence.is_at_block()
            {
                let positions = kv.attach(number, &sequence.salt, sequence.to_attach());
                self.stats.cached_tokens += sequence.was_cached(positions);
            }
        }
    }

    /// Keep what a running sequence has written.
    pub(super) fn keep_written(&self, number: usize, kv: &mut KvCache) {
        if let Some(sequence) = self.running[number].as_ref()
            && self.limits.prefix_cache
            && sequence.may_be_kept()
        {
            kv.keep(number, &sequence.salt, sequence.written());
        }
    }

    /// True if a sequence that comes before this one is about to write the very block that this one
    /// needs next, and takes in some of it with this step's `shares`.
    pub(super) fn awaits_another(&self, number: usize, shares: &[usize], kv: &KvCache) -> bool {
        let Some(sequence) = &self.running[number] else {
            return false;
        };
        let Some(block) = sequence.next_block().filter(|_| self.limits.prefix_cache) else {
            return false;
        };
        let others = self.running.iter().enumerate().zip(shares);
        others
            .filter(|((_, _), share)| **share > 0)
            .filter_map(|((number, other), _)| Some((number, other.as_ref()?)))
            .any(|(other_number, other)| {
                other.rank() < sequence.rank()
                    && other.salt == sequence.salt
                    && other.will_write(sequence.fed(), block)
                    && kv.shares(number, other_number, sequence.fed())
            })
    }
}

/// All that decides whether there is room for a certain request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Of the tree of prefixes.
    tree: u64,
    available: usize,
    promised: usize,
    is_alone: bool,
}

/// Blocks of a sequence that are sure to be needed, and one more for what it generates next.
fn blocks_soon(sequence: &Sequence) -> usize {
    (sequence.n_tokens().div_ceil(BLOCK) + 1).min(sequence.kv_blocks)
}
