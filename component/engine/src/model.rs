//! A loaded model: weights as the kernels want them, tokenizer, chat template, defaults.
//!
//! Weights are read once, checked against the configuration, and never change. Where a file's layout
//! is the kernels' own (I2_S rows, dense tables) the tensors are ranges of the mapped file.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use sterna_kernels::{
    Dense, DenseType, Isa, Line, Ternary, TernaryColumns, TernaryLayout, pack_trits5, unpack_trits5,
};

use crate::config::{Activation, ModelConfig, SamplingDefaults};
use crate::error::{EngineError, LoadError};
use crate::files::{self, Bytes};
use crate::optimisations::Optimisations;
use crate::request::Message;
use crate::template::ChatTemplate;
use crate::tokenizer::{Tokenizer, TooMany};

/// A ternary matrix `[rows, cols]` in one of the kernels' layouts.
#[derive(Clone, Debug)]
pub struct Linear {
    rows: usize,
    cols: usize,
    scale: f32,
    stored: Packed,
    /// The same weights in another layout, in which every view shows them from then on. Clones share it.
    repacked: Arc<OnceLock<Packed>>,
}

/// A matrix's rows, and how they lie.
#[derive(Clone, Debug)]
struct Packed {
    layout: TernaryLayout,
    bytes: Bytes,
}

impl Linear {
    /// In I2_S rows: `packed` holds `rows * Ternary::row_bytes(cols)` bytes; each weight is its trit times `scale`.
    ///
    /// # Errors
    /// A sentence for `LoadError::Tensor` where the sizes differ or the scale is not finite.
    pub fn new(rows: usize, cols: usize, packed: Bytes, scale: f32) -> Result<Self, String> {
        Self::with_layout(TernaryLayout::I2S, rows, cols, packed, scale)
    }

    /// `packed` holds `layout.bytes(rows, cols)` bytes; each weight is its trit times `scale`.
    ///
    /// # Errors
    /// As [`Linear::new`].
    pub fn with_layout(
        layout: TernaryLayout,
        rows: usize,
        cols: usize,
        packed: Bytes,
        scale: f32,
    ) -> Result<Self, String> {
        if !scale.is_finite() {
            return Err(format!("its scale is {scale}"));
        }
        Ternary::with_layout(layout, rows, cols, &packed, scale)
            .map_err(|error| error.to_string())?;
        Ok(Linear {
            rows,
            cols,
            scale,
            stored: Packed {
                layout,
                bytes: packed,
            },
            repacked: Arc::default(),
        })
    }

    /// From now on show the same weights in layout T5, as [`pack_trits5`] made them. A view that was taken before stays good, and only
    /// the first call counts. False where `bytes` are too many or too few.
    #[cfg(feature = "native")]
    pub(crate) fn show_t5(&self, bytes: Bytes) -> bool {
        let layout = TernaryLayout::T5;
        bytes.len() == layout.bytes(self.rows, self.cols)
            && self.repacked.set(Packed { layout, bytes }).is_ok()
    }

    fn packed_now(&self) -> &Packed {
        self.repacked.get().unwrap_or(&self.stored)
    }

    /// The same matrix in another layout; a copy, unless it has that one already.
    ///
    /// # Errors
    /// A sentence where a weight has no place in it.
    pub fn to_layout(&self, layout: TernaryLayout) -> Result<Self, String> {
        if layout == self.layout() {
            return Ok(self.clone());
        }
        let packed = match layout {
            TernaryLayout::I2S => unpack_trits5(Isa::detect(), self.view()),
            TernaryLayout::T5 => pack_trits5(self.view())
                .ok_or("a weight has the code 3, which layout t5 cannot hold: keep i2_s")?,
        };
        Self::with_layout(layout, self.rows, self.cols, packed.into(), self.scale)
    }

    /// The matrix as the kernels take it.
    pub fn view(&self) -> Ternary<'_> {
        let Packed { layout, bytes } = self.packed_now();
        Ternary::with_layout(*layout, self.rows, self.cols, bytes, self.scale)
            .expect("checked by Linear::with_layout")
    }

    /// How it lies in memory.
    pub fn layout(&self) -> TernaryLayout {
        self.packed_now().layout
    }

    /// Output size.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input size.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The factor of every trit.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// The packed rows, in their layout: of a model in use that may be another one a moment later, so that a [`Linear::view`] is
    /// what to compute with.
    pub fn packed(&self) -> &Bytes {
        &self.packed_now().bytes
    }
}

/// A table `[rows, cols]` of numbers in one of the head's storage types.
#[derive(Clone, Debug)]
pub struct DenseWeights {
    ty: DenseType,
    rows: usize,
    cols: usize,
    bytes: Bytes,
}

impl DenseWeights {
    /// `bytes` holds `rows` rows of `ty`.
    ///
    /// # Errors
    /// A sentence for `LoadError::Tensor` where the sizes differ or `cols` is no multiple of the block.
    pub fn new(ty: DenseType, rows: usize, cols: usize, bytes: Bytes) -> Result<Self, String> {
        Dense::new(ty, rows, cols, &bytes).map_err(|error| error.to_string())?;
        Ok(DenseWeights {
            ty,
            rows,
            cols,
            bytes,
        })
    }

    /// The table as the kernels take it.
    pub fn view(&self) -> Dense<'_> {
        Dense::new(self.ty, self.rows, self.cols, &self.bytes)
            .expect("checked by DenseWeights::new")
    }

    /// How it is stored.
    pub fn ty(&self) -> DenseType {
        self.ty
    }

    /// Rows: tokens.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns: the width of the residual stream.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Its rows, as stored.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// One transformer block. Shapes are `[out, in]`.
#[derive(Clone, Debug)]
pub struct Layer {
    /// `[hidden_size]`, before the attention.
    pub attn_norm: Vec<f32>,
    /// `[n_heads * head_dim, hidden_size]`
    pub q: Linear,
    /// `[n_kv_heads * head_dim, hidden_size]`
    pub k: Linear,
    /// `[n_kv_heads * head_dim, hidden_size]`
    pub v: Linear,
    /// `[n_heads * head_dim]`, over all heads together, before `o`.
    pub attn_sub_norm: Option<Vec<f32>>,
    /// `[hidden_size, n_heads * head_dim]`
    pub o: Linear,
    /// `[hidden_size]`, before the feed-forward network.
    pub ffn_norm: Vec<f32>,
    /// `[ffn_size, hidden_size]`
    pub gate: Linear,
    /// `[ffn_size, hidden_size]`
    pub up: Linear,
    /// `[ffn_size]`, before `down`.
    pub ffn_sub_norm: Option<Vec<f32>>,
    /// `[hidden_size, ffn_size]`
    pub down: Linear,
}

impl Layer {
    /// Its ternary matrices, in the order they are used.
    pub fn linears(&self) -> [&Linear; 7] {
        [
            &self.q, &self.k, &self.v, &self.o, &self.gate, &self.up, &self.down,
        ]
    }

    /// The same, to be replaced.
    pub fn linears_mut(&mut self) -> [&mut Linear; 7] {
        [
            &mut self.q,
            &mut self.k,
            &mut self.v,
            &mut self.o,
            &mut self.gate,
            &mut self.up,
            &mut self.down,
        ]
    }
}

/// Everything that was trained.
#[derive(Clone, Debug)]
pub struct Weights {
    /// `[vocab_size, hidden_size]`
    pub embedding: DenseWeights,
    /// `[vocab_size, hidden_size]`; `None` where the embedding is the head (tied).
    pub head: Option<DenseWeights>,
    /// `[hidden_size]`, before the head.
    pub output_norm: Vec<f32>,
    /// The blocks, first to last.
    pub layers: Vec<Layer>,
}

impl Weights {
    /// The output head: its own table, or the embedding.
    pub fn head(&self) -> &DenseWeights {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// Whether any matrix has this layout.
    pub fn has_layout(&self, layout: TernaryLayout) -> bool {
        let mut linears = self.layers.iter().flat_map(Layer::linears);
        linears.any(|linear| linear.layout() == layout)
    }

    /// All matrices and tables, each once.
    #[cfg(feature = "native")]
    fn tensors(&self) -> impl Iterator<Item = &Bytes> {
        let untied = self.head.is_some().then(|| self.embedding.bytes());
        self.streamed().chain(untied)
    }

    /// What every step reads: the layers' matrices and the head, as they are stored. Of an embedding that is not the
    /// head a step reads a row, and norms are a thousandth.
    pub fn streamed(&self) -> impl Iterator<Item = &Bytes> {
        let linears = self.layers.iter().flat_map(Layer::linears);
        linears.map(Linear::packed).chain([self.head().bytes()])
    }
}

/// How to load a model.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The name requests select it by; the file's stem (or the directory's name) if absent.
    pub id: Option<String>,
    /// Read I2_S tensors in the 64-weight interleave that `llama-quantize` writes on ARM. The file
    /// carries no mark of it; published files have the 128-weight one.
    pub i2s_arm: bool,
}

/// A model that is ready to run.
#[derive(Clone, Debug)]
pub struct Model {
    /// The name requests select it by.
    pub id: String,
    /// Its shape.
    pub config: ModelConfig,
    /// What was trained.
    pub weights: Weights,
    /// Text to token ids and back.
    pub tokenizer: Tokenizer,
    /// Conversations to text.
    pub template: ChatTemplate,
    /// Sampling a request takes where it says nothing.
    pub defaults: SamplingDefaults,
    /// What its files say that could not be taken as it is, a sentence each: for the operator's log.
    pub warnings: Vec<String>,
}

impl Model {
    /// Load a GGUF file or a Hugging Face directory. `progress` gets (bytes done, bytes in all).
    ///
    /// # Errors
    /// `LoadError`, naming the file, key or tensor at fault and what to do.
    pub fn load(
        path: &Path,
        options: &LoadOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Model, LoadError> {
        files::open(path, options)?.load(progress)
    }

    /// Load a GGUF that is in memory; its weights stay where they are.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn from_gguf_bytes(name: &str, bytes: Bytes) -> Result<Model, LoadError> {
        files::open_gguf_bytes(name, bytes, &LoadOptions::default())?.load(&mut |_, _| ())
    }

    /// Repack every matrix in memory, to measure a layout without a file in it.
    ///
    /// # Errors
    /// `LoadError::Tensor` where a weight has no place in the layout.
    pub fn to_layout(&mut self, layout: TernaryLayout) -> Result<(), LoadError> {
        for (index, layer) in self.weights.layers.iter_mut().enumerate() {
            for linear in layer.linears_mut() {
                *linear = linear.to_layout(layout).map_err(|reason| {
                    files::tensor_error(&format!("a matrix of layer {index}"), reason)
                })?;
            }
        }
        Ok(())
    }

    /// Pack the two-bit matrices that lie in memory of the process's own as T5, each in place of the other. Nothing where that
    /// is not wanted ([`Optimisations::wants_t5`]). Those of a mapped file wait for [`Model::settle`].
    #[cfg(feature = "native")]
    pub fn pack_owned(&mut self, optimisations: Optimisations, isa: Isa, threads: usize) {
        if !optimisations.wants_t5(isa, threads) {
            return;
        }
        let linears = self.weights.layers.iter_mut().flat_map(Layer::linears_mut);
        for linear in linears.filter(|linear| linear.packed().is_owned()) {
            // One with a code that T5 has not stays as it is.
            if let Ok(t5) = linear.to_layout(TernaryLayout::T5) {
                *linear = t5;
            }
        }
    }

    /// Put the weights where they are read fastest, while the model may be in use: see [`files::settle`].
    #[cfg(feature = "native")]
    pub fn settle(
        &self,
        optimisations: Optimisations,
        isa: Isa,
        threads: usize,
        budget: u64,
    ) -> files::Settled {
        let how = files::Settling::of(optimisations, isa, threads, budget);
        files::settle(&self.weights, how)
    }

    /// The files that weights are read from, where they lie mapped: fewer once `settle` has copied.
    #[cfg(feature = "native")]
    pub fn mapped_files(&self) -> Vec<Arc<files::MappedFile>> {
        let mut files: Vec<Arc<files::MappedFile>> = Vec::new();
        for file in self.weights.tensors().filter_map(Bytes::read_from) {
            if !files.iter().any(|known| Arc::ptr_eq(known, file)) {
                files.push(file.clone());
            }
        }
        files
    }

    /// Bytes of weights that are read from mapped files.
    #[cfg(feature = "native")]
    pub fn mapped_bytes(&self) -> u64 {
        let mapped = self
            .weights
            .tensors()
            .filter(|bytes| bytes.read_from().is_some());
        mapped.map(|bytes| bytes.len() as u64).sum()
    }

    /// Bytes that copies of `down` by columns take when all layers have one (optimisation `down-copy`); 0 where none is ever
    /// made on this instruction set.
    pub fn down_copy_bytes(&self, isa: Isa, optimisations: Optimisations) -> u64 {
        let wanted = optimisations.skip_zeros
            && optimisations.down_copy
            && self.config.activation == Activation::Relu2
            && isa.listing_limits().columns > 0.0;
        let lines = |layer: &Layer| TernaryColumns::n_lines(layer.down.rows(), layer.down.cols());
        let lines: usize = self.weights.layers.iter().map(lines).sum();
        if wanted {
            (lines * size_of::<Line>()) as u64
        } else {
            0
        }
    }

    /// Number of weights, embeddings and norms included; a tied head counts once.
    pub fn parameters(&self) -> u64 {
        let c = &self.config;
        let [vocab, hidden, ffn, q, kv, layers] = [
            c.vocab_size,
            c.hidden_size,
            c.ffn_size,
            c.q_size(),
            c.kv_size(),
            c.n_layers,
        ]
        .map(|n| n as u64);
        let tables = if self.weights.head.is_some() { 2 } else { 1 };
        let sub_norms = if c.sub_norms { q + ffn } else { 0 };
        let layer = 2 * hidden * q + 2 * hidden * kv + 3 * hidden * ffn + 2 * hidden + sub_norms;
        tables * vocab * hidden + layers * layer + hidden
    }

    /// Token ids of `text`, in which special tokens are read as such; with `add_special` as a text
    /// prompt gets them, beginning-of-sequence token included ([`Tokenizer::surround`]).
    ///
    /// # Errors
    /// `EngineError` where the tokenizer fails.
    pub fn tokenize(&self, text: &str, add_special: bool) -> Result<Vec<u32>, EngineError> {
        let ids = self.tokenize_at_most(text, add_special, usize::MAX)?;
        Ok(ids.unwrap_or_default())
    }

    /// As [`Self::tokenize`], for a text that may have `most` tokens (see [`Tokenizer::encode_at_most`]).
    ///
    /// # Errors
    /// As [`Self::tokenize`].
    pub fn tokenize_at_most(
        &self,
        text: &str,
        add_special: bool,
        most: usize,
    ) -> Result<Result<Vec<u32>, TooMany>, EngineError> {
        let ids = match self.tokenizer.encode_at_most(text, true, most)? {
            Ok(ids) if add_special => self.tokenizer.surround(ids),
            Ok(ids) => ids,
            Err(excess) => return Ok(Err(excess)),
        };
        Ok(if ids.len() > most {
            Err(TooMany(ids.len()))
        } else {
            Ok(ids)
        })
    }

    /// The text of token ids; bytes that are no UTF-8 become U+FFFD.
    pub fn detokenize(&self, tokens: &[u32]) -> String {
        self.tokenizer.decode(tokens)
    }

    /// A conversation as token ids, ready for an answer. What users wrote holds no special tokens.
    ///
    /// # Errors
    /// `EngineError::InvalidRequest` where the template refuses it.
    pub fn encode_messages(&self, messages: &[Message]) -> Result<Vec<u32>, EngineError> {
        self.template.encode(&self.tokenizer, messages)
    }

    /// A conversation as the chat template renders it, ready for an answer.
    ///
    /// # Errors
    /// As [`Model::encode_messages`].
    pub fn apply_template(&self, messages: &[Message]) -> Result<String, EngineError> {
        self.template.render(messages)
    }
}
