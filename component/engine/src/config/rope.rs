//! Scaling of the rotary embedding's frequencies: how a model reaches beyond the context it was
//! first trained on.
//!
//! The formulas are transformers' (`modeling_rope_utils.py`), in f64 and with `libm`'s logarithm,
//! which is the same on every machine.

use std::f64::consts::TAU;

use sterna_kernels::rope_frequencies;

use super::bad;
use crate::error::LoadError;

/// The pairs of a head's numbers that turn together, as the rows of a query or key matrix give
/// them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RopePairs {
    /// i and i + head_dim / 2: transformers, and all GGUF architectures here but one.
    #[default]
    Halves,
    /// 2i and 2i + 1: GGUF's `llama`, whose converter reorders the rows of `q` and `k`.
    Adjacent,
}

impl RopePairs {
    /// The row of a query or key matrix in whose place `row` lies, where these are [`Halves`] and
    /// the matrix becomes [`Adjacent`].
    ///
    /// [`Halves`]: RopePairs::Halves
    /// [`Adjacent`]: RopePairs::Adjacent
    #[must_use]
    pub fn adjacent_from_halves(row: usize, head_dim: usize) -> usize {
        let (first, place) = (row - row % head_dim, row % head_dim);
        first + place % 2 * (head_dim / 2) + place / 2
    }

    /// Put a head's numbers in halves, whatever they were in. `scratch` is as long.
    pub(crate) fn put_in_halves(self, head: &mut [f32], scratch: &mut [f32]) {
        if self == RopePairs::Halves {
            return;
        }
        scratch.copy_from_slice(head);
        let (left, right) = head.split_at_mut(scratch.len() / 2);
        let pairs = scratch.as_chunks::<2>().0.iter();
        for (([first, second], left), right) in pairs.zip(left).zip(right) {
            (*left, *right) = (*first, *second);
        }
    }
}

/// The scaling of a model's rotary frequencies.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum RopeScaling {
    /// The frequencies as theta gives them.
    #[default]
    Unscaled,
    /// YaRN (Peng et al. 2023).
    Yarn(Yarn),
    /// As Llama 3.1.
    Llama3(Llama3),
}

/// YaRN: pairs that turn often within the original context keep their frequency, those that turn
/// less than once have theirs divided, and a ramp lies between; queries and keys grow a little.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Yarn {
    /// The divisor of the slow frequencies: the context's growth.
    pub factor: f64,
    /// Positions of the context the model was first trained on.
    pub original_context: f64,
    /// Turns within the original context from which on a frequency is kept.
    pub beta_fast: f64,
    /// Turns within the original context up to which a frequency is divided by the whole factor.
    pub beta_slow: f64,
    /// Factor of every rotated query and key.
    pub attention_factor: f64,
    /// True if the ramp begins and ends at whole pairs.
    pub truncate: bool,
}

/// Llama 3.1's: as YaRN with a ramp over the frequency, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Llama3 {
    /// The divisor of the slow frequencies.
    pub factor: f64,
    /// Turns within the original context up to which a frequency is divided by the whole factor.
    pub low_freq_factor: f64,
    /// Turns within the original context from which on a frequency is kept.
    pub high_freq_factor: f64,
    /// Positions of the context the model was first trained on.
    pub original_context: f64,
}

impl Yarn {
    /// The paper's defaults of all but the factor and the context.
    #[must_use]
    pub fn new(factor: f64, original_context: f64) -> Self {
        Yarn {
            factor,
            original_context,
            beta_fast: 32.0,
            beta_slow: 1.0,
            attention_factor: growth(factor, 1.0),
            truncate: true,
        }
    }

    /// The pair that turns so often within the original context.
    fn pair(&self, turns: f64, theta: f64, head_dim: f64) -> f64 {
        head_dim * libm::log(self.original_context / (turns * TAU)) / (2.0 * libm::log(theta))
    }

    fn scale(&self, theta: f64, frequencies: &mut [f64]) {
        let head_dim = 2.0 * frequencies.len() as f64;
        let mut low = self.pair(self.beta_fast, theta, head_dim);
        let mut high = self.pair(self.beta_slow, theta, head_dim);
        if self.truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        (low, high) = (low.max(0.0), high.min(head_dim - 1.0));
        if low == high {
            high += 0.001;
        }
        for (pair, frequency) in frequencies.iter_mut().enumerate() {
            let divided = ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0);
            *frequency = *frequency / self.factor * divided + *frequency * (1.0 - divided);
        }
    }
}

impl Llama3 {
    fn scale(&self, frequencies: &mut [f64]) {
        for frequency in frequencies {
            let turns = self.original_context * *frequency / TAU;
            if turns < self.low_freq_factor {
                *frequency /= self.factor;
            } else if turns <= self.high_freq_factor {
                let kept =
                    (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor);
                *frequency = (1.0 - kept) * *frequency / self.factor + kept * *frequency;
            }
        }
    }
}

/// YaRN's growth of queries and keys for a context that grows by `factor`.
pub(super) fn growth(factor: f64, mscale: f64) -> f64 {
    if factor <= 1.0 {
        1.0
    } else {
        0.1 * mscale * libm::log(factor) + 1.0
    }
}

impl RopeScaling {
    /// The frequency of each of a head's pairs, `[head_dim / 2]`.
    #[must_use]
    pub fn frequencies(&self, theta: f64, head_dim: usize) -> Vec<f64> {
        let mut frequencies = rope_frequencies(theta, head_dim);
        match self {
            RopeScaling::Unscaled => {}
            RopeScaling::Yarn(yarn) => yarn.scale(theta, &mut frequencies),
            RopeScaling::Llama3(llama3) => llama3.scale(&mut frequencies),
        }
        frequencies
    }

    /// The factor of every rotated query and key.
    #[must_use]
    pub fn magnitude(&self) -> f64 {
        match self {
            RopeScaling::Yarn(yarn) => yarn.attention_factor,
            RopeScaling::Unscaled | RopeScaling::Llama3(_) => 1.0,
        }
    }

    pub(super) fn validate(&self) -> Result<(), LoadError> {
        let numbers = match *self {
            RopeScaling::Unscaled => Vec::new(),
            RopeScaling::Yarn(yarn) => vec![
                ("factor", yarn.factor),
                ("original_max_position_embeddings", yarn.original_context),
                ("beta_fast", yarn.beta_fast),
                ("beta_slow", yarn.beta_slow),
                ("attention_factor", yarn.attention_factor),
            ],
            RopeScaling::Llama3(llama3) => vec![
                ("factor", llama3.factor),
                ("original_max_position_embeddings", llama3.original_context),
                ("low_freq_factor", llama3.low_freq_factor),
                ("high_freq_factor", llama3.high_freq_factor),
            ],
        };
        match numbers.iter().find(|(_, x)| !(x.is_finite() && *x > 0.0)) {
            None => Ok(()),
            Some((name, x)) => Err(bad(
                &format!("rope_scaling.{name}"),
                format!("is {x}, must be finite and above 0"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_in_adjacent_pairs_are_heads_in_halves() {
        for (head_dim, n_heads) in [(2, 3), (6, 2), (100, 2)] {
            let rows = 0..head_dim * n_heads;
            let place = |row| RopePairs::adjacent_from_halves(row, head_dim);
            let mut moved: Vec<f32> = rows.clone().map(|row| place(row) as f32).collect();
            assert_eq!(
                moved[1],
                (head_dim / 2) as f32,
                "the other half's first is second"
            );
            let halves: Vec<f32> = rows.map(|row| row as f32).collect();
            let mut scratch = vec![0.0; head_dim];
            for head in moved.chunks_exact_mut(head_dim) {
                RopePairs::Adjacent.put_in_halves(head, &mut scratch);
                let before = head.to_vec();
                RopePairs::Halves.put_in_halves(head, &mut scratch);
                assert_eq!(head, before);
            }
            assert_eq!(moved, halves);
        }
    }

    fn near(actual: &[f64], expected: &[f64]) {
        assert_eq!(actual.len(), expected.len());
        for (a, e) in actual.iter().zip(expected) {
            // transformers computes in f32.
            assert!((a / e - 1.0).abs() < 1e-5, "{actual:?} {expected:?}");
        }
    }

    #[test]
    fn unscaled_frequencies_are_thetas() {
        let frequencies = RopeScaling::default().frequencies(1e4, 4);
        near(&frequencies, &[1.0, 0.01]);
        assert_eq!(RopeScaling::default().magnitude(), 1.0);
    }

    /// The expected numbers are transformers' own (5.24, `ROPE_INIT_FUNCTIONS`).
    #[test]
    fn yarn_is_transformers() {
        let yarn = Yarn::new(4.0, 1024.0);
        let expected = [
            1.0,
            0.133371,
            0.01581139,
            0.001405853,
            0.00025,
            4.445699e-05,
            7.905694e-06,
            1.405853e-06,
        ];
        near(&RopeScaling::Yarn(yarn).frequencies(1e6, 16), &expected);
        assert_eq!(RopeScaling::Yarn(yarn).magnitude(), 1.138629436111989);
        let yarn = Yarn {
            truncate: false,
            beta_fast: 8.0,
            beta_slow: 2.0,
            ..yarn
        };
        let expected = [
            1.0,
            0.3162278,
            0.1,
            0.02409986,
            0.0025,
            0.0007905695,
            0.00025,
            7.905695e-05,
        ];
        near(&RopeScaling::Yarn(yarn).frequencies(1e4, 16), &expected);
        // A context so short that the ramp has no width.
        let yarn = Yarn::new(8.0, 16.0);
        let expected = [1.0, 0.0125, 0.00125, 0.000125];
        near(&RopeScaling::Yarn(yarn).frequencies(1e4, 8), &expected);
        near(
            &[growth(8.0, 0.7) / growth(8.0, 0.3)],
            &[1.0782934613857693],
        );
    }

    #[test]
    fn llama3_is_transformers() {
        let llama3 = Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 256.0,
        };
        let expected = [
            1.0,
            0.1939228,
            0.01053823,
            0.0009115831,
            0.0001767767,
            3.428102e-05,
            6.64787e-06,
            1.289173e-06,
        ];
        near(&RopeScaling::Llama3(llama3).frequencies(5e5, 16), &expected);
        assert_eq!(RopeScaling::Llama3(llama3).magnitude(), 1.0);
    }

    #[test]
    fn numbers_that_mean_nothing_are_refused_by_name() {
        let yarn = Yarn::new(f64::NAN, 64.0);
        let error = RopeScaling::Yarn(yarn).validate().unwrap_err().to_string();
        assert!(error.contains("rope_scaling.factor"), "{error}");
    }
}
