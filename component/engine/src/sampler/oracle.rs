//! The draw as plainly as it can be written, sorting what top-p may keep: what the sampler's is
//! held to, token for token.

use sterna_kernels::{Isa, softmax};

use super::{Params, SplitMix64, argmax, rank};

/// Steps 2 to 6 of the sampler, for logits that are penalised. They are overwritten.
pub(super) fn draw(params: Params, rng: &mut SplitMix64, isa: Isa, logits: &mut [f32]) -> u32 {
    let Params {
        temperature,
        top_k,
        top_p,
        min_p,
        ..
    } = params;
    // Shifting the largest to 0 first keeps a tiny temperature from overflowing: 0 stays 0.
    let largest = logits[argmax(logits) as usize];
    logits
        .iter_mut()
        .for_each(|logit| *logit = ((*logit - largest) / temperature).max(f32::MIN));
    // Ids in ascending order from here on, each with its logit, then its probability.
    let mut ids: Vec<u32> = (0..u32::try_from(logits.len()).unwrap_or(u32::MAX)).collect();
    if top_k > 0 && top_k < ids.len() {
        ids.select_nth_unstable_by(top_k, |&a, &b| rank(logits, a, b));
        ids.truncate(top_k);
        ids.sort_unstable();
    }
    let mut probabilities: Vec<f32> = ids.iter().map(|&id| logits[id as usize]).collect();
    softmax(isa, &mut probabilities);
    if top_p < 1.0 {
        keep_top_p(&mut ids, &mut probabilities, top_p);
    }
    if min_p > 0.0 {
        let least = probabilities.iter().copied().fold(0.0, f32::max) * min_p;
        keep(&mut ids, &mut probabilities, |_, probability| {
            probability >= least
        });
    }
    let total: f64 = probabilities.iter().copied().map(f64::from).sum();
    let mut left = rng.next_f64() * total;
    for (&id, &probability) in ids.iter().zip(&probabilities) {
        left -= f64::from(probability);
        if left < 0.0 {
            return id;
        }
    }
    // Rounding may leave a sliver: it belongs to the last token that can be drawn.
    let last = probabilities
        .iter()
        .rposition(|&probability| probability > 0.0);
    last.map_or_else(|| argmax(logits), |index| ids[index])
}

/// Step 4. Sorts only as many of the most likely as are needed: 64 at first, then twice as many
/// each time.
pub(super) fn keep_top_p(ids: &mut Vec<u32>, probabilities: &mut Vec<f32>, top_p: f32) {
    let total: f64 = probabilities.iter().copied().map(f64::from).sum();
    let wanted = total * f64::from(top_p);
    // Places in `ids`; ids ascend, so the lower place is the lower id.
    let mut places: Vec<u32> = (0..u32::try_from(ids.len()).unwrap_or(u32::MAX)).collect();
    let (mut sorted, mut sum) = (0, 0.0);
    while sorted < places.len() {
        let rest = &mut places[sorted..];
        let take = sorted.max(64).min(rest.len());
        if take < rest.len() {
            rest.select_nth_unstable_by(take, |&a, &b| rank(probabilities, a, b));
        }
        rest[..take].sort_unstable_by(|&a, &b| rank(probabilities, a, b));
        for &place in &rest[..take] {
            sum += f64::from(probabilities[place as usize]);
            if sum >= wanted {
                let least = probabilities[place as usize];
                keep(ids, probabilities, |at, probability| {
                    probability > least || (probability == least && at <= place)
                });
                return;
            }
        }
        sorted += take;
    }
}

/// Keep the places whose `(place, probability)` the condition holds for; ids stay in order.
fn keep(ids: &mut Vec<u32>, probabilities: &mut Vec<f32>, condition: impl Fn(u32, f32) -> bool) {
    let mut kept = 0;
    for at in 0..ids.len() {
        if condition(u32::try_from(at).unwrap_or(u32::MAX), probabilities[at]) {
            ids[kept] = ids[at];
            probabilities[kept] = probabilities[at];
            kept += 1;
        }
    }
    ids.truncate(kept);
    probabilities.truncate(kept);
}
