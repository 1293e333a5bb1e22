//! Byte-pair encoding: merge the adjacent pair of lowest rank until none is left.
//!
//! Short pieces (words) use the classic loop over an array; long ones (a megabyte of one letter is
//! one piece) a linked list and a heap, so that the time stays near linear in the text's length.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

/// Pieces up to this many bytes are merged by scanning, which is quadratic but quick on so few.
const SCAN_LIMIT: usize = 48;

/// No merge; no neighbour.
const NONE: u32 = u32::MAX;

/// What merges, and in which order.
pub(super) trait Pairs {
    /// The order in which a pair of neighbours merges, the lowest first and below `u32::MAX`, and
    /// the token it becomes; `None` where it does not. The pair stands at `span` of the text, if
    /// its symbols were given places there.
    fn find(&self, left: u32, right: u32, span: Range<u32>) -> Option<(u32, u32)>;
}

/// One merge rule. Its rank is its position in the list.
#[derive(Clone, Copy, Debug)]
struct Merge {
    left: u32,
    right: u32,
    merged: u32,
}

/// The merge rules in rank order, with an index by pair.
#[derive(Clone, Debug, Default)]
pub(super) struct Merges {
    rules: Vec<Merge>,
    /// Open addressing, linear probing: `rank + 1`, or 0 where free. Length: a power of two, at
    /// most half full.
    slots: Vec<u32>,
}

impl Merges {
    /// Room for `n` rules; more than that many would make lookups slow, then endless.
    pub(super) fn with_capacity(n: usize) -> Self {
        Merges {
            rules: Vec::with_capacity(n),
            slots: vec![0; (n * 2).next_power_of_two().max(2)],
        }
    }

    /// Append the rule of the next rank. A pair given twice takes its last rank, as Hugging Face's
    /// does.
    pub(super) fn push(&mut self, left: u32, right: u32, merged: u32) {
        if self.rules.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let slot = self.slot(left, right);
        self.rules.push(Merge {
            left,
            right,
            merged,
        });
        self.slots[slot] = self.rules.len() as u32;
    }

    /// The rules in rank order: (left, right).
    pub(super) fn pairs(&self) -> impl Iterator<Item = (u32, u32)> {
        self.rules.iter().map(|rule| (rule.left, rule.right))
    }

    /// The tokens that rules make.
    pub(super) fn merged(&self) -> impl Iterator<Item = u32> {
        self.rules.iter().map(|rule| rule.merged)
    }

    fn grow(&mut self) {
        self.slots = vec![0; (self.slots.len() * 2).max(2)];
        for rank in 0..self.rules.len() {
            let slot = self.slot(self.rules[rank].left, self.rules[rank].right);
            self.slots[slot] = rank as u32 + 1;
        }
    }

    /// The slot of the pair's rank, or the free slot for it.
    fn slot(&self, left: u32, right: u32) -> usize {
        let key = u64::from(left) << 32 | u64::from(right);
        let hash = (key ^ (key >> 31)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut slot = (hash >> 32) as usize & (self.slots.len() - 1);
        while let Some(rank) = self.slots[slot].checked_sub(1) {
            let rule = &self.rules[rank as usize];
            if (rule.left, rule.right) == (left, right) {
                break;
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        slot
    }

    /// The pair's rank, [`NONE`] if it does not merge.
    fn rank(&self, left: u32, right: u32) -> u32 {
        if self.slots.is_empty() {
            return NONE;
        }
        self.slots[self.slot(left, right)]
            .checked_sub(1)
            .unwrap_or(NONE)
    }

    /// Merge `symbols` as far as the rules go and append the result to `out`. `symbols` is left
    /// empty.
    pub(super) fn apply(&self, scratch: &mut Scratch, out: &mut Vec<u32>) {
        #[cfg(test)]
        {
            scratch.merged += scratch.symbols.len();
        }
        if scratch.symbols.len() <= SCAN_LIMIT {
            self.apply_by_scan(scratch);
            out.append(&mut scratch.symbols);
        } else {
            self.apply_by_heap(scratch, out);
        }
    }

    fn apply_by_scan(&self, Scratch { symbols, ranks, .. }: &mut Scratch) {
        ranks.clear();
        // ranks[i]: of the pair (i, i + 1).
        ranks.extend(symbols.windows(2).map(|pair| self.rank(pair[0], pair[1])));
        // `min_by_key` gives the first of equals: the leftmost pair merges first.
        while let Some((at, &rank)) = ranks.iter().enumerate().min_by_key(|&(_, &rank)| rank) {
            if rank == NONE {
                break;
            }
            symbols[at] = self.rules[rank as usize].merged;
            symbols.remove(at + 1);
            ranks.remove(at);
            if at > 0 {
                ranks[at - 1] = self.rank(symbols[at - 1], symbols[at]);
            }
            if at < ranks.len() {
                ranks[at] = self.rank(symbols[at], symbols[at + 1]);
            }
        }
    }

    fn apply_by_heap(&self, scratch: &mut Scratch, out: &mut Vec<u32>) {
        scratch.merge(self, 0);
        out.extend(scratch.merged_symbols().map(|(symbol, _)| symbol));
    }
}

impl Pairs for Merges {
    fn find(&self, left: u32, right: u32, _: Range<u32>) -> Option<(u32, u32)> {
        let rank = self.rank(left, right);
        (rank != NONE).then(|| (rank, self.rules[rank as usize].merged))
    }
}

impl Scratch {
    /// Merge the symbols as far as `pairs` go, with a heap of pairs; the last one ends at `end`.
    /// [`Self::merged_symbols`] has what is left, `symbols` and `starts` are left empty.
    pub(super) fn merge<P: Pairs>(&mut self, pairs: &P, end: u32) {
        let Scratch {
            symbols,
            starts,
            nodes,
            heap,
            ..
        } = self;
        let n = symbols.len();
        nodes.clear();
        nodes.extend(symbols.iter().enumerate().map(|(i, &symbol)| Node {
            symbol,
            start: starts.get(i).copied().unwrap_or(0),
            order: NONE,
            merged: NONE,
            before: if i == 0 { NONE } else { i as u32 - 1 },
            after: if i + 1 == n { NONE } else { i as u32 + 1 },
        }));
        symbols.clear();
        starts.clear();
        for at in 0..n as u32 {
            find(nodes, at, end, pairs);
        }
        heap.clear();
        // A merge queues two pairs and takes one away: room for all at once takes less than growing
        // to it.
        heap.reserve(2 * n);
        heap.extend(
            nodes
                .iter()
                .enumerate()
                .filter(|(_, node)| node.order != NONE)
                .map(|(i, node)| entry(node.order, i as u32)),
        );

        while let Some(Reverse(top)) = heap.pop() {
            let (order, at) = ((top >> 32) as u32, top as u32);
            // Stale: the pair was changed or swallowed after it was queued.
            if nodes[at as usize].order != order {
                continue;
            }
            let right = nodes[at as usize].after;
            let after = nodes[right as usize].after;
            nodes[right as usize].order = NONE;
            nodes[at as usize].symbol = nodes[at as usize].merged;
            nodes[at as usize].after = after;
            if after != NONE {
                nodes[after as usize].before = at;
            }
            for left in [nodes[at as usize].before, at] {
                if left == NONE {
                    continue;
                }
                let order = find(nodes, left, end, pairs);
                if order != NONE {
                    heap.push(entry(order, left));
                }
            }
        }
    }

    /// The symbols of the text last merged, each with its place.
    pub(super) fn merged_symbols(&self) -> impl Iterator<Item = (u32, u32)> {
        // The first node is never swallowed: merging removes the right one of a pair.
        let mut at = if self.nodes.is_empty() { NONE } else { 0 };
        std::iter::from_fn(move || {
            let node = self.nodes.get(at as usize)?;
            at = node.after;
            Some((node.symbol, node.start))
        })
    }
}

/// Looks up the pair of the node `at` and the one after it; returns its order.
fn find<P: Pairs>(nodes: &mut [Node], at: u32, end: u32, pairs: &P) -> u32 {
    let node = nodes[at as usize];
    let right = nodes.get(node.after as usize);
    let found = right.and_then(|right| {
        let end = nodes
            .get(right.after as usize)
            .map_or(end, |node| node.start);
        pairs.find(node.symbol, right.symbol, node.start..end)
    });
    let (order, merged) = found.unwrap_or((NONE, NONE));
    nodes[at as usize].order = order;
    nodes[at as usize].merged = merged;
    order
}

/// Lowest order first, then leftmost.
fn entry(order: u32, at: u32) -> Reverse<u64> {
    Reverse(u64::from(order) << 32 | u64::from(at))
}

#[derive(Clone, Copy, Debug)]
struct Node {
    symbol: u32,
    /// Its place in the text.
    start: u32,
    /// Of the pair with the node after.
    order: u32,
    /// What that pair becomes.
    merged: u32,
    before: u32,
    after: u32,
}

/// Buffers that live for one text, so that its pieces allocate nothing.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// The piece's symbols, to be filled before [`Merges::apply`]; at most `u32::MAX - 1` of them.
    pub(super) symbols: Vec<u32>,
    /// Their places in the text, for [`Pairs`] that look at it.
    pub(super) starts: Vec<u32>,
    /// Symbols that were merged with these buffers: the work, for tests.
    #[cfg(test)]
    pub(super) merged: usize,
    ranks: Vec<u32>,
    nodes: Vec<Node>,
    heap: BinaryHeap<Reverse<u64>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn merges(rules: &[(u32, u32)], first_merged: u32) -> Merges {
        let mut merges = Merges::default();
        for (i, &(left, right)) in rules.iter().enumerate() {
            merges.push(left, right, first_merged + i as u32);
        }
        merges
    }

    /// The definition: replace the leftmost pair of lowest rank until no pair has one.
    fn naive(merges: &Merges, symbols: &[u32]) -> Vec<u32> {
        let mut symbols = symbols.to_vec();
        loop {
            let best = (1..symbols.len())
                .map(|i| {
                    (
                        merges
                            .rules
                            .iter()
                            .rposition(|r| (r.left, r.right) == (symbols[i - 1], symbols[i])),
                        i,
                    )
                })
                .filter_map(|(rank, i)| Some((rank?, i)))
                .min();
            let Some((rank, i)) = best else {
                return symbols;
            };
            symbols[i - 1] = merges.rules[rank].merged;
            symbols.remove(i);
        }
    }

    proptest! {
        #[test]
        fn both_ways_equal_the_definition(
            rules in prop::collection::vec((0u32..12, 0u32..12), 0..40),
            symbols in prop::collection::vec(0u32..4, 1..90),
        ) {
            let merges = merges(&rules, 4);
            let expected = naive(&merges, &symbols);
            let mut scratch = Scratch { symbols: symbols.clone(), ..Scratch::default() };
            merges.apply_by_scan(&mut scratch);
            prop_assert_eq!(&scratch.symbols, &expected);
            scratch.symbols = symbols;
            let mut out = Vec::new();
            merges.apply_by_heap(&mut scratch, &mut out);
            prop_assert_eq!(&out, &expected);
        }
    }

    #[test]
    fn no_rules_change_nothing() {
        let mut out = Vec::new();
        let mut scratch = Scratch {
            symbols: vec![3; 200],
            ..Scratch::default()
        };
        Merges::default().apply(&mut scratch, &mut out);
        assert_eq!(out, [3; 200]);
        assert!(scratch.symbols.is_empty());
    }
}
