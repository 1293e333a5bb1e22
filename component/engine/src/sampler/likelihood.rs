//! Log probabilities of tokens, from logits that nothing has changed yet.
//!
//! `log p(t) = logit(t) - max + log(softmax(logits)[argmax])`: the kernels' softmax has the same
//! bits on every instruction set and the logarithm is libm's, so the numbers are the same
//! everywhere.

use sterna_kernels::{Isa, softmax};

use super::{NotFinite, argmax, check_finite, rank};

/// The probabilities of all tokens in one place.
#[derive(Debug)]
pub struct Likelihood<'a> {
    logits: &'a [f32],
    max: f32,
    /// Of the most likely token.
    log_max: f64,
}

impl<'a> Likelihood<'a> {
    /// Of the next token by its logits, `[vocab_size]`; `scratch` is overwritten.
    ///
    /// # Errors
    /// `NotFinite` where a logit is a NaN or an infinity.
    pub fn new(isa: Isa, logits: &'a [f32], scratch: &mut Vec<f32>) -> Result<Self, NotFinite> {
        check_finite(logits)?;
        scratch.clear();
        scratch.extend_from_slice(logits);
        softmax(isa, scratch);
        let best = argmax(logits) as usize;
        let of = |values: &[f32]| values.get(best).copied().unwrap_or(1.0);
        Ok(Likelihood {
            max: of(logits),
            log_max: libm::log(f64::from(of(scratch))),
            logits,
        })
    }

    /// The natural logarithm of a token's probability; of an id beyond the vocabulary, that of the
    /// least f32.
    #[must_use]
    pub fn of(&self, token: u32) -> f32 {
        let logit = self.logits.get(token as usize).copied();
        let below = f64::from(logit.unwrap_or(f32::MIN)) - f64::from(self.max);
        ((below + self.log_max) as f32).max(f32::MIN)
    }

    /// A token's place among all, 1 for the most likely; of equals the lower id comes first.
    #[must_use]
    pub fn rank(&self, token: u32) -> u32 {
        let at = token as usize;
        let Some(&logit) = self.logits.get(at) else {
            return 0;
        };
        let larger = self.logits.iter().filter(|&&other| other > logit).count();
        let equal = self.logits[..at].iter().filter(|&&other| other == logit);
        u32::try_from(1 + larger + equal.count()).unwrap_or(u32::MAX)
    }

    /// The `n` most likely tokens, best first; of equals the lower id comes first.
    #[must_use]
    pub fn top(&self, n: usize) -> Vec<u32> {
        let mut best: Vec<u32> = Vec::with_capacity(n + 1);
        let mut least = f32::NEG_INFINITY;
        for (id, &logit) in (0..).zip(self.logits) {
            // Ids ascend, so of equals the one that is there already ranks higher.
            if best.len() == n && logit <= least {
                continue;
            }
            let at = best.partition_point(|&other| rank(self.logits, other, id).is_lt());
            best.insert(at, id);
            best.truncate(n);
            if best.len() == n {
                least = best
                    .last()
                    .map_or(f32::INFINITY, |&id| self.logits[id as usize]);
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn exact(logits: &[f32], token: usize) -> f64 {
        let max = logits.iter().copied().fold(f32::MIN, f32::max);
        let below = |logit: f32| f64::from(logit) - f64::from(max);
        let sum: f64 = logits.iter().map(|&logit| below(logit).exp()).sum();
        below(logits[token]) - sum.ln()
    }

    proptest! {
        #[test]
        fn it_is_the_logarithm_of_the_softmax(
            logits in prop::collection::vec(-30f32..30.0, 1..200),
            n in 0usize..25,
        ) {
            let likelihood = Likelihood::new(Isa::SCALAR, &logits, &mut Vec::new()).unwrap();
            for token in 0..logits.len() {
                let got = f64::from(likelihood.of(token as u32));
                let expected = exact(&logits, token);
                prop_assert!((got - expected).abs() < 1e-5 * (1.0 + expected.abs()), "{got} {expected}");
            }
            let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
            ids.sort_by(|&a, &b| rank(&logits, a, b));
            prop_assert_eq!(likelihood.top(n), &ids[..n.min(ids.len())]);
            for (at, &id) in ids.iter().enumerate() {
                prop_assert_eq!(likelihood.rank(id) as usize, at + 1);
            }
        }
    }

    #[test]
    fn equals_rank_by_id() {
        let logits = [1.0, 2.0, 2.0, 0.0, 2.0];
        let likelihood = Likelihood::new(Isa::SCALAR, &logits, &mut Vec::new()).unwrap();
        assert_eq!(likelihood.top(4), [1, 2, 4, 0]);
        assert!(likelihood.top(0).is_empty());
        assert_eq!(
            [1, 2, 4, 0, 3].map(|id| likelihood.rank(id)),
            [1, 2, 3, 4, 5]
        );
    }

    #[test]
    fn every_instruction_set_has_the_same_bits() {
        let logits: Vec<f32> = (0..4001)
            .map(|i| ((i * 7919) % 1009) as f32 / 31.0)
            .collect();
        let bits = |isa| {
            let mut scratch = Vec::new();
            let likelihood = Likelihood::new(isa, &logits, &mut scratch).unwrap();
            [0, 17, 4000].map(|id| likelihood.of(id).to_bits())
        };
        for isa in Isa::supported() {
            assert_eq!(bits(isa), bits(Isa::SCALAR), "{}", isa.name());
        }
    }

    #[test]
    fn extremes_stay_finite_and_faults_are_told() {
        let logits = [1e30, -1e30, f32::MIN];
        let likelihood = Likelihood::new(Isa::SCALAR, &logits, &mut Vec::new()).unwrap();
        assert!((0..4).all(|id| likelihood.of(id).is_finite()));
        let odd = [0.0, f32::NAN];
        let fault = Likelihood::new(Isa::SCALAR, &odd, &mut Vec::new()).unwrap_err();
        assert_eq!(fault, NotFinite { token: 1 });
    }
}
