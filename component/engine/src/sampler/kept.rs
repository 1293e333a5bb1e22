//! The tokens that a filter leaves, in order of id, each with its logit or probability.
//!
//! Values that are kept move to the front of the slice they came in, so that nothing of the
//! vocabulary's size is allocated; and runs of values that are out are passed over in vectors.

use super::top_p;

/// Values that are looked at together.
const RUN: usize = 32;

/// What is left of a vocabulary's tokens.
pub(super) struct Kept<'a> {
    values: &'a mut [f32],
    /// Of each value, in ascending order; `None` where all are left.
    ids: Option<Vec<u32>>,
}

impl<'a> Kept<'a> {
    /// All tokens, `[vocab_size]`.
    pub(super) fn all(values: &'a mut [f32]) -> Self {
        Kept { values, ids: None }
    }

    pub(super) fn values(&self) -> &[f32] {
        self.values
    }

    pub(super) fn values_mut(&mut self) -> &mut [f32] {
        self.values
    }

    /// The token of the value `at`.
    pub(super) fn id(&self, at: usize) -> u32 {
        match &self.ids {
            Some(ids) => ids[at],
            None => place(at),
        }
    }

    /// Keep the `k` largest, of equals those with the lower ids; `k` is at least 1 and less than
    /// there are values.
    pub(super) fn keep_top_k(&mut self, k: usize) {
        let mut best: Vec<Key> = Vec::new();
        let room = 2 * k;
        // The k-th of those that were seen. An equal one behind it ranks lower.
        let mut least = i32::MIN;
        for (run, values) in self.values.chunks(RUN).enumerate() {
            if !values
                .iter()
                .fold(false, |any, &v| any | (order(v) > least))
            {
                continue;
            }
            for (at, &value) in values.iter().enumerate() {
                if order(value) <= least {
                    continue;
                }
                best.push(Key::new(value, place(run * RUN + at)));
                if best.len() == room {
                    best.select_nth_unstable(k - 1);
                    best.truncate(k);
                    least = best.last().map_or(least, |key| order(key.value()));
                }
            }
        }
        if best.len() > k {
            best.select_nth_unstable(k - 1);
            best.truncate(k);
        }
        let mut places: Vec<u32> = best.into_iter().map(Key::place).collect();
        places.sort_unstable();
        for (to, &from) in places.iter().enumerate() {
            self.values[to] = self.values[from as usize];
        }
        self.retain_first(places);
    }

    /// Keep, from the most likely down, the fewest that reach `top_p` of all together.
    pub(super) fn keep_top_p(&mut self, top_p: f32) {
        if let Some(last) = top_p::last(self.values, top_p) {
            self.keep_up_to(last);
        }
    }

    /// Keep values of at least `least`.
    pub(super) fn keep_from(&mut self, least: f32) {
        self.keep_up_to(Key::new(least, u32::MAX));
    }

    /// Keep those that rank no lower than `last`.
    fn keep_up_to(&mut self, last: Key) {
        let least = order(last.value());
        let mut places: Vec<u32> = Vec::new();
        for start in (0..self.values.len()).step_by(RUN) {
            let end = (start + RUN).min(self.values.len());
            let run = &self.values[start..end];
            if !run.iter().fold(false, |any, &v| any | (order(v) >= least)) {
                continue;
            }
            // Without a branch for each: which ones are left cannot be foreseen.
            let (mut found, mut n) = ([0; RUN], 0);
            for (at, &value) in (start..end).zip(run) {
                found[n] = place(at);
                n += usize::from(Key::new(value, place(at)) <= last);
            }
            for &from in &found[..n] {
                self.values[places.len()] = self.values[from as usize];
                places.push(from);
            }
        }
        self.retain_first(places);
    }

    /// The first values are those of these places among the ones that were left before.
    fn retain_first(&mut self, mut places: Vec<u32>) {
        self.values = &mut std::mem::take(&mut self.values)[..places.len()];
        if let Some(ids) = &self.ids {
            for place in &mut places {
                *place = ids[*place as usize];
            }
        }
        self.ids = Some(places);
    }
}

/// A value and its place, in order of rank: the larger value is the lower key, and of equals the
/// lower place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u64);

impl Key {
    pub(super) fn new(value: f32, place: u32) -> Self {
        // The sign bit turns an order of signed numbers into one of unsigned ones.
        let descending = !(order(value).cast_unsigned() ^ (1 << 31));
        Key(u64::from(descending) << 32 | u64::from(place))
    }

    pub(super) fn value(self) -> f32 {
        let ordered = (!(self.0 >> 32) as u32 ^ (1 << 31)).cast_signed();
        // `order` is its own inverse.
        f32::from_bits(order(f32::from_bits(ordered.cast_unsigned())).cast_unsigned())
    }

    fn place(self) -> u32 {
        self.0 as u32
    }
}

/// A number that compares as `f32::total_cmp` does.
fn order(value: f32) -> i32 {
    let bits = value.to_bits().cast_signed();
    bits ^ ((bits >> 31).cast_unsigned() >> 1).cast_signed()
}

pub(super) fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_rank_by_value_and_then_by_place() {
        let values = [f32::MAX, 1.5, f32::MIN_POSITIVE, 0.0, -0.0, -1.5, f32::MIN];
        let keys = values.map(|value| [Key::new(value, 3), Key::new(value, 9)]);
        assert!(keys.as_flattened().is_sorted());
        for (key, value) in keys.as_flattened().iter().step_by(2).zip(values) {
            assert_eq!(key.value().to_bits(), value.to_bits());
            assert_eq!(key.place(), 3);
        }
    }
}
