//! The speed of a model on this machine: one measurement for native and wasm, so that their figures
//! can be compared.
//!
//! Natively the machine's limits are measured between the repetitions, so that a share is of what
//! the machine gave at that time; `limits` has those loops, `report` what is printed.

#[cfg(feature = "native")]
mod limits;
mod report;
mod speculation;

use std::sync::Arc;
use std::time::Instant;

use sterna_kernels::{GroupCodes, Isa, KvType, TernaryLayout};

use crate::config::ModelConfig;
use crate::error::EngineError;
use crate::forward::{BatchToken, Forward};
use crate::group_scaled::codes_name;
use crate::kv::{KvCache, KvShape};
use crate::model::Model;
use crate::optimisations::Optimisations;
use crate::sampler::{Params, Sampler};
use crate::team::Team;
use crate::weights::Layer;
pub use report::{BenchReport, Decode, Drafting, Machine, Prefill, Spread};

/// The subject of a measurement.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// Prompt tokens, at least 1 (`pp`).
    pub prompt: usize,
    /// Positions that are cached before the prompt, with made-up keys and values: what a long
    /// context costs, without the time it takes to compute one.
    pub depth: usize,
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
    /// The optimisations that are on.
    pub optimisations: Optimisations,
    /// The type that keys and values are cached in.
    pub kv_type: KvType,
    /// True if completions with and without drafts are compared too.
    pub speculation: bool,
}

impl BenchOptions {
    /// pp128 and tg32 of one sequence, three times, on one thread.
    #[must_use]
    pub fn new(isa: Isa) -> Self {
        BenchOptions {
            prompt: 128,
            depth: 0,
            generate: 32,
            batch: 1,
            prefill_chunk: isa.prefill_chunk(),
            reps: 3,
            threads: 1,
            isa,
            optimisations: Optimisations::ALL,
            kv_type: KvType::default(),
            speculation: false,
        }
    }
}

/// Tokens a second of each repetition.
#[derive(Default)]
struct Rates {
    prefill: Vec<f64>,
    decode: Vec<f64>,
    /// One sequence's, where several are measured.
    one_sequence: Vec<f64>,
    /// Bytes that steps of the batch left out, and how many steps there were.
    skipped_bytes: u64,
    steps: u64,
}

/// Measure prefill, decode and, natively, the machine. Greedy sampling is part of the decode time.
///
/// # Errors
/// `InvalidRequest` where prompt and completion do not fit the model's context, `Unavailable` where
/// threads or memory cannot be had, `Internal` where the model computes nonsense.
pub fn run(model: &Arc<Model>, options: &BenchOptions) -> Result<BenchReport, EngineError> {
    check(model, options)?;
    let huge_pages = pages(model, options);
    let team = Team::new(options.threads)?;
    let threads = team.threads();
    #[cfg(feature = "native")]
    let mut limits = limits::Limits::new(options.isa, team.clone(), limits::BUFFER_BYTES)?;
    let max_tokens = options.prefill_chunk.max(options.batch);
    let mut forward = Forward::with(
        model.clone(),
        options.isa,
        team,
        max_tokens,
        options.optimisations,
    );
    // One for all repetitions: a server's blocks are used again too.
    let mut kv = KvCache::new(KvShape::of(&model.config, options.kv_type), options.batch);
    (0..options.batch)
        .try_for_each(|sequence| fill(model, options.isa, &mut kv, sequence, options.depth))?;
    let mut rates = Rates::default();
    for rep in 0..=options.reps {
        // Before, between and after them: one more round than repetitions.
        #[cfg(feature = "native")]
        limits.round();
        repetition(
            model,
            &mut forward,
            &mut kv,
            options,
            (rep > 0).then_some(&mut rates),
        )?;
    }
    let speculation = if options.speculation {
        speculation::measure(model, options)?
    } else {
        Vec::new()
    };
    let mut report = BenchReport {
        model: model.id.clone(),
        parameters: model.parameters(),
        head: model.weights.head().type_name().to_string(),
        isa: options.isa.name().to_string(),
        threads,
        prompt: options.prompt,
        depth: options.depth,
        generate: options.generate,
        batch: options.batch,
        reps: options.reps,
        without: options.optimisations.off(),
        huge_pages,
        layout: layout(model),
        decode: (options.generate > 0).then(|| decode(model, options, &rates)),
        prefill: prefill(model, rates.prefill),
        speculation,
        machine: None,
    };
    #[cfg(feature = "native")]
    report.set_limits(limits.finish());
    // Where there are no limits it is final as it is.
    let _ = &mut report;
    Ok(report)
}

/// The machine's limits alone: for a benchmark of something else in the same process.
///
/// # Errors
/// `Unavailable` where threads or memory cannot be had.
#[cfg(feature = "native")]
pub fn machine(isa: Isa, threads: usize, rounds: usize) -> Result<Machine, EngineError> {
    let mut limits = limits::Limits::new(isa, Team::new(threads)?, limits::BUFFER_BYTES)?;
    (0..rounds.max(1)).for_each(|_| limits.round());
    Ok(limits.finish())
}

/// 1e9 bytes a second that so many threads read of memory in 2 MiB pages, or in small ones where
/// the system gives no others.
///
/// # Errors
/// `Unavailable` where threads or memory cannot be had.
#[cfg(feature = "native")]
pub fn read_bandwidth(
    isa: Isa,
    threads: usize,
    buffer_bytes: usize,
    rounds: usize,
) -> Result<Spread, EngineError> {
    limits::read_bandwidth(isa, &Team::new(threads)?, buffer_bytes, rounds)
}

fn check(model: &Model, options: &BenchOptions) -> Result<(), EngineError> {
    let context = model.config.context_length;
    let needed = options
        .depth
        .saturating_add(options.prompt)
        .saturating_add(options.generate);
    if needed <= context {
        return Ok(());
    }
    Err(EngineError::InvalidRequest {
        field: "depth, prompt, generate".into(),
        message: format!("need {needed} positions together, the model has {context}"),
    })
}

/// Put the weights where they are wanted. Returns their bytes in 2 MiB pages and in all.
#[cfg(feature = "native")]
fn pages(model: &Model, options: &BenchOptions) -> Option<[u64; 2]> {
    let settled = model.settle(
        options.optimisations,
        options.isa,
        options.threads,
        u64::MAX,
    );
    Some([settled.huge_bytes, settled.bytes])
}

#[cfg(not(feature = "native"))]
fn pages(_model: &Model, _options: &BenchOptions) -> Option<[u64; 2]> {
    None
}

/// Cache `depth` positions of `sequence`: keys and values of the size that normed states give, no
/// two rows alike.
fn fill(
    model: &Model,
    isa: Isa,
    kv: &mut KvCache,
    sequence: usize,
    depth: usize,
) -> Result<(), EngineError> {
    let ModelConfig {
        n_layers,
        n_kv_heads,
        head_dim,
        ..
    } = model.config;
    let width = n_kv_heads * head_dim;
    // A row starts anywhere in it.
    let numbers: Vec<f32> = (0..width + 4099)
        .map(|i| (i * 7919 % 4093) as f32 / 2046.5 - 1.0)
        .collect();
    kv.reserve(sequence, depth)?;
    for position in 0..depth {
        for layer in 0..n_layers {
            let row =
                |seed: usize| &numbers[(position * 131 + layer * 31 + seed) % 4099..][..width];
            kv.write(isa, sequence, layer, position, row(0), row(1777));
        }
    }
    Ok(())
}

/// Prefill and decode once, and one sequence's decode where several were asked for.
fn repetition(
    model: &Model,
    forward: &mut Forward,
    kv: &mut KvCache,
    options: &BenchOptions,
    rates: Option<&mut Rates>,
) -> Result<(), EngineError> {
    let (prefill_s, decode_s, skipped_bytes) =
        generation(model, forward, kv, options, options.batch)?;
    let one_sequence_s = if options.batch > 1 && options.generate > 0 {
        Some(generation(model, forward, kv, options, 1)?.1)
    } else {
        None
    };
    if let Some(rates) = rates {
        rates.skipped_bytes += skipped_bytes;
        rates.steps += options.generate as u64;
        rates.prefill.push(rate(options.prompt, prefill_s));
        let generated = options.generate * options.batch;
        rates.decode.push(rate(generated, decode_s));
        let one_sequence = one_sequence_s.map(|seconds| rate(options.generate, seconds));
        rates.one_sequence.extend(one_sequence);
    }
    Ok(())
}

/// Seconds of one prompt's prefill and of the tokens after it, and the bytes those left out. Each
/// further sequence of a batch gets a prompt of its own, outside the measured time.
fn generation(
    model: &Model,
    forward: &mut Forward,
    kv: &mut KvCache,
    options: &BenchOptions,
    batch: usize,
) -> Result<(f64, f64, u64), EngineError> {
    let vocab_size = model.config.vocab_size;
    let mut prefill_s = 0.0;
    let mut last = vec![0; batch];
    for (sequence, last) in last.iter_mut().enumerate() {
        // Ids spread over the vocabulary.
        let token = |position: usize| ((position + sequence) * 7919 + 13) % vocab_size;
        let end = options.depth + options.prompt;
        let prompt: Vec<BatchToken> = (options.depth..end)
            .map(|position| BatchToken {
                sequence,
                position,
                token: u32::try_from(token(position)).unwrap_or(0),
                wants_logits: position + 1 == end,
            })
            .collect();
        let start = Instant::now();
        for chunk in prompt.chunks(options.prefill_chunk) {
            let logits = forward.forward(chunk, kv)?;
            if !logits.is_empty() {
                *last = choose(options.isa, logits)?;
            }
        }
        if sequence == 0 {
            prefill_s = start.elapsed().as_secs_f64();
        }
    }
    let skipped_before = forward.skipped_bytes();
    let start = Instant::now();
    for position in (options.depth + options.prompt..).take(options.generate) {
        let step: Vec<BatchToken> = (last.iter().enumerate())
            .map(|(sequence, &token)| BatchToken {
                sequence,
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
    let decode_s = start.elapsed().as_secs_f64();
    let skipped_bytes = forward.skipped_bytes() - skipped_before;
    Ok((prefill_s, decode_s, skipped_bytes))
}

/// The most likely token.
fn choose(isa: Isa, logits: &mut [f32]) -> Result<u32, EngineError> {
    let mut sampler = Sampler::new(Params::GREEDY, &[]);
    sampler
        .sample(isa, logits)
        .map_err(|error| EngineError::Internal(error.to_string()))
}

fn prefill(model: &Model, rates: Vec<f64>) -> Prefill {
    let Spread { median, min, max } = Spread::of(rates);
    let multiply_adds_per_token = layer_multiply_adds(model);
    Prefill {
        tokens_per_s: median,
        tokens_per_s_min: min,
        tokens_per_s_max: max,
        multiply_adds_per_token,
        gmac_per_s: median * multiply_adds_per_token as f64 / 1e9,
        share_of_int8_peak: None,
    }
}

fn decode(model: &Model, options: &BenchOptions, rates: &Rates) -> Decode {
    let Spread { median, min, max } = Spread::of(rates.decode.clone());
    let skipped_bytes_per_token = rates.skipped_bytes / rates.steps.max(1);
    let bytes_per_token = stored_bytes(model).saturating_sub(skipped_bytes_per_token);
    let [rows, cols] = model.weights.head().shape();
    let multiply_adds = layer_multiply_adds(model) + (rows * cols) as u64;
    let one_sequence =
        (!rates.one_sequence.is_empty()).then(|| Spread::of(rates.one_sequence.clone()).median);
    Decode {
        tokens_per_s: median,
        tokens_per_s_min: min,
        tokens_per_s_max: max,
        bytes_per_token,
        skipped_bytes_per_token,
        gb_per_s: median / options.batch as f64 * bytes_per_token as f64 / 1e9,
        share_of_read_bandwidth: None,
        gmac_per_s: median * multiply_adds as f64 / 1e9,
        one_sequence_tokens_per_s: one_sequence,
        times_one_sequence: one_sequence.map(|one| median / one),
    }
}

/// Multiply-adds of all layers' matrices for one token.
fn layer_multiply_adds(model: &Model) -> u64 {
    let matrices = model.weights.layers.iter().flat_map(Layer::matrices);
    let sizes = matrices.map(|matrix| matrix.shape().iter().product::<usize>() as u64);
    sizes.sum()
}

/// Packed weights of all layers and the head; the norms are below a thousandth, an embedding is one
/// row.
fn stored_bytes(model: &Model) -> u64 {
    let bytes: usize = model.weights.streamed().map(|bytes| bytes.len()).sum();
    bytes as u64
}

/// The layouts that occur among the layers' matrices.
fn layout(model: &Model) -> String {
    let layouts = TernaryLayout::ALL.into_iter();
    let used = layouts.filter(|&layout| model.weights.has_layout(layout));
    let mut names: Vec<&str> = used.map(TernaryLayout::name).collect();
    for codes in GroupCodes::ALL {
        if model.weights.has_codes(codes) {
            names.push(codes_name(codes));
        }
    }
    names.join(", ")
}

fn rate(tokens: usize, seconds: f64) -> f64 {
    tokens as f64 / seconds.max(1e-9)
}

#[cfg(test)]
mod tests;
