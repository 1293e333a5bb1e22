//! The requests that wait, and whose turn it is.
//!
//! Requests of one client stand in a line: lower numbers of `priority` first, then in the order in
//! which they came. Between clients turns go by the tokens that each has had (start-time fair
//! queueing, Goyal, Vin and Cheng 1996): the next turn is that of the line with the fewest, and a
//! client that comes, or comes again, begins where the turns are now, so that it neither catches up
//! on what it did not ask for nor waits for what others have queued. Of two clients with requests
//! that wait all the time, neither has had more tokens than the other by more than the largest
//! request of each, and those that each has running.
//!
//! A request that had begun and made room for another comes before all that have not. Where there
//! is no room for the one whose turn it is, those of other clients may pass, [`MAX_PASSED`] times:
//! so a long prompt does not hold up short ones that fit beside what runs, and does not wait for
//! ever for the room that they take.

use std::collections::{BTreeMap, VecDeque};

/// The times that others may begin before one whose turn it is, and for which there is no room.
pub(super) const MAX_PASSED: u32 = 8;
/// Requests that are tried for one free place.
const MAX_TRIED: usize = 8;

/// A request's place among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// Lower ones come first.
    pub(super) priority: i32,
    /// Of those that had begun: in which order. Of the others: in which they came.
    pub(super) number: u64,
}

struct Waiting<T> {
    rank: Rank,
    item: T,
    /// How often others began in its turn.
    passed: u32,
}

struct Line<T> {
    /// Tokens it has had, beginning where turns were when it came.
    served: u64,
    waiting: VecDeque<Waiting<T>>,
}

/// What waits.
pub(super) struct Queue<T> {
    /// Those that had begun, in their order.
    returning: VecDeque<Waiting<T>>,
    /// By client; also those without requests that have had more than where turns are.
    lines: BTreeMap<u64, Line<T>>,
    /// What the line with the last turn had had before it.
    now: u64,
    len: usize,
}

/// The line of a request, or its being one that had begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Returning,
    Line(u64),
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Queue {
            returning: VecDeque::new(),
            lines: BTreeMap::new(),
            now: 0,
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A request of `client` comes.
    pub(super) fn push(&mut self, client: u64, rank: Rank, item: T) {
        let now = self.now;
        let line = self.lines.entry(client).or_insert_with(|| Line {
            served: now,
            waiting: VecDeque::new(),
        });
        insert(&mut line.waiting, rank, item);
        self.len += 1;
    }

    /// One that had begun waits again.
    pub(super) fn put_back(&mut self, rank: Rank, item: T) {
        insert(&mut self.returning, rank, item);
        self.len += 1;
    }

    /// Take out the next that may begin: `fits` says what it costs, in tokens, if there is room for
    /// it.
    pub(super) fn begin_next(&mut self, mut fits: impl FnMut(&mut T) -> Option<u64>) -> Option<T> {
        let turns = self.turns();
        let &(best, first) = turns.first()?;
        let of_best = turns.iter().take_while(|(priority, _)| *priority == best);
        let mut passed = Vec::new();
        for &(_, place) in of_best.take(MAX_TRIED) {
            let waiting = self.head(place)?;
            let Some(cost) = fits(&mut waiting.item) else {
                // What had begun is not passed.
                if first == Place::Returning || waiting.passed >= MAX_PASSED {
                    return None;
                }
                passed.push(place);
                continue;
            };
            for place in passed {
                if let Some(waiting) = self.head(place) {
                    waiting.passed += 1;
                }
            }
            return self.take(place, cost);
        }
        None
    }

    /// The first of each line, in the order of turns.
    fn turns(&self) -> Vec<(i32, Place)> {
        let returning = self.returning.front();
        let returning = returning.map(|waiting| {
            let rank = waiting.rank;
            (rank.priority, 0, 0, rank.number, Place::Returning)
        });
        let lines = self.lines.iter().filter_map(|(&client, line)| {
            let rank = line.waiting.front()?.rank;
            let start = line.served.max(self.now);
            Some((rank.priority, 1, start, rank.number, Place::Line(client)))
        });
        let mut turns: Vec<_> = returning.into_iter().chain(lines).collect();
        turns.sort_unstable();
        let turn = |(priority, _, _, _, place)| (priority, place);
        turns.into_iter().map(turn).collect()
    }

    fn head(&mut self, place: Place) -> Option<&mut Waiting<T>> {
        match place {
            Place::Returning => self.returning.front_mut(),
            Place::Line(client) => self.lines.get_mut(&client)?.waiting.front_mut(),
        }
    }

    fn take(&mut self, place: Place, cost: u64) -> Option<T> {
        let waiting = match place {
            // It was charged when it began.
            Place::Returning => self.returning.pop_front(),
            Place::Line(client) => {
                let line = self.lines.get_mut(&client)?;
                let start = line.served.max(self.now);
                line.served = start.saturating_add(cost);
                self.now = start;
                line.waiting.pop_front()
            }
        };
        self.len -= usize::from(waiting.is_some());
        self.forget();
        Some(waiting?.item)
    }

    /// A client's running request had so many tokens more.
    pub(super) fn charge(&mut self, client: u64, tokens: u64) {
        let now = self.now;
        let line = self.lines.entry(client).or_insert_with(|| Line {
            served: now,
            waiting: VecDeque::new(),
        });
        line.served = line.served.max(now).saturating_add(tokens);
        self.forget();
    }

    /// Nothing is known of lines that would begin where turns are; and where nobody waits, turns
    /// begin anew.
    fn forget(&mut self) {
        let now = self.now;
        let is_idle = self.is_empty();
        self.lines
            .retain(|_, line| !line.waiting.is_empty() || (!is_idle && line.served > now));
    }

    /// Take out one that is so.
    pub(super) fn remove(&mut self, is_it: impl Fn(&T) -> bool) -> Option<T> {
        self.take_out(1, is_it).pop()
    }

    /// Take out all that are so.
    pub(super) fn remove_all(&mut self, is_it: impl Fn(&T) -> bool) -> Vec<T> {
        self.take_out(usize::MAX, is_it)
    }

    fn take_out(&mut self, most: usize, is_it: impl Fn(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        let lines = self.lines.values_mut().map(|line| &mut line.waiting);
        for waiting in std::iter::once(&mut self.returning).chain(lines) {
            let mut at = 0;
            while taken.len() < most && at < waiting.len() {
                if is_it(&waiting[at].item) {
                    taken.extend(waiting.remove(at).map(|waiting| waiting.item));
                } else {
                    at += 1;
                }
            }
        }
        self.len -= taken.len();
        self.forget();
        taken
    }
}

/// Behind those that come before it.
fn insert<T>(waiting: &mut VecDeque<Waiting<T>>, rank: Rank, item: T) {
    let place = waiting.partition_point(|other| other.rank < rank);
    let passed = 0;
    waiting.insert(place, Waiting { rank, item, passed });
}

#[cfg(test)]
mod tests;
