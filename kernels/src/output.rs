//! The output of a matrix product, cut by matrix rows so that threads can fill it without sharing.
//!
//! The output is `[n_tokens, rows]`, so a range of rows is one piece of each token's line. Holding
//! one slice per token makes the cut safe Rust; the first slice is stored inline, so decoding one
//! token allocates nothing.

use std::ops::Range;

use crate::ShapeError;

/// A mutable view of the columns `range()` of an output `[n_tokens, rows]` (a column is one matrix
/// row's result).
pub struct OutputRows<'a> {
    start: usize,
    first: &'a mut [f32],
    rest: Vec<&'a mut [f32]>,
}

impl<'a> OutputRows<'a> {
    /// The whole of `out`, which holds `n_tokens * rows` values, token-major.
    pub fn new(out: &'a mut [f32], n_tokens: usize, rows: usize) -> Result<Self, ShapeError> {
        if n_tokens == 0 || rows == 0 {
            return Err(ShapeError::Range {
                what: "output",
                rows: n_tokens,
                cols: rows,
                max_cols: usize::MAX,
            });
        }
        let expected = n_tokens.saturating_mul(rows);
        if out.len() != expected {
            return Err(ShapeError::Length {
                what: "output",
                rows: n_tokens,
                cols: rows,
                expected,
                actual: out.len(),
                unit: "values",
            });
        }
        let (first, rest) = out.split_at_mut(rows);
        Ok(Self {
            start: 0,
            first,
            rest: rest.chunks_exact_mut(rows).collect(),
        })
    }

    /// Cuts at the absolute matrix row `row`, clamped into `range()`.
    pub fn split_at(self, row: usize) -> (Self, Self) {
        let at = row.clamp(self.start, self.start + self.first.len()) - self.start;
        let (first_left, first_right) = self.first.split_at_mut(at);
        let (left, right) = self
            .rest
            .into_iter()
            .map(|line| line.split_at_mut(at))
            .unzip();
        (
            Self {
                start: self.start,
                first: first_left,
                rest: left,
            },
            Self {
                start: self.start + at,
                first: first_right,
                rest: right,
            },
        )
    }

    /// Pieces of `rows_per_chunk` rows (the last may be shorter); 0 counts as 1.
    pub fn chunks(self, rows_per_chunk: usize) -> Vec<Self> {
        let step = rows_per_chunk.max(1);
        let mut chunks = Vec::with_capacity(self.first.len().div_ceil(step));
        let mut rest = self;
        while rest.first.len() > step {
            let (chunk, tail) = {
                let at = rest.start + step;
                rest.split_at(at)
            };
            chunks.push(chunk);
            rest = tail;
        }
        chunks.push(rest);
        chunks
    }

    /// The absolute matrix rows this view covers.
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.first.len()
    }

    /// The rows `rows` of this view, which lie in `range()`, for the time of a borrow.
    pub(crate) fn part(&mut self, rows: Range<usize>) -> OutputRows<'_> {
        let lines = rows.start - self.start..rows.end - self.start;
        OutputRows {
            start: rows.start,
            first: &mut self.first[lines.clone()],
            rest: self
                .rest
                .iter_mut()
                .map(|line| &mut line[lines.clone()])
                .collect(),
        }
    }

    /// Number of tokens that each row is computed for.
    pub fn n_tokens(&self) -> usize {
        1 + self.rest.len()
    }

    /// Token `t`'s results, indexed from `range().start`.
    #[inline]
    pub fn token(&mut self, t: usize) -> &mut [f32] {
        if t == 0 { self.first } else { self.rest[t - 1] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_every_row_of_every_token_once() {
        let (n_tokens, rows) = (3, 10);
        let mut out = vec![0.0; n_tokens * rows];
        let view = OutputRows::new(&mut out, n_tokens, rows).unwrap();
        let chunks = view.chunks(4);
        assert_eq!(
            chunks.iter().map(OutputRows::range).collect::<Vec<_>>(),
            [0..4, 4..8, 8..10]
        );
        for mut chunk in chunks {
            let range = chunk.range();
            for t in 0..chunk.n_tokens() {
                for (slot, row) in chunk.token(t).iter_mut().zip(range.clone()) {
                    *slot += (t * rows + row) as f32;
                }
            }
        }
        assert_eq!(out, (0..30).map(|i| i as f32).collect::<Vec<_>>());
    }

    #[test]
    fn a_wrong_length_is_refused() {
        assert!(OutputRows::new(&mut [0.0; 5], 2, 3).is_err());
        assert!(OutputRows::new(&mut [], 0, 3).is_err());
    }
}
