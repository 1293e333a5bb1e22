//! The gain of skipping each layer's zeros: counted in every step, so that skipping costs nothing
//! where there is little to skip.

use sterna_kernels::{
    Isa, Line, NonZero, QuantizedActivations, Ternary, TernaryColumns, pack_columns,
};

use super::buffers::Machine;
use crate::config::Activation;
use crate::optimisations::Optimisations;

/// Tokens of a batch at most: with more, the tokens together need nearly every row, and the
/// products by rows share their work.
const MAX_TOKENS: usize = 8;
/// The weight of the last step in an expectation; the rest is what came before.
const LAST: f32 = 0.25;

/// All layers' zeros, and the copies of `down` by columns.
pub(super) struct Sparsity {
    optimisations: Optimisations,
    layers: Vec<LayerSparsity>,
    nonzero: NonZero,
    /// A copy was begun in this pass: no pass waits for two.
    copied: bool,
    /// Bytes of packed weights that were not read because of zeros, since the beginning.
    skipped_bytes: u64,
}

/// One layer's.
#[derive(Default)]
pub(super) struct LayerSparsity {
    /// Share of rows of `up` that are worth listing at most.
    limit: f32,
    /// Share that recent steps needed.
    expected: Option<f32>,
    /// Rows that this step needs, ascending.
    needed: Vec<u32>,
    flags: Vec<bool>,
    copy: Option<ColumnCopy>,
}

/// `down` by columns.
struct ColumnCopy {
    /// The address of the rows that it was made of: other weights get another copy.
    of: (usize, usize),
    lines: Vec<Line>,
}

impl Sparsity {
    pub(super) fn new(n_layers: usize, optimisations: Optimisations) -> Self {
        Sparsity {
            optimisations,
            layers: (0..n_layers).map(|_| LayerSparsity::default()).collect(),
            nonzero: NonZero::default(),
            copied: false,
            skipped_bytes: 0,
        }
    }

    /// Bytes of packed weights that were left out so far.
    pub(super) fn skipped_bytes(&self) -> u64 {
        self.skipped_bytes
    }

    /// Of a matrix only so many bytes were read.
    pub(super) fn count_skipped(&mut self, w: &Ternary<'_>, read_bytes: usize) {
        let all = w.layout().bytes(w.rows(), w.cols());
        self.skipped_bytes += all.saturating_sub(read_bytes) as u64;
    }

    /// Another pass begins.
    pub(super) fn begin(&mut self) {
        self.copied = false;
    }

    /// Bytes that the copies take.
    pub(super) fn copied_bytes(&self) -> usize {
        let copies = self.layers.iter().filter_map(|layer| layer.copy.as_ref());
        copies.map(|copy| size_of_val(&copy.lines[..])).sum()
    }

    fn wanted(&self, activation: Activation, n_tokens: usize) -> bool {
        activation == Activation::Relu2 && n_tokens <= MAX_TOKENS && self.optimisations.skip_zeros
    }

    /// The layer's zeros, if they can be skipped at all.
    pub(super) fn of_layer(
        &mut self,
        layer: usize,
        activation: Activation,
        isa: Isa,
        n_tokens: usize,
    ) -> Option<&mut LayerSparsity> {
        if !self.wanted(activation, n_tokens) {
            return None;
        }
        let sparsity = self.layers.get_mut(layer)?;
        sparsity.limit = isa.listing_limits().rows;
        Some(sparsity)
    }

    /// `down` by columns and the columns that `x` needs, if that is worth it. Makes the copy when
    /// it first would be.
    pub(super) fn columns(
        &mut self,
        layer: usize,
        activation: Activation,
        machine: &Machine,
        down: Ternary<'_>,
        x: &QuantizedActivations,
    ) -> Option<(TernaryColumns<'_>, &NonZero)> {
        if !self.wanted(activation, x.n_tokens()) || !self.optimisations.down_copy {
            return None;
        }
        let limit = machine.isa.listing_limits().columns;
        if limit == 0.0 {
            return None;
        }
        // Where there are many no list is wanted, and counting them takes far less than listing
        // them.
        if x.count_nonzero() as f32 > limit * (x.n_tokens() * x.k()) as f32 {
            return None;
        }
        self.nonzero.set(x);
        let copy = &mut self.layers.get_mut(layer)?.copy;
        let of = down.packed_range();
        if copy.as_ref().is_none_or(|copy| copy.of != of) {
            if self.copied {
                return None;
            }
            self.copied = true;
            let lines = by_columns(machine, down, self.optimisations);
            *copy = Some(ColumnCopy { of, lines });
        }
        // A column that several tokens need comes from memory once.
        let lines_read = TernaryColumns::n_lines(down.rows(), 1) * self.nonzero.count();
        self.count_skipped(&down, lines_read * size_of::<Line>());
        let lines = &self.layers.get(layer)?.copy.as_ref()?.lines;
        let columns = TernaryColumns::new(down.rows(), down.cols(), lines, down.scale()).ok()?;
        Some((columns, &self.nonzero))
    }
}

impl LayerSparsity {
    /// True if the gate is worth computing first.
    pub(super) fn expects_to_skip_rows(&self) -> bool {
        self.expected.is_none_or(|share| share <= self.limit)
    }

    /// Note which rows of `up` any token needs, those whose gate is positive or NaN: `gate` is
    /// `[n_tokens, ffn_size]`.
    pub(super) fn count_rows(&mut self, gate: &[f32], ffn_size: usize) {
        self.flags.clear();
        self.flags.resize(ffn_size, false);
        for gate in gate.chunks_exact(ffn_size) {
            for (flag, gate) in self.flags.iter_mut().zip(gate) {
                *flag |= gate.is_nan() | (*gate > 0.0);
            }
        }
        // Without a branch: which rows are needed cannot be guessed.
        self.needed.resize(ffn_size, 0);
        let mut n = 0;
        for (row, flag) in (0..).zip(&self.flags) {
            self.needed[n] = row;
            n += usize::from(*flag);
        }
        self.needed.truncate(n);
        let share = n as f32 / ffn_size as f32;
        let expected = self.expected.get_or_insert(share);
        *expected += (share - *expected) * LAST;
    }

    /// The rows that were counted, if so few that the others are worth skipping.
    pub(super) fn rows_to_read(&self) -> Option<&[u32]> {
        let few = self.needed.len() as f32 <= self.limit * self.flags.len() as f32;
        few.then_some(&self.needed)
    }
}

fn by_columns(machine: &Machine, w: Ternary<'_>, optimisations: Optimisations) -> Vec<Line> {
    let n_lines = TernaryColumns::n_lines(w.rows(), w.cols());
    let mut lines: Vec<Line> = Vec::with_capacity(n_lines);
    #[cfg(feature = "native")]
    if optimisations.huge_pages {
        // Before the first touch, which then brings whole 2 MiB pages: nothing is moved later.
        crate::placement::huge_pages::ask(lines.spare_capacity_mut(), true);
    }
    #[cfg(not(feature = "native"))]
    let _ = optimisations;
    lines.resize(n_lines, Line::default());
    let tiles: Vec<_> = lines.chunks_exact_mut(w.cols()).enumerate().collect();
    let work = w.rows() * w.cols();
    machine.team.for_each(tiles, work, |(tile, lines)| {
        pack_columns(machine.isa, w, tile, lines)
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_any_token_and_nan_are_needed() {
        let mut sparsity = LayerSparsity {
            limit: 0.5,
            ..LayerSparsity::default()
        };
        assert!(sparsity.expects_to_skip_rows());
        let first = [-1.0, 0.0, -0.0, 2.0, -3.0, -1.0];
        let second = [-1.0, -1.0, -1.0, -1.0, f32::NAN, 1e-30];
        sparsity.count_rows(&[first, second].concat(), 6);
        assert_eq!(sparsity.rows_to_read(), Some(&[3, 4, 5][..]));
        sparsity.count_rows(&[1.0, 1.0, 1.0, -1.0, 1.0, 1.0], 6);
        assert_eq!(sparsity.rows_to_read(), None, "too many to list");
        assert!(!sparsity.expects_to_skip_rows());
        for _ in 0..4 {
            sparsity.count_rows(&[-1.0; 6], 6);
        }
        assert!(
            sparsity.expects_to_skip_rows(),
            "what comes counts, not what was"
        );
        assert_eq!(sparsity.rows_to_read(), Some(&[][..]));
    }
}
