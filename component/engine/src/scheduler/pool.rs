//! The embedding of a prompt: the final hidden states of its tokens become one vector of length 1.

use crate::config::Pooling;
use crate::error::EngineError;

/// The states that came so far. A mean scaled to length 1 is a sum scaled to length 1, so that a
/// sum is all there is; in f64 and in the tokens' order, so that neither chunks nor the rest of a
/// batch change a bit of it.
pub(super) struct Pool {
    pooling: Pooling,
    /// `[hidden_size]`; empty before the first state.
    sum: Vec<f64>,
}

impl Pool {
    pub(super) fn new(pooling: Pooling) -> Self {
        Pool {
            pooling,
            sum: Vec::new(),
        }
    }

    /// True if no state counts but the last token's.
    pub(super) fn wants_the_last_only(&self) -> bool {
        self.pooling == Pooling::Last
    }

    /// Forget the states: they come again.
    pub(super) fn begin_again(&mut self) {
        self.sum.clear();
    }

    /// True if the state of the token at `position` counts.
    pub(super) fn wants(&self, position: usize, is_last: bool) -> bool {
        match self.pooling {
            Pooling::Last => is_last,
            Pooling::Mean => true,
            Pooling::First => position == 0,
        }
    }

    /// Take in a state, `[hidden_size]`, after the output norm.
    pub(super) fn add(&mut self, state: &[f32]) {
        self.sum.resize(state.len(), 0.0);
        for (sum, &value) in self.sum.iter_mut().zip(state) {
            *sum += f64::from(value);
        }
    }

    /// The embedding, `[hidden_size]`, of length 1; all zeros where the states are.
    ///
    /// # Errors
    /// `Internal` where a state is not finite.
    pub(super) fn embedding(&self) -> Result<Vec<f32>, EngineError> {
        let norm = self.sum.iter().map(|v| v * v).sum::<f64>().sqrt();
        if !norm.is_finite() {
            return Err(EngineError::Internal(
                "the model's final hidden state is not finite".into(),
            ));
        }
        let scale = if norm > 0.0 { norm } else { 1.0 };
        Ok(self.sum.iter().map(|v| (v / scale) as f32).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pooled(pooling: Pooling, states: &[[f32; 2]]) -> Vec<f32> {
        let mut pool = Pool::new(pooling);
        for (position, state) in states.iter().enumerate() {
            if pool.wants(position, position + 1 == states.len()) {
                pool.add(state);
            }
        }
        pool.embedding().unwrap()
    }

    #[test]
    fn each_pooling_takes_its_states_and_scales_them() {
        let states = [[3.0, 4.0], [-1.0, 0.0], [-2.0, 1.0]];
        assert_eq!(pooled(Pooling::First, &states), [0.6, 0.8]);
        assert_eq!(pooled(Pooling::Mean, &states), [0.0, 1.0]);
        let last = pooled(Pooling::Last, &states);
        let length = 5.0_f64.sqrt();
        assert_eq!(last, [(-2.0 / length) as f32, (1.0 / length) as f32]);
        assert_eq!(pooled(Pooling::Last, &[[0.0, 0.0]]), [0.0, 0.0]);
    }

    #[test]
    fn what_is_not_finite_is_a_fault() {
        for value in [f32::NAN, f32::INFINITY] {
            let mut pool = Pool::new(Pooling::Last);
            pool.add(&[1.0, value]);
            assert!(pool.embedding().is_err(), "{value}");
        }
    }
}
