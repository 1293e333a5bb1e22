//! Where top-p ends: the last token that it keeps, without sorting the ones before it.
//!
//! Probabilities are added from the most likely down, in f64, until they reach the share that is
//! wanted. An f32 of at least 2^-29 is a multiple of 2^-52, so that sums of such numbers below 2
//! are exact, whatever their order: whole buckets of them are added instead, by their exponents and
//! first bits. Only the bucket in which the sum gets there is looked into. What is left for numbers
//! below that is what the order matters to: they are added one by one.

use super::kept::{Key, place};

/// 2^-29, as the bits of an f32.
const LEAST_EXACT: u32 = (127 - 29) << 23;
/// A bucket has numbers of the same exponent and first three bits of the fraction.
const SHIFT: u32 = 20;
/// The last one is from 1 on. Those below 2^-29 go into the first too.
const BUCKETS: usize = ((29 << 23) >> SHIFT) + 1;
/// Neighbours go into tables of their own, since they are often of one bucket.
const TABLES: usize = 4;
/// So many are sorted rather than parted.
const FEW: usize = 64;

/// The last of the probabilities, in order of rank, that are needed to reach the share `top_p` of
/// their sum; `None` where all are.
pub(super) fn last(probabilities: &[f32], top_p: f32) -> Option<Key> {
    let (total, buckets) = sums(probabilities);
    let wanted = total * f64::from(top_p);
    // Softmax's sum is about 1, so this is the rule.
    let is_exact = total < 2.0;
    let mut sum = 0.0;
    for bucket in (1..BUCKETS).rev().filter(|_| is_exact) {
        if sum + buckets[bucket] >= wanted {
            let (from, to) = (first_bits(bucket), first_bits(bucket + 1));
            return reach(&mut keys_between(probabilities, from, to), sum, wanted);
        }
        sum += buckets[bucket];
    }
    let rest = if is_exact { 1 } else { BUCKETS };
    one_by_one(
        &mut keys_between(probabilities, 0, first_bits(rest)),
        sum,
        wanted,
    )
}

/// The sum in order of place, and those of the buckets.
fn sums(probabilities: &[f32]) -> (f64, [f64; BUCKETS]) {
    let mut tables = [[0.0; BUCKETS]; TABLES];
    let mut total = 0.0;
    // The first sum takes its time, since each addition waits for the last: the rest is done
    // meanwhile.
    for probabilities in probabilities.chunks(TABLES) {
        for (table, &probability) in tables.iter_mut().zip(probabilities) {
            let number = f64::from(probability);
            total += number;
            let above = probability.to_bits().saturating_sub(LEAST_EXACT);
            table[((above >> SHIFT) as usize).min(BUCKETS - 1)] += number;
        }
    }
    let mut sums = [0.0; BUCKETS];
    for table in &tables {
        for (sum, part) in sums.iter_mut().zip(table) {
            *sum += part;
        }
    }
    (total, sums)
}

/// The bits of the least number of a bucket; beyond the last bucket, those beyond every number's.
fn first_bits(bucket: usize) -> i32 {
    match bucket {
        BUCKETS.. => i32::MAX,
        _ => (LEAST_EXACT + ((bucket as u32) << SHIFT)).cast_signed(),
    }
}

/// The probabilities whose bits lie in this range, in order of place.
fn keys_between(probabilities: &[f32], from: i32, to: i32) -> Vec<Key> {
    const RUN: usize = 32;
    let within = |probability: f32| (from..to).contains(&probability.to_bits().cast_signed());
    let mut keys = Vec::new();
    for (run, values) in probabilities.chunks(RUN).enumerate() {
        if values.iter().fold(false, |any, &v| any | within(v)) {
            let values = values.iter().enumerate();
            let values = values.filter(|(_, value)| within(**value));
            keys.extend(values.map(|(at, &value)| Key::new(value, place(run * RUN + at))));
        }
    }
    keys
}

/// The key with which the sum reaches `wanted`. Sums are exact.
fn reach(mut keys: &mut [Key], mut sum: f64, wanted: f64) -> Option<Key> {
    while keys.len() > FEW {
        let middle = keys.len() / 2;
        keys.select_nth_unstable(middle);
        let (first, rest) = std::mem::take(&mut keys).split_at_mut(middle);
        let of_first: f64 = first.iter().map(|key| f64::from(key.value())).sum();
        if sum + of_first >= wanted {
            keys = first;
        } else {
            sum += of_first;
            keys = rest;
        }
    }
    one_by_one(keys, sum, wanted)
}

/// The same, adding one by one. Sorts only as many as are needed: some at first, then twice as many
/// each time.
fn one_by_one(keys: &mut [Key], mut sum: f64, wanted: f64) -> Option<Key> {
    let mut sorted = 0;
    while sorted < keys.len() {
        let rest = &mut keys[sorted..];
        let take = sorted.max(FEW).min(rest.len());
        if take < rest.len() {
            rest.select_nth_unstable(take);
        }
        rest[..take].sort_unstable();
        for key in &rest[..take] {
            sum += f64::from(key.value());
            if sum >= wanted {
                return Some(*key);
            }
        }
        sorted += take;
    }
    None
}
