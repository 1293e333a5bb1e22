//! Which of a token's int8 activations are not zero.

use crate::QuantizedActivations;

/// For each token the columns whose activation is not zero, by fours: four columns make one
/// `vpdpbusd`.
///
/// Buffers are kept from use to use.
#[derive(Clone, Debug, Default)]
pub struct NonZero {
    cols: usize,
    columns: Vec<[u32; 4]>,
    values: Vec<[i8; 4]>,
    /// The end of each token's quads.
    ends: Vec<usize>,
    count: usize,
}

impl NonZero {
    /// Takes note of the values of `x` that are not zero. The last quad of a token is filled up
    /// with zeros of column 0.
    pub fn set(&mut self, x: &QuantizedActivations) {
        self.cols = x.k();
        self.columns.clear();
        self.values.clear();
        self.ends.clear();
        self.count = 0;
        for t in 0..x.n_tokens() {
            let (mut columns, mut values, mut n) = ([0; 4], [0; 4], 0);
            let row = &x.row(t)[..x.k()];
            for (at, eight) in row.chunks(8).enumerate() {
                if eight == [0; 8] {
                    continue;
                }
                for (j, &q) in eight.iter().enumerate().filter(|(_, q)| **q != 0) {
                    columns[n] = (8 * at + j) as u32;
                    values[n] = q;
                    n += 1;
                    if n == 4 {
                        self.columns.push(columns);
                        self.values.push(values);
                        (columns, values, n) = ([0; 4], [0; 4], 0);
                        self.count += 4;
                    }
                }
            }
            if n > 0 {
                self.columns.push(columns);
                self.values.push(values);
                self.count += n;
            }
            self.ends.push(self.columns.len());
        }
    }

    /// Values that are not zero, of all tokens together.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Tokens noted.
    pub fn n_tokens(&self) -> usize {
        self.ends.len()
    }

    /// Values of a token, zero or not.
    pub fn k(&self) -> usize {
        self.cols
    }

    /// Token `t`'s columns, ascending, and their values.
    #[inline]
    pub(crate) fn token(&self, t: usize) -> (&[[u32; 4]], &[[i8; 4]]) {
        let start = if t == 0 { 0 } else { self.ends[t - 1] };
        let end = self.ends[t];
        (&self.columns[start..end], &self.values[start..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    #[test]
    fn every_value_that_is_not_zero_is_listed_once() {
        let mut x = vec![0.0f32; 2 * 21];
        for (i, v) in [
            (0, 3.0),
            (7, -1.0),
            (8, 127.0),
            (9, 1.0),
            (20, -5.0),
            (33, 127.0),
        ] {
            x[i] = v;
        }
        let mut q = QuantizedActivations::with_capacity(2, 21);
        q.quantize(Isa::SCALAR, &x, 21);
        let mut nonzero = NonZero::default();
        for _ in 0..2 {
            nonzero.set(&q);
            assert_eq!(
                (nonzero.count(), nonzero.n_tokens(), nonzero.k()),
                (6, 2, 21)
            );
            let (columns, values) = nonzero.token(0);
            assert_eq!(columns, [[0, 7, 8, 9], [20, 0, 0, 0]]);
            assert_eq!(values, [[3, -1, 127, 1], [-5, 0, 0, 0]]);
            assert_eq!(
                nonzero.token(1),
                (&[[12, 0, 0, 0]][..], &[[127, 0, 0, 0]][..])
            );
        }
    }
}
