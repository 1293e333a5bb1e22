//! The memory of a pass, before it is made: a sandbox may ask for any shape.

use super::shape::PassShape;

impl PassShape {
    /// Bytes of the buffers for `max_tokens` tokens at most, save logits; `usize::MAX` where they
    /// cannot be counted.
    #[must_use]
    pub fn buffer_bytes(&self, max_tokens: usize) -> usize {
        let widest = self.hidden_size.max(self.ffn_size).max(self.q_size());
        // As in `Buffers::new`.
        let floats = [
            2 * self.hidden_size,
            2 * widest,
            2 * self.q_size(),
            2 * self.kv_size(),
            3 * self.ffn_size,
            2 * self.head_dim,
        ];
        // int8 rows are padded, or have two words for each 32; a head's input exists in up to three
        // forms of 4 bytes.
        let bytes = [
            4 * floats.iter().sum::<usize>(),
            4 * widest + 512,
            12 * self.hidden_size,
        ];
        // The rows of each layer that are not zero: a number and a flag.
        let layers = self.n_layers.saturating_mul(128 + 5 * self.ffn_size);
        max_tokens
            .saturating_mul(bytes.iter().sum())
            .saturating_add(layers)
    }

    /// Weights of all layers' matrices; `u64::MAX` where they cannot be counted.
    #[must_use]
    pub fn n_weights(&self) -> u64 {
        let product = |a: usize, b: usize| (a as u64).saturating_mul(b as u64);
        let layer = [
            product(2 * self.hidden_size, self.q_size()),
            product(2 * self.hidden_size, self.kv_size()),
            product(3 * self.hidden_size, self.ffn_size),
        ];
        let layer = layer.into_iter().fold(0, u64::saturating_add);
        layer.saturating_mul(self.n_layers as u64)
    }

    /// Attention scores of one kv head's query heads, for a token that sees so many positions.
    #[must_use]
    pub fn n_scores(&self, positions: usize) -> usize {
        (self.n_heads / self.n_kv_heads.max(1)).saturating_mul(positions)
    }
}

#[cfg(test)]
mod tests {
    use super::super::shape::PassShape;
    use crate::config::Activation;

    fn shape(size: usize, n_layers: usize) -> PassShape {
        PassShape {
            hidden_size: size,
            ffn_size: size,
            n_layers,
            n_heads: 1,
            n_kv_heads: 1,
            head_dim: size,
            rms_norm_eps: 1e-5,
            activation: Activation::Relu2,
            attention_scale: 1.0,
            input_norm_eps: None,
        }
    }

    #[test]
    fn the_largest_shapes_are_counted() {
        let most = 1 << 20;
        assert_eq!(shape(most, most).n_weights(), 7 << 60, "fits");
        assert_eq!(shape(most, most).buffer_bytes(usize::MAX), usize::MAX);
        assert!(shape(most, 1).buffer_bytes(1) > 11 * 4 * most);
        assert_eq!(shape(4, 2).n_weights(), 2 * 7 * 16);
        assert_eq!(shape(4, 2).n_scores(100), 100);
    }
}
