//! Perplexity of a model on a text: how many tokens it would on average have to choose among.
//!
//! Two ways to cut a text that is longer than the context are in use, and their figures differ, so
//! that a figure means nothing without its way. Sums are f64, with the same bits everywhere.

use std::ops::Range;
use std::sync::Arc;

use sterna_kernels::{Isa, KvType};

use crate::error::EngineError;
use crate::forward::{BatchToken, Forward};
use crate::kv::{KvCache, KvShape};
use crate::model::Model;
use crate::optimisations::Optimisations;
use crate::team::Team;

/// How a text is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Windows of the context, each so many tokens after the one before; of each, the tokens that
    /// no earlier one had are scored: transformers' documentation ("Perplexity of fixed-length
    /// models").
    Windows {
        /// Tokens from a window's beginning to the next one's: 1 to the context.
        stride: usize,
    },
    /// Windows of the context side by side, of each the second half scored, the rest of the text
    /// left out: llama.cpp's `llama-perplexity`. Each begins with the beginning-of-sequence token,
    /// in place of its first one, if the model has one before a text.
    Halves,
}

/// The options of a measurement.
#[derive(Clone, Copy, Debug)]
pub struct PerplexityOptions {
    /// Tokens of a window: 2 to the model's context.
    pub context: usize,
    /// How the text is cut.
    pub cut: Cut,
    /// The type that keys and values are cached in.
    pub kv_type: KvType,
    /// The instruction set.
    pub isa: Isa,
    /// Threads.
    pub threads: usize,
}

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Perplexity {
    /// Tokens of the text.
    pub tokens: usize,
    /// Windows.
    pub windows: usize,
    /// Tokens that were scored.
    pub scored: usize,
    /// Mean of their negative log likelihoods, in nats.
    pub mean_nll: f64,
    /// Standard error of that mean, were the tokens independent of each other.
    pub standard_error: f64,
}

impl Perplexity {
    /// `exp(mean_nll)`
    #[must_use]
    pub fn perplexity(&self) -> f64 {
        libm::exp(self.mean_nll)
    }
}

/// A window: its tokens, and those of them that are scored, as indices of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Window {
    tokens: Range<usize>,
    scored: Range<usize>,
}

/// The windows of a text of `n` tokens.
fn windows(n: usize, context: usize, cut: Cut) -> Vec<Window> {
    let mut windows = Vec::new();
    match cut {
        Cut::Windows { stride } => {
            let (mut begin, mut scored_to) = (0, 0);
            while scored_to < n {
                let end = n.min(begin + context);
                // A window's first token follows nothing.
                let scored = scored_to.max(begin + 1)..end;
                windows.push(Window {
                    tokens: begin..end,
                    scored,
                });
                scored_to = end;
                begin += stride;
            }
        }
        Cut::Halves => {
            for begin in (0..n / context).map(|index| index * context) {
                let end = begin + context;
                windows.push(Window {
                    tokens: begin..end,
                    scored: begin + context / 2 + 1..end,
                });
            }
        }
    }
    windows.retain(|window| !window.scored.is_empty());
    windows
}

/// Measure `model` on the tokens of a text, as [`Model::tokenize`] gives them. `progress` gets
/// (tokens scored, tokens to score).
///
/// # Errors
/// `InvalidRequest` where the context or stride is out of range, the text is too short, or a token
/// is none of the vocabulary; `Unavailable` where threads or memory cannot be had; `Internal` where
/// the model computes nonsense.
pub fn perplexity(
    model: &Arc<Model>,
    text: &[u32],
    options: &PerplexityOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Perplexity, EngineError> {
    check(model, text, options)?;
    let windows = windows(text.len(), options.context, options.cut);
    let total: usize = windows.iter().map(|window| window.scored.len()).sum();
    if total == 0 {
        return Err(invalid(
            "text",
            format!(
                "has {} tokens, too few to score any with a context of {}",
                text.len(),
                options.context
            ),
        ));
    }
    let team = Team::new(options.threads)?;
    let chunk = options.isa.prefill_chunk();
    let mut scorer = Scorer {
        forward: Forward::with(
            model.clone(),
            options.isa,
            team.clone(),
            chunk,
            Optimisations::ALL,
        ),
        kv: KvCache::new(KvShape::of(&model.config, options.kv_type), 1),
        team,
        chunk,
        vocab_size: model.config.vocab_size,
    };
    let begin = match options.cut {
        Cut::Halves => model.tokenizer.prefix().first().copied(),
        Cut::Windows { .. } => None,
    };
    let mut losses = Vec::with_capacity(total);
    for window in &windows {
        let mut tokens = text[window.tokens.clone()].to_vec();
        if let (Some(begin), Some(first)) = (begin, tokens.first_mut()) {
            *first = begin;
        }
        let offset = window.tokens.start;
        let scored = window.scored.start - offset..window.scored.end - offset;
        scorer.window(&tokens, &scored, &mut |loss| {
            losses.push(loss);
            progress(losses.len(), total);
        })?;
    }
    #[allow(clippy::cast_precision_loss, reason = "a count of tokens")]
    let n = losses.len() as f64;
    let mean_nll = losses.iter().sum::<f64>() / n;
    let squares: f64 = losses
        .iter()
        .map(|loss| (loss - mean_nll) * (loss - mean_nll))
        .sum();
    if !mean_nll.is_finite() {
        return Err(EngineError::Internal(
            "a token's likelihood is not a number".into(),
        ));
    }
    Ok(Perplexity {
        tokens: text.len(),
        windows: windows.len(),
        scored: losses.len(),
        mean_nll,
        standard_error: (squares / (n - 1.0).max(1.0) / n).sqrt(),
    })
}

fn check(model: &Model, text: &[u32], options: &PerplexityOptions) -> Result<(), EngineError> {
    let most = model.config.context_length;
    if !(2..=most).contains(&options.context) {
        let context = options.context;
        return Err(invalid(
            "context",
            format!("is {context}, must be 2 to {most}"),
        ));
    }
    if let Cut::Windows { stride } = options.cut
        && !(1..=options.context).contains(&stride)
    {
        let context = options.context;
        return Err(invalid(
            "stride",
            format!("is {stride}, must be 1 to the context, {context}"),
        ));
    }
    let size = model.config.vocab_size;
    match text.iter().find(|token| **token as usize >= size) {
        None => Ok(()),
        Some(token) => Err(invalid(
            "text",
            format!("has token {token}, and the model's vocabulary has {size}"),
        )),
    }
}

fn invalid(field: &str, message: String) -> EngineError {
    EngineError::InvalidRequest {
        field: field.into(),
        message,
    }
}

/// A model with one sequence.
struct Scorer {
    forward: Forward,
    kv: KvCache,
    team: Team,
    chunk: usize,
    vocab_size: usize,
}

impl Scorer {
    /// The negative log likelihood of each token at `scored`, in order.
    fn window(
        &mut self,
        tokens: &[u32],
        scored: &Range<usize>,
        take: &mut dyn FnMut(f64),
    ) -> Result<(), EngineError> {
        self.kv.free(0);
        // The last token is only predicted.
        let inputs = &tokens[..tokens.len() - 1];
        for (index, piece) in inputs.chunks(self.chunk).enumerate() {
            let start = index * self.chunk;
            let batch: Vec<BatchToken> = (piece.iter().zip(start..))
                .map(|(&token, position)| BatchToken {
                    sequence: 0,
                    position,
                    token,
                    wants_logits: scored.contains(&(position + 1)),
                })
                .collect();
            let wanted = batch.iter().filter(|token| token.wants_logits);
            let targets: Vec<u32> = wanted.map(|token| tokens[token.position + 1]).collect();
            if targets.is_empty() {
                self.forward.run_layers(&batch, &mut self.kv)?;
                continue;
            }
            let logits = self.forward.forward(&batch, &mut self.kv)?;
            let mut losses = vec![0.0; targets.len()];
            let rows = logits.chunks_exact(self.vocab_size).zip(&targets);
            let tasks: Vec<_> = rows.zip(&mut losses).collect();
            let work = targets.len() * self.vocab_size;
            self.team.run(|| {
                self.team.for_each(tasks, work, |((logits, target), loss)| {
                    *loss = negative_log_likelihood(logits, *target);
                });
            });
            losses.into_iter().for_each(&mut *take);
        }
        Ok(())
    }
}

/// `-ln softmax(logits)[target]`
fn negative_log_likelihood(logits: &[f32], target: u32) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| libm::exp(f64::from(x - max))).sum();
    libm::log(sum) - f64::from(logits[target as usize] - max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(n: usize, context: usize, cut: Cut) -> Vec<usize> {
        let windows = windows(n, context, cut);
        assert!(windows.iter().all(|window| window.tokens.len() <= context));
        windows
            .into_iter()
            .flat_map(|window| window.scored)
            .collect()
    }

    #[test]
    fn windows_that_overlap_score_each_token_but_the_first_once() {
        let all: Vec<usize> = (1..23).collect();
        for stride in 1..8 {
            assert_eq!(scored(23, 8, Cut::Windows { stride }), all, "{stride}");
        }
        // Side by side each window loses its first.
        let cut = Cut::Windows { stride: 8 };
        assert_eq!(scored(23, 8, cut).len(), 20);
        assert_eq!(
            scored(17, 8, cut).len(),
            14,
            "one token alone follows nothing"
        );
        assert!(scored(1, 8, cut).is_empty());
    }

    #[test]
    fn halves_are_the_second_ones_of_whole_windows() {
        assert_eq!(scored(23, 8, Cut::Halves), [5, 6, 7, 13, 14, 15]);
        assert!(scored(7, 8, Cut::Halves).is_empty());
    }

    #[test]
    fn a_uniform_choice_of_n_costs_ln_n() {
        let nll = negative_log_likelihood(&[3.0; 10], 4);
        assert!((nll - 10f64.ln()).abs() < 1e-12, "{nll}");
        let sure = negative_log_likelihood(&[200.0, -200.0], 0);
        assert_eq!(sure, 0.0);
        assert_eq!(negative_log_likelihood(&[200.0, -200.0], 1), 400.0);
    }
}
