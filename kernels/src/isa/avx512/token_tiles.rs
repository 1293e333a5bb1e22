//! Tokens by the tile.

/// Cuts `n` tokens into as few tiles of up to `most` as there must be, of nearly equal size: 5
/// tokens in tiles of 4 are 3 and 2, not 4 and 1. Gives each tile's first token and its size.
#[inline(always)]
pub(super) fn token_tiles(n: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut first = 0;
    std::iter::from_fn(move || {
        let left = n - first;
        let size = left.div_ceil(left.div_ceil(most).max(1));
        let tile = (first, size);
        first += size;
        (size > 0).then_some(tile)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_few_and_nearly_equal_and_hold_every_token() {
        for most in [1, 4, 6, 8] {
            for n in 0..70 {
                let tiles: Vec<_> = token_tiles(n, most).collect();
                assert_eq!(tiles.len(), n.div_ceil(most));
                let mut next = 0;
                for (first, size) in &tiles {
                    assert_eq!(*first, next);
                    assert!((1..=most).contains(size) && size + 1 >= n.div_ceil(tiles.len()));
                    next += size;
                }
                assert_eq!(next, n);
            }
        }
        assert_eq!(token_tiles(9, 8).collect::<Vec<_>>(), [(0, 5), (5, 4)]);
    }
}
