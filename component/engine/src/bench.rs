//! How fast a model runs here: one measurement for native and wasm, so that their figures can be compared.

use std::sync::Arc;
use std::time::Instant;

use sterna_kernels::Isa;

use crate::error::EngineError;
use crate::forward::{BatchToken, Forward};
use crate::kv::{KvCache, KvShape};
use crate::model::Model;
use crate::sampler::{Params, Sampler};
use crate::team::Team;

/// What to measure.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// Prompt tokens, at least 1 (`pp`).
    pub prompt: usize,
    /// Tokens to generate (`tg`); 0 leaves that measurement out.
    pub generate: usize,
    /// Sequences that generate at the same time, at least 1.
    pub batch: usize,
    /// Prompt tokens a pass, at least 1.
    pub prefill_chunk: usize,
    /// Measured repetitions, at least 1; one more goes before them to warm up.
    pub reps: usize,
    /// Threads.
    pub threads: usize,
    /// The instruction set.
    pub isa: Isa,
}

impl BenchOptions {
    /// pp128 and tg32 of one sequence, three times, on one thread.
    #[must_use]
    pub fn new(isa: Isa) -> Self {
        BenchOptions {
            prompt: 128,
            generate: 32,
            batch: 1,
            prefill_chunk: 64,
            reps: 3,
            threads: 1,
            isa,
        }
    }
}

/// Tokens a second over the repetitions.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
#[allow(missing_docs, reason = "they are what they say")]
pub struct Rate {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

/// What was measured.
#[derive(Clone, Debug, serde::Serialize)]
pub struct BenchReport {
    /// The model's id.
    pub model: String,
    /// Weights, embeddings included.
    pub parameters: u64,
    /// How the output head is stored.
    pub head: String,
    /// The instruction set.
    pub isa: String,
    /// Threads that computed.
    pub threads: usize,
    /// Prompt tokens.
    pub prompt: usize,
    /// Generated tokens.
    pub generate: usize,
    /// Sequences that generated at the same time.
    pub batch: usize,
    /// Repetitions.
    pub reps: usize,
    /// Prompt tokens a second.
    pub prefill_tokens_per_s: Rate,
    /// Generated tokens a second, all sequences together.
    pub decode_tokens_per_s: Option<Rate>,
    /// Bytes of weights read to generate one token of one sequence.
    pub bytes_per_token: u64,
    /// What decoding read a second, in 1e9 bytes, at the median.
    pub decode_gb_per_s: Option<f64>,
}

/// Measure prefill and decode. Greedy sampling is part of the decode time.
///
/// # Errors
/// `Unavailable` where threads cannot be started, `Internal` where the model computes nonsense.
pub fn run(model: &Arc<Model>, options: &BenchOptions) -> Result<BenchReport, EngineError> {
    let team = Team::new(options.threads)?;
    let threads = team.threads();
    let max_tokens = options.prefill_chunk.max(options.batch);
    let mut forward = Forward::new(model.clone(), options.isa, team, max_tokens);
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    for rep in 0..=options.reps {
        let mut kv = KvCache::new(KvShape::of(&model.config), options.batch);
        let (prefill_s, decode_s) = repetition(model, &mut forward, &mut kv, options)?;
        if rep > 0 {
            prefill.push(rate(options.prompt, prefill_s));
            decode.push(rate(options.generate * options.batch, decode_s));
        }
    }
    let bytes_per_token = bytes_per_token(model);
    let decode = (options.generate > 0).then(|| spread(decode));
    let steps_per_s = decode.map(|rate| rate.median / options.batch as f64);
    let decode_gb_per_s = steps_per_s.map(|steps| steps * bytes_per_token as f64 / 1e9);
    Ok(BenchReport {
        model: model.id.clone(),
        parameters: model.parameters(),
        head: model.weights.head().ty().name().to_string(),
        isa: options.isa.name().to_string(),
        threads,
        prompt: options.prompt,
        generate: options.generate,
        batch: options.batch,
        reps: options.reps,
        prefill_tokens_per_s: spread(prefill),
        decode_tokens_per_s: decode,
        bytes_per_token,
        decode_gb_per_s,
    })
}

/// Seconds of one prompt's prefill and of the tokens after it. Each further sequence of a batch gets the
/// same prompt, outside the measured time.
fn repetition(
    model: &Model,
    forward: &mut Forward,
    kv: &mut KvCache,
    options: &BenchOptions,
) -> Result<(f64, f64), EngineError> {
    let vocab_size = model.config.vocab_size;
    let mut prefill_s = 0.0;
    let mut last = vec![0; options.batch];
    for (slot, last) in last.iter_mut().enumerate() {
        // Ids spread over the vocabulary.
        let token = |position: usize| ((position + slot) * 7919 + 13) % vocab_size;
        let prompt: Vec<BatchToken> = (0..options.prompt)
            .map(|position| BatchToken {
                slot,
                position,
                token: u32::try_from(token(position)).unwrap_or(0),
                wants_logits: position + 1 == options.prompt,
            })
            .collect();
        let start = Instant::now();
        for chunk in prompt.chunks(options.prefill_chunk) {
            let logits = forward.forward(chunk, kv)?;
            if !logits.is_empty() {
                *last = choose(options.isa, logits)?;
            }
        }
        if slot == 0 {
            prefill_s = start.elapsed().as_secs_f64();
        }
    }
    let start = Instant::now();
    for position in (options.prompt..).take(options.generate) {
        let step: Vec<BatchToken> = (last.iter().enumerate())
            .map(|(slot, &token)| BatchToken {
                slot,
                position,
                token,
                wants_logits: true,
            })
            .collect();
        let logits = forward.forward(&step, kv)?;
        for (last, logits) in last.iter_mut().zip(logits.chunks_exact_mut(vocab_size)) {
            *last = choose(options.isa, logits)?;
        }
    }
    Ok((prefill_s, start.elapsed().as_secs_f64()))
}

/// The most likely token.
fn choose(isa: Isa, logits: &mut [f32]) -> Result<u32, EngineError> {
    let mut sampler = Sampler::new(Params::GREEDY, &[]);
    sampler
        .sample(isa, logits)
        .map_err(|error| EngineError::Internal(error.to_string()))
}

/// Packed weights of all layers and the head; the norms are below a thousandth, an embedding is one row.
fn bytes_per_token(model: &Model) -> u64 {
    let linears = model.weights.layers.iter().flat_map(|layer| {
        [
            &layer.q,
            &layer.k,
            &layer.v,
            &layer.o,
            &layer.gate,
            &layer.up,
            &layer.down,
        ]
        .map(|linear| linear.packed().len())
    });
    (linears.sum::<usize>() + model.weights.head().bytes().len()) as u64
}

fn rate(tokens: usize, seconds: f64) -> f64 {
    tokens as f64 / seconds.max(1e-9)
}

/// Median, least and most of at least one rate.
fn spread(mut rates: Vec<f64>) -> Rate {
    rates.sort_unstable_by(f64::total_cmp);
    let (middle, last) = (rates.len() / 2, rates.len().saturating_sub(1));
    let at = |index: usize| rates.get(index).copied().unwrap_or(0.0);
    let median = if rates.len().is_multiple_of(2) {
        f64::midpoint(at(middle.saturating_sub(1)), at(middle))
    } else {
        at(middle)
    };
    Rate {
        median,
        min: at(0),
        max: at(last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_median_and_extremes() {
        assert_eq!(
            spread(vec![3.0, 1.0, 2.0]),
            Rate {
                median: 2.0,
                min: 1.0,
                max: 3.0
            }
        );
        assert_eq!(
            spread(vec![4.0, 1.0, 2.0, 3.0]),
            Rate {
                median: 2.5,
                min: 1.0,
                max: 4.0
            }
        );
        assert_eq!(
            spread(vec![5.0]),
            Rate {
                median: 5.0,
                min: 5.0,
                max: 5.0
            }
        );
    }
}
