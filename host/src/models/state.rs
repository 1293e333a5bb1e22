//! How far each model is, and what is to be done next. Nothing here waits: `registry` does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sterna_engine::request::ModelInfo;

use super::claim::{Claim, shares};

/// The time that a model waits for those in use to become idle by themselves. After that the ones
/// that have to go take no further requests.
pub(super) const HOLD: Duration = Duration::from_secs(5);

/// The time after which a load that failed is tried again, if somebody asks; twice as long after
/// each further failure.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How far a model is.
pub(super) enum Phase<E> {
    /// It is not in memory.
    Unloaded,
    /// It waits for memory, and for others that were asked for before it.
    Wanted(Instant),
    Loading,
    Loaded(E),
    /// Its memory is being given back.
    Unloading,
    /// It could not be loaded, and is not tried again before then.
    Failed(Arc<str>, Instant),
}

/// How far a model is, for those who ask from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "wit/engine.wit says it")]
pub enum Stage {
    Unloaded,
    Loading,
    Loaded,
    Failed,
}

/// A name, and what is known of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name.
    pub id: String,
    /// The model's own name, where this is a second one.
    pub alias_of: Option<String>,
    /// How far it is.
    pub stage: Stage,
    /// The facts, once it was loaded.
    pub info: Option<ModelInfo>,
}

/// One model.
pub(super) struct Slot<E> {
    pub(super) phase: Phase<E>,
    /// Requests that use it.
    pub(super) leases: usize,
    /// Requests that wait for it.
    pub(super) waiting: usize,
    /// Others wait for its memory: it takes no further requests.
    closed: bool,
    /// The larger, the later it was taken.
    last_used: u64,
    /// When it was loaded.
    loaded: Option<Instant>,
    claim: Claim,
    /// The memory it was given.
    pub(super) bytes: u64,
    pub(super) info: Option<ModelInfo>,
    /// Loads that failed in a row.
    failures: u32,
}

/// All of them.
pub(super) struct State<E> {
    pub(super) slots: Vec<Slot<E>>,
    /// Models that wait for their turn to be loaded.
    wanted: VecDeque<usize>,
    /// The memory of all together.
    pool: u64,
    uses: u64,
    /// Why nothing is to be had any more.
    pub(super) ended: bool,
}

/// The thing to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Load this one, which may take so many bytes.
    Load(usize, u64),
    Unload(usize),
    /// Nothing, until something changes or this time has come.
    Wait(Option<Instant>),
}

/// The answer to who wants a model.
pub(super) enum Taken<E> {
    Engine(E),
    /// It has to wait.
    NotYet,
    /// It was tried a moment ago, in vain.
    Failed(Arc<str>),
}

impl<E: Clone> State<E> {
    /// Models with these claims, of which none is loaded.
    pub(super) fn new(claims: &[Claim], pool: u64) -> Self {
        let slot = |&claim: &Claim| Slot {
            phase: Phase::Unloaded,
            leases: 0,
            waiting: 0,
            closed: false,
            last_used: 0,
            loaded: None,
            claim,
            bytes: 0,
            info: None,
            failures: 0,
        };
        State {
            slots: claims.iter().map(slot).collect(),
            wanted: VecDeque::new(),
            pool,
            uses: 0,
            ended: false,
        }
    }

    /// Use a model, or have it loaded. When it was used is when it was taken: so who has to go for
    /// others stays the one that has to.
    pub(super) fn take(&mut self, index: usize, now: Instant) -> Taken<E> {
        let slot = &mut self.slots[index];
        match &slot.phase {
            Phase::Loaded(engine) if !slot.closed => {
                self.uses += 1;
                (slot.last_used, slot.leases) = (self.uses, slot.leases + 1);
                return Taken::Engine(engine.clone());
            }
            Phase::Failed(why, until) if now < *until => return Taken::Failed(Arc::clone(why)),
            Phase::Unloaded | Phase::Failed(..) => {
                slot.phase = Phase::Wanted(now);
                self.wanted.push_back(index);
            }
            Phase::Wanted(_) | Phase::Loading | Phase::Loaded(_) | Phase::Unloading => {}
        }
        Taken::NotYet
    }

    /// The engine of a model that is loaded.
    pub(super) fn engine(&self, index: usize) -> Option<E> {
        match &self.slots[index].phase {
            Phase::Loaded(engine) => Some(engine.clone()),
            _ => None,
        }
    }

    /// The thing to do next; says too whether models take requests now that did not, or the other
    /// way round.
    pub(super) fn next(&mut self, now: Instant) -> (Next, bool) {
        let before: Vec<bool> = self.slots.iter().map(|slot| slot.closed).collect();
        for slot in &mut self.slots {
            slot.closed = false;
        }
        let next = self.next_step(now);
        let changed = before
            .iter()
            .zip(&self.slots)
            .any(|(was, slot)| *was != slot.closed);
        (next, changed)
    }

    fn next_step(&mut self, now: Instant) -> Next {
        let index = loop {
            let Some(&index) = self.wanted.front() else {
                return Next::Wait(None);
            };
            let slot = &mut self.slots[index];
            if slot.waiting > 0 {
                break index;
            }
            // All who wanted it have left.
            slot.phase = Phase::Unloaded;
            self.wanted.pop_front();
        };
        let free = self.free();
        let share = self.shares()[index];
        if share <= free {
            return Next::Load(index, self.grant(index, share, free));
        }
        let idle = |slot: &Slot<E>| slot.leases == 0 && slot.waiting == 0;
        if let Some(victim) = self.loaded_by_use().find(|&it| idle(&self.slots[it])) {
            return Next::Unload(victim);
        }
        let Phase::Wanted(since) = self.slots[index].phase else {
            return Next::Wait(None);
        };
        // Who waits for one of these waits for it to be loaded again.
        let (mut free, mut later) = (free, None);
        let victims: Vec<usize> = self.loaded_by_use().collect();
        for victim in victims {
            if free >= share {
                return Next::Wait(None);
            }
            let slot = &mut self.slots[victim];
            // Those for whom it was loaded have come by then.
            let hold = slot.loaded.map_or(since, |loaded| loaded.max(since)) + HOLD;
            if now < hold {
                later = Some(later.map_or(hold, |later: Instant| later.min(hold)));
                continue;
            }
            if slot.leases == 0 {
                return Next::Unload(victim);
            }
            slot.closed = true;
            free += slot.bytes;
        }
        Next::Wait(later)
    }

    /// Models that are loaded, the one that was used longest ago first.
    fn loaded_by_use(&self) -> impl Iterator<Item = usize> + use<E> {
        let slots = self.slots.iter().enumerate();
        let loaded = slots.filter(|(_, slot)| matches!(slot.phase, Phase::Loaded(_)));
        let mut by_use: Vec<_> = loaded.map(|(at, slot)| (slot.last_used, at)).collect();
        by_use.sort_unstable();
        by_use.into_iter().map(|(_, at)| at)
    }

    fn shares(&self) -> Vec<u64> {
        let claims: Vec<Claim> = self.slots.iter().map(|slot| slot.claim).collect();
        shares(&claims, self.pool)
    }

    fn free(&self) -> u64 {
        let given: u64 = self.slots.iter().map(|slot| slot.bytes).sum();
        self.pool.saturating_sub(given)
    }

    /// A model's share, or all that is free where no other one would fit beside it.
    fn grant(&self, index: usize, share: u64, free: u64) -> u64 {
        let rest = free - share;
        let mut others = self.slots.iter().zip(self.shares()).enumerate();
        let fits =
            others.any(|(at, (slot, share))| at != index && slot.bytes == 0 && share <= rest);
        let most = self.slots[index].claim.most;
        if fits { share } else { most.min(free) }
    }

    /// It is being loaded, with so much memory.
    pub(super) fn load_begins(&mut self, index: usize, bytes: u64) {
        self.wanted.retain(|&it| it != index);
        let slot = &mut self.slots[index];
        (slot.phase, slot.bytes) = (Phase::Loading, bytes);
    }

    /// It is loaded, and takes so much.
    pub(super) fn load_ends(
        &mut self,
        index: usize,
        (engine, info, bytes): (E, ModelInfo, u64),
        now: Instant,
    ) {
        self.uses += 1;
        let slot = &mut self.slots[index];
        slot.bytes = slot.bytes.min(bytes);
        (slot.phase, slot.info) = (Phase::Loaded(engine), Some(info));
        (slot.failures, slot.last_used, slot.loaded) = (0, self.uses, Some(now));
    }

    /// It could not be loaded.
    pub(super) fn load_fails(&mut self, index: usize, why: &str, now: Instant) {
        let slot = &mut self.slots[index];
        let pause = FIRST_PAUSE
            .saturating_mul(1 << slot.failures.min(16))
            .min(LONGEST_PAUSE);
        slot.failures = slot.failures.saturating_add(1);
        slot.bytes = 0;
        slot.phase = Phase::Failed(why.into(), now + pause);
    }

    /// It is being unloaded: this is to be put away.
    pub(super) fn unload_begins(&mut self, index: usize) -> Option<E> {
        let phase = &mut self.slots[index].phase;
        match std::mem::replace(phase, Phase::Unloading) {
            Phase::Loaded(engine) => Some(engine),
            other => {
                *phase = other;
                None
            }
        }
    }

    /// Its memory is free.
    pub(super) fn unload_ends(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        (slot.phase, slot.bytes) = (Phase::Unloaded, 0);
    }

    pub(super) fn stage(&self, index: usize) -> Stage {
        match self.slots[index].phase {
            Phase::Unloaded | Phase::Unloading => Stage::Unloaded,
            Phase::Wanted(_) | Phase::Loading => Stage::Loading,
            Phase::Loaded(_) => Stage::Loaded,
            Phase::Failed(..) => Stage::Failed,
        }
    }
}
