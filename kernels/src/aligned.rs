//! A buffer whose values start on a cache line: a 64-byte load that crosses two lines costs two
//! loads.

use std::ops::{Deref, DerefMut};

/// Bytes of a cache line.
const LINE: usize = 64;

/// Values that start on a cache line. Memory is kept when they are replaced.
#[derive(Default)]
pub(crate) struct Aligned<T> {
    values: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Aligned<T> {
    /// Values that may have to be left out before the first line starts.
    const SLACK: usize = LINE / size_of::<T>();

    /// Room for `n` values.
    pub(crate) fn with_capacity(n: usize) -> Self {
        Self {
            values: Vec::with_capacity(n + Self::SLACK),
            start: 0,
            len: 0,
        }
    }

    /// Replaces the contents by `n` zeros.
    pub(crate) fn reset(&mut self, n: usize) {
        self.values.clear();
        self.values.resize(n + Self::SLACK, T::default());
        // `align_offset` may give up with usize::MAX; the values then merely lie unaligned.
        self.start = self.values.as_ptr().align_offset(LINE) % Self::SLACK;
        self.len = n;
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        &self.values[self.start..][..self.len]
    }
}

impl<T> DerefMut for Aligned<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[self.start..][..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_start_on_a_line_and_are_zero_again() {
        let mut values = Aligned::<i16>::with_capacity(3);
        for n in [3, 1000, 0, 7] {
            values.reset(n);
            assert_eq!(values.len(), n);
            assert_eq!(values.as_ptr().addr() % LINE, 0);
            assert!(values.iter().all(|v| *v == 0));
            values.fill(1);
        }
    }
}
