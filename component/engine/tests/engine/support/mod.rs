//! Shared code of the engine's tests: paths of the fixtures, running a prompt, and a naive
//! transformer.

#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

pub mod naive;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sterna_engine::engine::Engine;

use sterna_engine::error::EngineError;
use sterna_engine::files::LoadOptions;
use sterna_engine::forward::{BatchToken, Forward};
use sterna_engine::kv::{KvCache, KvShape};
use sterna_engine::model::Model;
use sterna_engine::optimisations::Optimisations;
use sterna_engine::options::EngineOptions;
use sterna_engine::request::{Event, GenerationId, Prompt, Request, Sampling};
use sterna_engine::team::Team;
use sterna_kernels::{Isa, KvType};

/// `tests/fixtures` of the repository.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures")
        .join(name)
}

/// A model of `tests/fixtures`.
pub fn load(name: &str) -> Arc<Model> {
    Arc::new(open(&fixture(name)))
}

/// The trained model that ships with the engine.
pub fn demo() -> Arc<Model> {
    Arc::new(open(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo.gguf"),
    ))
}

pub fn open(path: &Path) -> Model {
    let model = Model::load(path, &LoadOptions::default(), &mut |_, _| {});
    model.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn json(name: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(fixture(name)).unwrap()).unwrap()
}

/// An array of `logits.npz`, little-endian f32 in C order.
pub fn reference(name: &str) -> Vec<f32> {
    let bytes = std::fs::read(fixture("reference").join(name).with_extension("f32")).unwrap();
    bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect()
}

/// A JSON array of token ids.
pub fn ids(json: &serde_json::Value) -> Vec<u32> {
    json.as_array()
        .unwrap()
        .iter()
        .map(|id| u32::try_from(id.as_u64().unwrap()).unwrap())
        .collect()
}

/// A forward pass of `model` for batches up to `max_tokens`, and a cache of `n_sequences`
/// sequences, in f32 as references have it.
pub fn forward(
    model: &Arc<Model>,
    isa: Isa,
    threads: usize,
    max_tokens: usize,
    n_sequences: usize,
) -> (Forward, KvCache) {
    forward_with(
        model,
        isa,
        threads,
        max_tokens,
        n_sequences,
        Optimisations::ALL,
    )
}

/// The same, with some optimisations.
pub fn forward_with(
    model: &Arc<Model>,
    isa: Isa,
    threads: usize,
    max_tokens: usize,
    n_sequences: usize,
    optimisations: Optimisations,
) -> (Forward, KvCache) {
    let team = Team::new(threads).unwrap();
    let forward = Forward::with(model.clone(), isa, team, max_tokens, optimisations);
    (forward, cache(model, KvType::F32, n_sequences))
}

/// An empty cache of a type.
pub fn cache(model: &Model, ty: KvType, n_sequences: usize) -> KvCache {
    KvCache::new(KvShape::of(&model.config, ty), n_sequences)
}

/// A batch of one sequence's tokens from position 0, every one with its logits.
pub fn batch(sequence: usize, tokens: &[u32]) -> Vec<BatchToken> {
    tokens
        .iter()
        .enumerate()
        .map(|(position, &token)| BatchToken {
            sequence,
            position,
            token,
            wants_logits: true,
        })
        .collect()
}

pub fn argmax(logits: &[f32]) -> u32 {
    let best = (0..logits.len())
        .max_by(|&a, &b| logits[a].total_cmp(&logits[b]).then(b.cmp(&a)))
        .unwrap();
    u32::try_from(best).unwrap()
}

pub fn greedy() -> Sampling {
    Sampling {
        temperature: Some(0.0),
        ..Sampling::default()
    }
}

pub fn engine(model: &Arc<Model>, change: impl FnOnce(&mut EngineOptions)) -> Engine {
    let mut options = EngineOptions::new(Isa::detect());
    change(&mut options);
    Engine::new(model.clone(), options).unwrap()
}

/// All tokens, all text and the last event of a generation that ran to its end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Completion {
    pub tokens: Vec<u32>,
    pub text: String,
    pub last: Option<Event>,
}

impl Completion {
    pub fn add(&mut self, event: Event) {
        assert!(self.last.is_none(), "an event after the last one");
        self.tokens.extend(&event.tokens);
        self.text += &event.text;
        if event.finish.is_some() {
            self.last = Some(event);
        }
    }
}

/// The same without what may differ from run to run: how much of the prompt was cached.
pub fn but_for_cache(mut completion: Completion) -> Completion {
    if let Some(finish) = completion
        .last
        .as_mut()
        .and_then(|last| last.finish.as_mut())
    {
        finish.usage.cached_tokens = 0;
    }
    completion
}

/// Embed one prompt: its vector, and its length in tokens.
pub fn embed(engine: &mut Engine, prompt: Prompt) -> Result<(Vec<f32>, u32), EngineError> {
    let completion = complete(engine, Request::to_embed(prompt))?;
    assert_eq!((completion.tokens.len(), completion.text.as_str()), (0, ""));
    let last = completion.last.unwrap();
    let tokens = last.finish.unwrap().usage.prompt_tokens;
    Ok((last.embedding.unwrap(), tokens))
}

/// Run one request to its end.
pub fn complete(engine: &mut Engine, request: Request) -> Result<Completion, EngineError> {
    let id = engine.submit(request)?.id;
    let mut completion = Completion::default();
    let mut fault = None;
    while engine.step(&mut |(of, event): (GenerationId, _)| {
        assert_eq!(of, id);
        match event {
            Ok(event) => completion.add(event),
            Err(error) => fault = Some(error),
        }
    }) {}
    fault.map_or(Ok(completion), Err)
}
