//! A prompt that begins as another did is not computed again, and gets the same tokens, text and
//! embeddings.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use crate::support::{
    self, Completion, but_for_cache, complete, engine, fixture, greedy, load, open,
};
use sterna_engine::config::Pooling;
use sterna_engine::engine::Engine;
use sterna_engine::kv::{BLOCK, KvShape};
use sterna_engine::model::Model;
use sterna_engine::options::{EngineOptions, Speculation};
use sterna_engine::request::{GenerationId, Prompt, Request, Sampling};
use sterna_kernels::{Isa, KvType};

static TINY: LazyLock<Arc<Model>> = LazyLock::new(|| load("tiny-I2_S.gguf"));

fn tokens(length: usize, kind: u32) -> Vec<u32> {
    (0..length as u32)
        .map(|i| 3 + (i * i * 7 + i * kind) % 500)
        .collect()
}

fn request(prompt: Vec<u32>, max_tokens: u32, seed: u64) -> Request {
    let sampling = Sampling {
        temperature: Some(0.8),
        repetition_penalty: Some(1.1),
        seed: Some(seed),
        ..Sampling::default()
    };
    Request {
        max_tokens: Some(max_tokens),
        ignore_eos: true,
        sampling,
        ..Request::new(Prompt::Tokens(prompt))
    }
}

/// What an engine without a cache says, one request at a time.
fn alone(request: Request) -> Completion {
    alone_in(KvType::default(), request)
}

/// The same by the scalar kernels, with a type of keys and values.
fn alone_in(ty: KvType, request: Request) -> Completion {
    let mut engine = engine(&TINY, |options| {
        options.isa = Isa::SCALAR;
        options.kv_type = ty;
        options.prefix_cache = false;
        options.speculation = Speculation::Off;
    });
    let completion = complete(&mut engine, request).unwrap();
    assert_eq!(cached(&completion), 0);
    completion
}

fn cached(completion: &Completion) -> usize {
    let finish = completion.last.as_ref().unwrap().finish.unwrap();
    finish.usage.cached_tokens as usize
}

/// All requests at the same time.
fn together(engine: &mut Engine, requests: &[Request]) -> Vec<Completion> {
    let ids: Vec<_> = requests
        .iter()
        .map(|request| engine.submit(request.clone()).unwrap().id)
        .collect();
    let mut completions: HashMap<GenerationId, Completion> = HashMap::new();
    while engine.step(&mut |(id, event)| completions.entry(id).or_default().add(event.unwrap())) {}
    ids.iter()
        .map(|id| completions.remove(id).unwrap())
        .collect()
}

#[test]
fn a_prompt_that_came_before_is_not_computed_again() {
    let mut engine = engine(&TINY, |_| {});
    let expected = alone(request(tokens(150, 1), 12, 5));
    let first = complete(&mut engine, request(tokens(150, 1), 12, 5)).unwrap();
    assert_eq!(first, expected);
    let computed = engine.stats().prompt_tokens;
    assert_eq!(computed, 150);
    let second = complete(&mut engine, request(tokens(150, 1), 12, 5)).unwrap();
    assert_eq!(cached(&second), 2 * BLOCK);
    assert_eq!(but_for_cache(second), expected);
    let stats = engine.stats();
    assert_eq!(stats.prompt_tokens, 150 + 150 - 128);
    assert_eq!((stats.cached_tokens, stats.kv_bytes), (128, 0));
    assert!(stats.kv_idle_bytes > 0 && stats.kv_idle_bytes <= stats.kv_allocated_bytes);
    // A prompt of whole blocks: its last token's logits are wanted, so that block is computed.
    let whole = complete(&mut engine, request(tokens(128, 1), 12, 5)).unwrap();
    assert_eq!(cached(&whole), BLOCK);
    assert_eq!(but_for_cache(whole), alone(request(tokens(128, 1), 12, 5)));
}

#[test]
fn the_next_turn_finds_what_was_generated_too() {
    for speculation in [Speculation::Off, Speculation::Always(5)] {
        let mut engine = engine(&TINY, |options| options.speculation = speculation);
        let mut prompt = tokens(50, 3);
        for turn in 0..3 {
            let completion = complete(&mut engine, request(prompt.clone(), 40, turn)).unwrap();
            let expected = alone(request(prompt.clone(), 40, turn));
            // All but the block that was not full when the turn before ended.
            let before = prompt.len().saturating_sub(3);
            assert_eq!(
                cached(&completion),
                before.saturating_sub(1) / BLOCK * BLOCK * usize::from(turn > 0)
            );
            assert_eq!(but_for_cache(completion.clone()), expected);
            prompt.extend(completion.tokens);
            prompt.extend(tokens(3, 10 + u32::try_from(turn).unwrap()));
        }
    }
}

#[test]
fn sixteen_that_begin_alike_compute_it_once() {
    let requests: Vec<Request> = (0..16)
        .map(|which| {
            let prompt = [tokens(130, 2), tokens(5, 20 + which)].concat();
            request(prompt, 10, which.into())
        })
        .collect();
    for ty in KvType::ALL {
        let alone = |request: &Request| alone_in(ty, request.clone());
        let expected: Vec<Completion> = requests.iter().map(alone).collect();
        for speculation in [
            Speculation::Off,
            Speculation::Always(4),
            Speculation::Adaptive,
        ] {
            let mut engine = engine(&TINY, |options| {
                options.max_sequences = 16;
                options.speculation = speculation;
                options.kv_type = ty;
            });
            let completions = together(&mut engine, &requests);
            assert_eq!(engine.stats().prompt_tokens, 128 + 16 * 7);
            assert_eq!(engine.stats().cached_tokens, 15 * 128);
            for (completion, expected) in completions.into_iter().zip(&expected) {
                assert_eq!(but_for_cache(completion), *expected, "{ty:?}");
            }
            // Again, where all of it is there.
            for (completion, expected) in together(&mut engine, &requests).iter().zip(&expected) {
                assert_eq!(cached(completion), 128);
                assert_eq!(but_for_cache(completion.clone()), *expected, "{ty:?}");
            }
        }
    }
}

/// Greedily, as programs ask for the same again.
#[test]
fn greedy_answers_are_the_same_on_every_way_and_instruction_set() {
    let greedily = |which: u32| {
        // What comes again and again, so that drafts are right now and then.
        let prompt = [tokens(25, 2).repeat(3), tokens(3, 20 + which)].concat();
        Request {
            sampling: greedy(),
            ..request(prompt, 20, 0)
        }
    };
    let requests: Vec<Request> = (0..16).map(greedily).collect();
    for ty in KvType::ALL {
        let alone = |request: &Request| alone_in(ty, request.clone()).tokens;
        let expected: Vec<Vec<u32>> = requests.iter().map(alone).collect();
        for isa in Isa::supported() {
            for (max_sequences, speculation) in [
                (1, Speculation::Off),
                (3, Speculation::Always(4)),
                (16, Speculation::Off),
            ] {
                let mut engine = engine(&TINY, |options| {
                    options.isa = isa;
                    options.kv_type = ty;
                    options.max_sequences = max_sequences;
                    options.speculation = speculation;
                });
                let completions = together(&mut engine, &requests);
                let told: Vec<Vec<u32>> = completions.into_iter().map(|c| c.tokens).collect();
                let what = format!("{ty:?}, {}, {max_sequences}, {speculation:?}", isa.name());
                assert_eq!(told, expected, "{what}");
                let stats = engine.stats();
                assert!(stats.cached_tokens >= 15 * 64, "{what}: {stats:?}");
                let drafts = speculation != Speculation::Off;
                assert_eq!(stats.drafted > 0, drafts, "{what}: {stats:?}");
            }
        }
    }
}

#[test]
fn embeddings_hit_where_the_last_state_is_all_they_need() {
    for (pooling, hit) in [(Pooling::Last, 64), (Pooling::Mean, 0), (Pooling::First, 0)] {
        let mut model = open(&fixture("packed-autobitlinear"));
        model.config.embedding.pooling = Some(pooling);
        let model = Arc::new(model);
        let input = || Request::to_embed(Prompt::Tokens(tokens(100, 4)));
        let mut off = engine(&model, |options| options.prefix_cache = false);
        let expected = complete(&mut off, input()).unwrap();
        let mut engine = engine(&model, |options| options.prefill_chunk = 16);
        for hit in [0, hit] {
            let completion = complete(&mut engine, input()).unwrap();
            assert_eq!(cached(&completion), hit, "{pooling:?}");
            assert_eq!(but_for_cache(completion), expected, "{pooling:?}");
        }
    }
}

#[test]
fn what_a_cancelled_one_wrote_is_found() {
    let mut engine = engine(&TINY, |options| options.prefill_chunk = 16);
    let id = engine.submit(request(tokens(200, 1), 5, 1)).unwrap().id;
    for _ in 0..5 {
        engine.step(&mut |_| {});
    }
    assert!(engine.cancel(id));
    assert_eq!(engine.stats().kv_bytes, 0);
    let completion = complete(&mut engine, request(tokens(200, 1), 5, 1)).unwrap();
    assert_eq!(cached(&completion), BLOCK);
    assert_eq!(
        but_for_cache(completion),
        alone(request(tokens(200, 1), 5, 1))
    );
}

#[test]
fn switched_off_nothing_is_kept() {
    let mut engine = engine(&TINY, |options| options.prefix_cache = false);
    for _ in 0..2 {
        let completion = complete(&mut engine, request(tokens(150, 1), 5, 1)).unwrap();
        assert_eq!(cached(&completion), 0);
    }
    assert_eq!(engine.stats().kv_idle_bytes, 0);
    assert_eq!(engine.stats().prompt_tokens, 300);
}

/// Room for so many blocks.
fn blocks(options: &mut EngineOptions, blocks: u64) {
    options.max_kv_bytes = Some(blocks * KvShape::of(&TINY.config, options.kv_type).block_bytes());
}

#[test]
fn what_is_kept_never_keeps_anybody_out() {
    let mut engine = engine(&TINY, |options| blocks(options, 4));
    for kind in 0..6 {
        let completion = complete(&mut engine, request(tokens(180, kind), 20, 1)).unwrap();
        assert_eq!(
            but_for_cache(completion),
            alone(request(tokens(180, kind), 20, 1))
        );
    }
    let stats = engine.stats();
    assert_eq!((stats.failed, stats.preempted, stats.kv_bytes), (0, 0, 0));
    assert_eq!(stats.kv_allocated_bytes, stats.kv_limit_bytes);
}

#[test]
fn who_makes_room_goes_on_with_the_same_tokens() {
    let both = |ty| [(ty, true), (ty, false)];
    for (ty, prefix_cache) in KvType::ALL.into_iter().flat_map(both) {
        let mut engine = engine(&TINY, |options| {
            options.max_sequences = 4;
            options.prefix_cache = prefix_cache;
            options.kv_type = ty;
            options.prefill_chunk = 16;
            blocks(options, 5);
        });
        // Each may come to need three blocks; all begin with one.
        let mut requests: Vec<Request> = (0..6)
            .map(|which| request(tokens(40 + which, which as u32), 120, which as u64))
            .collect();
        // Its text is cut within a token's bytes and looked through for a stop text.
        requests[3].stop = vec!["no such text".into()];
        requests[3].min_tokens = 100;
        let completions = together(&mut engine, &requests);
        let stats = engine.stats();
        assert!(stats.preempted > 0, "{stats:?}");
        assert_eq!((stats.failed, stats.finished, stats.kv_bytes), (0, 6, 0));
        assert!(stats.kv_allocated_bytes <= stats.kv_limit_bytes);
        for (completion, request) in completions.into_iter().zip(&requests) {
            let expected = alone_in(ty, request.clone());
            assert_eq!(but_for_cache(completion), expected, "{ty:?}");
        }
    }
}

#[test]
fn an_embedding_that_makes_room_begins_again() {
    let mut model = open(&fixture("packed-autobitlinear"));
    model.config.embedding.pooling = Some(Pooling::Mean);
    let model = Arc::new(model);
    let inputs: Vec<Request> = (0..3)
        .map(|kind| Request::to_embed(Prompt::Tokens(tokens(120, kind))))
        .collect();
    let mut alone = engine(&model, |options| options.prefix_cache = false);
    let expected: Vec<_> = inputs
        .iter()
        .map(|input| complete(&mut alone, input.clone()).unwrap())
        .collect();
    let mut engine = engine(&model, |options| {
        options.prefill_chunk = 8;
        options.max_kv_bytes = Some(3 * KvShape::of(&model.config, options.kv_type).block_bytes());
    });
    assert_eq!(together(&mut engine, &inputs), expected);
    assert_eq!(engine.stats().failed, 0);
}

#[test]
fn a_salt_keeps_requests_apart() {
    let mut engine = engine(&TINY, |_| {});
    let salted = |salt: Option<&str>| Request {
        cache_salt: salt.map(str::to_owned),
        ..request(tokens(150, 1), 5, 1)
    };
    let expected = alone(salted(None));
    for (salt, hit) in [
        (Some("a"), 0),
        (None, 0),
        (Some("b"), 0),
        (Some("a"), 128),
        (None, 128),
        (Some(""), 128),
    ] {
        let completion = complete(&mut engine, salted(salt)).unwrap();
        assert_eq!(cached(&completion), hit, "{salt:?}");
        assert_eq!(but_for_cache(completion), expected);
    }
    let long = engine.submit(salted(Some(&"x".repeat(257)))).unwrap_err();
    assert!(long.to_string().contains("256"), "{long}");
}

/// All that is told of a prompt's tokens.
fn told(engine: &mut Engine, request: Request) -> String {
    let mut told = Vec::new();
    engine.submit(request).unwrap();
    while engine.step(&mut |(_, event)| told.extend(event.unwrap().prompt)) {}
    format!("{told:?}")
}

#[test]
fn a_prompt_whose_probabilities_are_told_is_computed_whole() {
    let scored = || Request {
        prompt_logprobs: Some(1),
        ..request(tokens(150, 1), 3, 1)
    };
    let mut off = engine(&TINY, |options| options.prefix_cache = false);
    let expected = told(&mut off, scored());
    assert!(expected.matches("logprob: Some").count() >= 149);
    let mut engine = engine(&TINY, |_| {});
    complete(&mut engine, request(tokens(150, 1), 3, 1)).unwrap();
    for _ in 0..2 {
        assert_eq!(told(&mut engine, scored()), expected);
    }
    assert_eq!(engine.stats().cached_tokens, 0);
    // Such that make room tell each token once.
    let mut small = support::engine(&TINY, |options| {
        options.prefill_chunk = 16;
        blocks(options, 4);
    });
    let scored = |kind| Request {
        prompt_logprobs: Some(0),
        ..request(tokens(50, kind), 100, 1)
    };
    let ids: Vec<_> = (0..4)
        .map(|kind| small.submit(scored(kind)).unwrap().id)
        .collect();
    let mut all = vec![Vec::new(); 4];
    while small.step(&mut |(id, event)| {
        let at = ids.iter().position(|of| *of == id).unwrap();
        all[at].extend(event.unwrap().prompt);
    }) {}
    assert!(small.stats().preempted > 0);
    for (kind, told_of) in (0..).zip(all) {
        assert_eq!(format!("{told_of:?}"), told(&mut off, scored(kind)));
    }
}
