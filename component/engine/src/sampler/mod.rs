//! Sampling of the next token, so that the same seed gives the same token everywhere.
//!
//! In this order (that of Hugging Face's generate):
//!
//! 1. Penalties, on the logits. Repetition, over the prompt and what was generated: a positive
//!    logit is divided, another multiplied. Then, over what was generated: presence is subtracted
//!    once, frequency times the token's count.
//! 2. Temperature 0 takes the largest logit and is done. Else logits are divided by it.
//! 3. top-k keeps the k largest; probabilities are the softmax of what is kept.
//! 4. top-p keeps, from the most likely down, the fewest tokens that reach p together.
//! 5. min-p drops what is less likely than that share of the most likely.
//! 6. One number of the generator, times the sum of what is left, is walked off in order of id.
//!
//! Before all that, a request's biases are added and what it bans of single tokens is out
//! ([`TokenRules`]). Tokens that would end the completion too early, and those that no grammar
//! allows, are out after step 1. `top_p` 0 keeps the most likely token, as temperature 0 does.
//! Equal logits rank by the lower id. `exp` is the kernels' own and sums have a fixed order, so
//! that the choice is the same on every instruction set. The vocabulary is never sorted as a whole.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::SystemTime;

mod kept;
mod likelihood;
mod rules;
mod top_p;

use kept::Kept;
pub use likelihood::Likelihood;
pub use rules::TokenRules;
use sterna_kernels::{Isa, softmax};

/// No model comes near it, and differences of two such still fit f32.
const MAX_LOGIT: f32 = 1e30;

/// Checked values for every field of `request::Sampling`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "each field is documented in wit/engine.wit")]
pub struct Params {
    pub temperature: f32,
    pub top_k: usize,
    pub top_p: f32,
    pub min_p: f32,
    pub repetition_penalty: f32,
    pub presence_penalty: f32,
    pub frequency_penalty: f32,
    pub seed: u64,
}

impl Params {
    /// The largest logit, always.
    pub const GREEDY: Params = Params {
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.0,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        seed: 0,
    };

    /// The largest logit is taken, and nothing drawn.
    fn is_greedy(&self) -> bool {
        self.temperature == 0.0 || self.top_p == 0.0
    }
}

/// A logit is a NaN or an infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the model's logits are not finite (token {token}); its weights are damaged, or its scales wrong"
)]
pub struct NotFinite {
    /// The first such token.
    pub token: usize,
}

/// The state of one sequence's choices.
#[derive(Clone, Debug)]
pub struct Sampler {
    params: Params,
    rng: SplitMix64,
    /// Tokens of prompt and completion, with how often each was generated.
    seen: HashMap<u32, u32>,
}

impl Sampler {
    /// A sampler at the start of a completion of `prompt`.
    #[must_use]
    pub fn new(params: Params, prompt: &[u32]) -> Self {
        let remembers = params.repetition_penalty != 1.0;
        let seen = prompt
            .iter()
            .filter(|_| remembers)
            .map(|&token| (token, 0))
            .collect();
        Sampler {
            params,
            rng: SplitMix64(params.seed),
            seen,
        }
    }

    /// Choose a token from its logits, `[vocab_size]`, which are overwritten, and remember it.
    ///
    /// # Errors
    /// `NotFinite` where a logit is a NaN or an infinity.
    pub fn sample(&mut self, isa: Isa, logits: &mut [f32]) -> Result<u32, NotFinite> {
        self.sample_without(isa, logits, &[])
    }

    /// As [`Self::sample`], but none of the tokens `banned`, unless there are no others.
    ///
    /// # Errors
    /// As [`Self::sample`].
    pub fn sample_without(
        &mut self,
        isa: Isa,
        logits: &mut [f32],
        banned: &[u32],
    ) -> Result<u32, NotFinite> {
        self.sample_within(isa, logits, |logits| {
            for &token in banned {
                if let Some(logit) = logits.get_mut(token as usize) {
                    *logit = f32::MIN;
                }
            }
        })
    }

    /// As [`Self::sample`], from the logits that `restrict` leaves above `f32::MIN`, at least one.
    ///
    /// # Errors
    /// As [`Self::sample`].
    pub fn sample_within(
        &mut self,
        isa: Isa,
        logits: &mut [f32],
        restrict: impl FnOnce(&mut [f32]),
    ) -> Result<u32, NotFinite> {
        check_finite(logits)?;
        self.penalise(logits);
        restrict(logits);
        let token = if self.params.is_greedy() {
            argmax(logits)
        } else {
            self.draw(isa, logits)
        };
        *self.seen.entry(token).or_default() += 1;
        Ok(token)
    }

    /// Remember a token that a sampler with the same parameters chose in this place: what is chosen
    /// after it is what that one would have chosen.
    pub fn resume(&mut self, token: u32) {
        if !self.params.is_greedy() {
            // Each choice draws once.
            self.rng.next_u64();
        }
        *self.seen.entry(token).or_default() += 1;
    }

    /// Step 1.
    fn penalise(&self, logits: &mut [f32]) {
        let Params {
            repetition_penalty,
            presence_penalty,
            frequency_penalty,
            ..
        } = self.params;
        for (&token, &count) in &self.seen {
            let Some(logit) = logits.get_mut(token as usize) else {
                continue;
            };
            // Banned: it stays below all others.
            if *logit == f32::MIN {
                continue;
            }
            let mut value = if *logit > 0.0 {
                *logit / repetition_penalty
            } else {
                *logit * repetition_penalty
            };
            if count > 0 {
                let times = count as f32;
                value -= presence_penalty + frequency_penalty * times;
            }
            // A penalty near 0 must not make an infinity.
            *logit = value.clamp(-MAX_LOGIT, MAX_LOGIT);
        }
    }

    /// Steps 2 to 6.
    fn draw(&mut self, isa: Isa, logits: &mut [f32]) -> u32 {
        let Params {
            temperature,
            top_k,
            top_p,
            min_p,
            ..
        } = self.params;
        // Shifting the largest to 0 first keeps a tiny temperature from overflowing: 0 stays 0.
        let largest = logits[argmax(logits) as usize];
        logits
            .iter_mut()
            .for_each(|logit| *logit = ((*logit - largest) / temperature).max(f32::MIN));
        let mut kept = Kept::all(logits);
        if top_k > 0 && top_k < kept.values().len() {
            kept.keep_top_k(top_k);
        }
        softmax(isa, kept.values_mut());
        if top_p < 1.0 {
            kept.keep_top_p(top_p);
        }
        if min_p > 0.0 {
            let least = kept.values().iter().copied().fold(0.0, f32::max) * min_p;
            kept.keep_from(least);
        }
        let probabilities = kept.values();
        let total: f64 = probabilities.iter().copied().map(f64::from).sum();
        let mut left = self.rng.next_f64() * total;
        for (at, &probability) in probabilities.iter().enumerate() {
            left -= f64::from(probability);
            if left < 0.0 {
                return kept.id(at);
            }
        }
        // Rounding may leave a sliver: it belongs to the last token that can be drawn.
        let last = probabilities
            .iter()
            .rposition(|&probability| probability > 0.0);
        kept.id(last.unwrap_or_else(|| argmax(probabilities) as usize))
    }
}

/// Refuse logits of which one is not a finite number.
///
/// # Errors
/// Names the first such token.
pub fn check_finite(logits: &[f32]) -> Result<(), NotFinite> {
    // Two passes, because the first has no branch and so runs in vectors.
    let is_bad = logits
        .iter()
        .fold(false, |bad, logit| bad | !logit.is_finite());
    if !is_bad {
        return Ok(());
    }
    let token = logits.iter().position(|logit| !logit.is_finite());
    Err(NotFinite {
        token: token.unwrap_or(0),
    })
}

/// Best first: the larger value, then the lower id.
fn rank(values: &[f32], a: u32, b: u32) -> Ordering {
    values[b as usize]
        .total_cmp(&values[a as usize])
        .then(a.cmp(&b))
}

/// The largest value's index, the lower of equals. `values` is finite and not empty.
fn argmax(values: &[f32]) -> u32 {
    /// Lanes, so that vectors do the first pass; the second looks into one piece alone.
    const LANES: usize = 16;
    const PIECE: usize = 64 * LANES;
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (mut piece, mut largest) = (0, f32::NEG_INFINITY);
    for (index, values) in values.chunks(PIECE).enumerate() {
        let (chunks, rest) = values.as_chunks::<LANES>();
        let mut lanes = [f32::NEG_INFINITY; LANES];
        for chunk in chunks {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *lane = larger(*lane, *value);
            }
        }
        let max = lanes.iter().chain(rest).copied();
        let max = max.fold(f32::NEG_INFINITY, larger);
        if max > largest {
            (piece, largest) = (index, max);
        }
    }
    let start = piece * PIECE;
    let found = values[start..].iter().position(|value| *value == largest);
    u32::try_from(start + found.unwrap_or(0)).unwrap_or(u32::MAX)
}

/// `SplitMix64` (Steele, Lea, Flood 2014): the whole state is the seed plus the number of draws.
#[derive(Clone, Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// At least 0 and below 1, a multiple of 2^-53.
    fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A seed for a request that gives none. Mixes the clock in, because a process image that was
/// snapshotted wakes up with the same hash keys each time.
#[must_use]
pub fn fresh_seed() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    hasher.write_u128(now.as_nanos());
    hasher.finish()
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
