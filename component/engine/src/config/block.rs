//! What a block of some families has beyond Llama's.

use super::{ModelConfig, bad};
use crate::error::LoadError;

/// The options of a block. The default is a plain one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BlockOptions {
    /// Each linear norms its own input, after every other norm, with this added to the mean square
    /// inside the root: BitNet's embedding models.
    pub input_norm_eps: Option<f32>,
    /// What attention and feed-forward network add to the stream is normed before: Gemma 3.
    pub post_norms: bool,
    /// The factor of every embedding that enters the first block; 1 without: Gemma.
    pub embedding_scale: Option<f32>,
    /// The factor of every product of a query and a key; `head_dim`^-1/2 without: Gemma.
    pub attention_scale: Option<f32>,
    /// Layers that see a part of the context only: Gemma 3.
    pub window: Option<SlidingWindow>,
}

/// Layers whose tokens see the nearest positions only, and turn by frequencies of their own.
#[derive(Clone, Debug, PartialEq)]
pub struct SlidingWindow {
    /// The positions that a token sees there, its own among them.
    pub size: usize,
    /// True of the layers that have it, first to last.
    pub layers: Vec<bool>,
    /// The base of their rotary frequencies, which are not scaled.
    pub rope_theta: f64,
}

impl SlidingWindow {
    /// Every `period`-th layer sees the whole context.
    #[must_use]
    pub fn periodic(size: usize, period: usize, n_layers: usize, rope_theta: f64) -> Self {
        SlidingWindow {
            size,
            layers: (1..=n_layers)
                .map(|layer| !layer.is_multiple_of(period))
                .collect(),
            rope_theta,
        }
    }

    /// The period after which a layer sees the whole context, if there is one.
    pub(crate) fn period(&self) -> Option<usize> {
        let first = self.layers.iter().position(|local| !local);
        // Without any, a period that is never reached.
        let period = first.map_or(self.layers.len() + 1, |at| at + 1);
        let periodic = Self::periodic(self.size, period, self.layers.len(), self.rope_theta);
        (periodic == *self).then_some(period)
    }
}

impl ModelConfig {
    /// The factor of every product of a query and a key.
    #[must_use]
    pub fn attention_scale(&self) -> f32 {
        // The square root is exact in IEEE, so the same everywhere.
        let plain = || (1.0 / (self.head_dim as f64).sqrt()) as f32;
        self.block.attention_scale.unwrap_or_else(plain)
    }

    /// The positions that a layer's tokens see, where they are not all.
    #[must_use]
    pub fn window(&self, layer: usize) -> Option<usize> {
        let window = self.block.window.as_ref()?;
        let local = window.layers.get(layer).copied().unwrap_or_default();
        local.then_some(window.size)
    }

    /// Checks the options of its blocks.
    ///
    /// # Errors
    /// `LoadError::Config` with the field and the limit it breaks.
    pub(super) fn validate_block(&self) -> Result<(), LoadError> {
        let BlockOptions {
            input_norm_eps,
            embedding_scale,
            attention_scale,
            window,
            ..
        } = &self.block;
        for (key, factor) in [
            ("the embeddings' factor", embedding_scale),
            ("query_pre_attn_scalar", attention_scale),
        ] {
            if let Some(factor) = factor.filter(|x| !(x.is_finite() && *x > 0.0)) {
                return Err(bad(
                    key,
                    format!("gives the factor {factor}, must be above 0"),
                ));
            }
        }
        if let Some(eps) = input_norm_eps.filter(|eps| !(*eps > 0.0 && *eps < 1.0)) {
            return Err(bad(
                "quantization_config.rms_norm_eps",
                format!("is {eps}, must be between 0 and 1"),
            ));
        }
        let Some(window) = window else { return Ok(()) };
        if window.size == 0 {
            return Err(bad("sliding_window", "is 0, must be at least 1"));
        }
        if window.layers.len() != self.n_layers {
            let n = window.layers.len();
            return Err(bad(
                "layer_types",
                format!("names {n} layers, the model has {}", self.n_layers),
            ));
        }
        if !(window.rope_theta.is_finite() && window.rope_theta >= 1.0) {
            return Err(bad(
                "rope_local_base_freq",
                format!("is {}, must be finite and at least 1", window.rope_theta),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_found_where_there_are_any() {
        for (period, n_layers) in [(6, 18), (6, 5), (1, 4), (2, 3), (9, 8)] {
            let window = SlidingWindow::periodic(8, period, n_layers, 1e4);
            let found = window.period().unwrap();
            assert_eq!(SlidingWindow::periodic(8, found, n_layers, 1e4), window);
        }
        let mut window = SlidingWindow::periodic(8, 3, 9, 1e4);
        window.layers[4] = false;
        assert_eq!(window.period(), None);
    }
}
