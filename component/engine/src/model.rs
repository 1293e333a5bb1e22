//! A loaded model: weights, tokenizer, chat template, defaults.

use std::path::Path;
#[cfg(feature = "native")]
use std::sync::Arc;

use sterna_kernels::{Isa, Line, TernaryColumns, TernaryLayout};

use crate::config::{Activation, ModelConfig, SamplingDefaults};
use crate::constraint::{self, Constraints, Guard, Reasoning};
use crate::error::{EngineError, LoadError};
use crate::files::{self, LoadOptions, OpenModel};
use crate::matrix::Matrix;
use crate::optimisations::Optimisations;
use crate::placement::Bytes;
#[cfg(feature = "native")]
use crate::placement::{self, MappedFile, Settled, Settling};
use crate::request::{Constraint, Conversation};
use crate::team::Team;
use crate::template::ChatTemplate;
use crate::tokenizer::{Tokenizer, TooMany};
use crate::weights::{Layer, Weights};

/// A model that is ready to run.
#[derive(Clone, Debug)]
pub struct Model {
    /// The name requests select it by.
    pub id: String,
    /// Its shape.
    pub config: ModelConfig,
    /// The trained weights.
    pub weights: Weights,
    /// Text to token ids and back.
    pub tokenizer: Tokenizer,
    /// Conversations to text.
    pub template: ChatTemplate,
    /// Sampling a request takes where it says nothing.
    pub defaults: SamplingDefaults,
    /// Tells models apart (`wit/engine.wit`); empty where it was made from no files.
    pub fingerprint: String,
    /// The grammars that requests have asked for.
    pub constraints: Constraints,
    /// The statements of its files that could not be taken as they are, a sentence each: for the
    /// operator's log.
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
        Self::read(files::open(path, options)?, progress)
    }

    /// Load a GGUF that is in memory; its weights stay where they are.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn from_gguf_bytes(name: &str, bytes: Bytes) -> Result<Model, LoadError> {
        let open = files::open_gguf_bytes(name, bytes, &LoadOptions::default())?;
        Self::read(open, &mut |_, _| ())
    }

    /// Read the weights of an open model.
    fn read(open: OpenModel, progress: &mut dyn FnMut(u64, u64)) -> Result<Model, LoadError> {
        let weights = files::load_weights(open.source.as_ref(), &open.config, open.tied, progress)?;
        let fingerprint = files::fingerprint(&open);
        Ok(Model {
            id: open.id,
            config: open.config,
            weights,
            tokenizer: open.tokenizer,
            template: open.template,
            defaults: open.defaults,
            fingerprint,
            warnings: open.warnings,
            constraints: Constraints::default(),
        })
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

    /// Pack the two-bit matrices that lie in memory of the process's own tighter, each in place of
    /// the other: those with one scale as trits5, those with a scale for each group, tables too, as
    /// trits8. Nothing where that is not wanted ([`Optimisations::wants_trits5`] and
    /// [`Optimisations::wants_trits8`]). Those of a mapped file wait for [`Model::settle`].
    #[cfg(feature = "native")]
    pub fn pack_owned(&mut self, optimisations: Optimisations, isa: Isa, threads: usize) {
        if optimisations.wants_trits5(isa, threads) {
            let linears = self.weights.layers.iter_mut().flat_map(Layer::linears_mut);
            for linear in linears.filter(|linear| linear.packed().is_owned()) {
                // One with a code that trits5 has not stays as it is.
                if let Ok(trits5) = linear.to_layout(TernaryLayout::Trits5) {
                    *linear = trits5;
                }
            }
        }
        if optimisations.wants_trits8(isa, threads) {
            self.pack_groups(optimisations.huge_pages, threads);
        }
    }

    /// Pack the ternary matrices and tables with a scale for each group that lie in memory of the
    /// process's own as trits8, into 2 MiB pages if these are wanted, on `threads` threads. One
    /// with a code that trits8 has not stays as it is; all do where the system refuses a thread.
    pub fn pack_groups(&mut self, huge_pages: bool, threads: usize) {
        let Ok(team) = Team::new(threads) else {
            return;
        };
        for grouped in self.weights.grouped_mut() {
            if grouped.bytes().is_owned()
                && let Some(trits8) = grouped.to_trits8(huge_pages, &team)
            {
                *grouped = trits8;
            }
        }
    }

    /// Put the weights where they are read fastest, while the model may be in use: see
    /// [`placement::settle`].
    #[cfg(feature = "native")]
    pub fn settle(
        &self,
        optimisations: Optimisations,
        isa: Isa,
        threads: usize,
        budget: u64,
    ) -> Settled {
        let how = Settling::of(optimisations, isa, threads, budget);
        placement::settle(&self.weights, how)
    }

    /// The files that weights are read from, where they lie mapped: fewer once `settle` has copied.
    #[cfg(feature = "native")]
    pub fn mapped_files(&self) -> Vec<Arc<MappedFile>> {
        let mut files: Vec<Arc<MappedFile>> = Vec::new();
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

    /// Bytes that copies of `down` by columns take when all layers have one (optimisation
    /// `down-copy`); 0 where none is ever made on this instruction set.
    pub fn down_copy_bytes(&self, isa: Isa, optimisations: Optimisations) -> u64 {
        let wanted = optimisations.skip_zeros
            && optimisations.down_copy
            && self.config.activation == Activation::Relu2
            && isa.listing_limits().columns > 0.0;
        let lines = |layer: &Layer| match &layer.down {
            Matrix::Ternary(down) => TernaryColumns::n_lines(down.rows(), down.cols()),
            Matrix::Grouped(_) => 0,
        };
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
        let qk_norms = if c.qk_norms { 2 * c.head_dim as u64 } else { 0 };
        let linears = 2 * hidden * q + 2 * hidden * kv + 3 * hidden * ffn;
        let layer = linears + 2 * hidden + sub_norms + qk_norms;
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

    /// As [`Self::tokenize`], for a text that may have `most` tokens (see
    /// [`Tokenizer::encode_at_most`]).
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
    pub fn encode_messages(&self, conversation: &Conversation) -> Result<Vec<u32>, EngineError> {
        self.template.encode(&self.tokenizer, conversation)
    }

    /// True if a prompt ends with the tag that begins the model's reasoning, whitespace aside: some
    /// templates write it for the model.
    #[must_use]
    pub fn reasons_after(&self, prompt: &[u32]) -> bool {
        // A tag that is no token of its own has one for each byte at most.
        const LAST: usize = 16;
        let Some(tags) = self.template.reasoning_tags() else {
            return false;
        };
        let last = &prompt[prompt.len().saturating_sub(LAST)..];
        self.detokenize(last).trim_end().ends_with(&tags.begin)
    }

    /// A request's constraint, compiled for an answer to `prompt`.
    ///
    /// # Errors
    /// As [`constraint::compile`].
    pub fn constrain(&self, constraint: &Constraint, prompt: &[u32]) -> Result<Guard, EngineError> {
        // Tokens of the prompt's end in which a tag is looked for.
        const LAST: usize = 24;
        let last = &prompt[prompt.len().saturating_sub(LAST)..];
        let reasoning = self.template.reasoning_tags().map(|tags| Reasoning {
            has_begun: self.reasons_after(prompt),
            is_over: self.detokenize(last).trim_end().ends_with(&tags.end),
            tags,
        });
        constraint::compile(&self.constraints, &self.tokenizer, constraint, reasoning)
    }

    /// A conversation as the chat template renders it, ready for an answer.
    ///
    /// # Errors
    /// As [`Model::encode_messages`].
    pub fn apply_template(&self, conversation: &Conversation) -> Result<String, EngineError> {
        self.template.render(conversation)
    }
}
