//! The tree of prefixes whose keys and values are cached: one node for each full block, below the
//! node of the block before it.
//!
//! A node is found by the very ids of its block's tokens, never by a hash of them, so that no
//! prompt, however chosen, gets another's keys and values. A block is used by the sequences that
//! run over it, and idle where there is none: then it stays until it is needed for something else,
//! the one that was longest unused first. Only leaves go, since a block is of no use without those
//! before it; whoever uses a block uses those too, so all idle ones can go in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A block by its place in the cache.
pub(crate) type BlockId = usize;

/// The ids of a block's tokens, and what else tells prompts apart (`KvCache::attach`).
type Key = Arc<[u32]>;

struct Node {
    key: Key,
    parent: Option<BlockId>,
    children: BTreeMap<Key, BlockId>,
    /// Sequences that run over it.
    users: usize,
    /// When the last of them let go.
    last_used: u64,
}

/// Cached blocks by the tokens that lead to them.
#[derive(Default)]
pub(crate) struct PrefixTree {
    nodes: BTreeMap<BlockId, Node>,
    /// Those of first blocks.
    roots: BTreeMap<Key, BlockId>,
    /// Leaves without users, the longest unused first.
    evictable: BTreeSet<(u64, BlockId)>,
    /// Nodes without users.
    n_idle: usize,
    clock: u64,
    /// Blocks that came or went, ever.
    changes: u64,
}

impl PrefixTree {
    /// Blocks that no sequence uses.
    pub(crate) fn n_idle(&self) -> usize {
        self.n_idle
    }

    /// A number that changes with the blocks that can be found.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// The block that follows `parent` with these tokens; the first one where that is `None`.
    pub(crate) fn child(&self, parent: Option<BlockId>, key: &[u32]) -> Option<BlockId> {
        let children = match parent {
            Some(parent) => &self.nodes.get(&parent)?.children,
            None => &self.roots,
        };
        children.get(key).copied()
    }

    /// One more sequence runs over a block.
    pub(crate) fn take(&mut self, block: BlockId) {
        let Some(node) = self.nodes.get_mut(&block) else {
            return;
        };
        node.users += 1;
        if node.users == 1 {
            self.n_idle -= 1;
            self.evictable.remove(&(node.last_used, block));
        }
    }

    /// A block that one sequence runs over; there is none with this key yet.
    pub(crate) fn insert(&mut self, parent: Option<BlockId>, key: Vec<u32>, block: BlockId) {
        self.changes += 1;
        let key = Key::from(key);
        let node = Node {
            key: key.clone(),
            parent,
            children: BTreeMap::new(),
            users: 1,
            last_used: 0,
        };
        self.nodes.insert(block, node);
        if let Some(children) = self.children_of(parent) {
            children.insert(key, block);
        }
    }

    /// One sequence less runs over these blocks, which follow each other.
    pub(crate) fn release(&mut self, path: &[BlockId]) {
        self.clock += 1;
        for &block in path.iter().rev() {
            let Some(node) = self.nodes.get_mut(&block) else {
                continue;
            };
            node.users -= 1;
            if node.users == 0 {
                node.last_used = self.clock;
                self.n_idle += 1;
                if node.children.is_empty() {
                    self.evictable.insert((node.last_used, block));
                }
            }
        }
    }

    /// Take the block out that is the longest unused; `None` where all are in use.
    pub(crate) fn evict(&mut self) -> Option<BlockId> {
        let (_, block) = self.evictable.pop_first()?;
        let node = self.nodes.remove(&block)?;
        self.n_idle -= 1;
        self.changes += 1;
        self.children_of(node.parent)?.remove(&node.key);
        if let Some(id) = node.parent
            && let Some(parent) = self.nodes.get(&id)
            && parent.users == 0
            && parent.children.is_empty()
        {
            self.evictable.insert((parent.last_used, id));
        }
        Some(block)
    }

    fn children_of(&mut self, parent: Option<BlockId>) -> Option<&mut BTreeMap<Key, BlockId>> {
        match parent {
            Some(parent) => Some(&mut self.nodes.get_mut(&parent)?.children),
            None => Some(&mut self.roots),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of two conversations that begin alike: 0, then 1 and 2, or 3.
    fn tree() -> PrefixTree {
        let mut tree = PrefixTree::default();
        tree.insert(None, vec![1, 2], 0);
        tree.insert(Some(0), vec![3, 4], 1);
        tree.insert(Some(1), vec![5, 6], 2);
        tree.take(0);
        tree.insert(Some(0), vec![3, 5], 3);
        tree
    }

    #[test]
    fn blocks_are_found_by_all_tokens_before_them() {
        let tree = tree();
        assert_eq!(tree.child(None, &[1, 2]), Some(0));
        assert_eq!(tree.child(Some(0), &[3, 4]), Some(1));
        assert_eq!(tree.child(Some(0), &[3, 5]), Some(3));
        assert_eq!(tree.child(None, &[3, 4]), None);
        assert_eq!(tree.child(Some(1), &[3, 5]), None);
        assert_eq!(tree.child(Some(9), &[3, 5]), None);
    }

    #[test]
    fn the_longest_unused_goes_first_and_leaves_before_what_they_follow() {
        let mut tree = tree();
        assert_eq!((tree.n_idle(), tree.evict()), (0, None));
        tree.release(&[0, 1, 2]);
        assert_eq!(tree.n_idle(), 2);
        tree.release(&[0, 3]);
        assert_eq!(tree.n_idle(), 4);
        // Used again: 2 is the youngest leaf, and 3 the oldest.
        for block in [0, 1, 2] {
            tree.take(block);
        }
        assert_eq!(tree.n_idle(), 1);
        assert_eq!(tree.evict(), Some(3));
        assert_eq!(tree.evict(), None);
        tree.release(&[0, 1, 2]);
        let order: Vec<_> = std::iter::from_fn(|| tree.evict()).collect();
        assert_eq!(order, [2, 1, 0]);
        assert_eq!((tree.n_idle(), tree.child(None, &[1, 2])), (0, None));
        assert!(tree.nodes.is_empty() && tree.roots.is_empty());
    }

    #[test]
    fn the_number_of_changes_tells_whether_something_else_can_be_found() {
        let mut tree = tree();
        let before = tree.changes();
        tree.release(&[0, 1, 2]);
        tree.take(0);
        tree.release(&[0]);
        assert_eq!(tree.changes(), before, "who uses a block changes nothing");
        tree.evict().unwrap();
        let after = tree.changes();
        assert_ne!(after, before);
        tree.insert(Some(1), vec![5, 6], 2);
        assert_ne!(tree.changes(), after);
    }
}
