//! The options of whoever loads a model, about its files.

/// The options of loading a model.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The name requests select it by; the file's stem (or the directory's name) if absent.
    pub id: Option<String>,
    /// Read I2_S tensors in the 64-weight interleave that `llama-quantize` writes on ARM. The file
    /// carries no mark of it; published files have the 128-weight one.
    pub i2s_arm: bool,
    /// Take linears of floats that lie on no grid for master weights, and quantise them as BitNet's
    /// training does. What the configuration says to be a BitNet's is without it too.
    pub quantize: bool,
    /// The chat template's source, in place of the file's own.
    pub chat_template: Option<String>,
    /// Pack ternary weights with a scale for each group as trits8, where they are packed anew.
    pub trits8: bool,
}
