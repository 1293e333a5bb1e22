//! Drafting changes how many steps a completion takes and nothing else: tokens, texts and events
//! are those without it.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use crate::support::{demo, engine, greedy, load};
use proptest::prelude::*;
use sterna_engine::engine::Engine;
use sterna_engine::model::Model;
use sterna_engine::options::{EngineOptions, Speculation};
use sterna_engine::request::{Event, FinishReason, GenerationId, Prompt, Request, Sampling};

static TINY: LazyLock<Arc<Model>> = LazyLock::new(|| load("tiny-I2_S.gguf"));
static DEMO: LazyLock<Arc<Model>> = LazyLock::new(demo);

const REPEATING: &str = "Tom had a red ball. Tom had a red ball. Tom had a red ball. Tom had a red";

/// All events of each request, all requests at the same time, and the engine after them.
fn run(
    model: &Arc<Model>,
    speculation: Speculation,
    requests: &[Request],
    change: impl FnOnce(&mut EngineOptions),
) -> (Vec<Vec<Event>>, Engine) {
    let mut engine = engine(model, |options| {
        options.threads = 1;
        options.speculation = speculation;
        change(options);
    });
    let mut events: HashMap<GenerationId, Vec<Event>> = HashMap::new();
    let ids: Vec<_> = requests
        .iter()
        .map(|request| engine.submit(request.clone()).unwrap().id)
        .collect();
    while engine.step(&mut |(id, event)| {
        let mut event = event.unwrap();
        // When another one has got so far depends on the drafts.
        if let Some(finish) = &mut event.finish {
            finish.usage.cached_tokens = 0;
        }
        events.entry(id).or_default().push(event);
    }) {}
    let events = ids.iter().map(|id| events.remove(id).unwrap()).collect();
    (events, engine)
}

fn text(prompt: &str, max_tokens: u32, sampling: Sampling) -> Request {
    Request {
        max_tokens: Some(max_tokens),
        sampling,
        ..Request::new(Prompt::Text(prompt.into()))
    }
}

fn sampled(seed: u64) -> Sampling {
    Sampling {
        temperature: Some(0.7),
        top_p: Some(0.9),
        repetition_penalty: Some(1.05),
        frequency_penalty: Some(-0.3),
        seed: Some(seed),
        ..Sampling::default()
    }
}

#[test]
fn one_that_ends_within_its_draft_takes_nothing_from_another() {
    let request = |stop: &[&str]| Request {
        stop: stop.iter().map(|&text| text.into()).collect(),
        ..text(REPEATING, 24, greedy())
    };
    let long = request(&[]);
    for stops in [&["ball"][..], &["red"], &["."]] {
        for requests in [
            [request(stops), long.clone()],
            [long.clone(), request(stops)],
        ] {
            let (plain, _) = run(&DEMO, Speculation::Off, &requests, |_| ());
            let (drafted, engine) = run(&DEMO, Speculation::Always(15), &requests, |_| ());
            assert_eq!(drafted, plain, "{stops:?}");
            assert!(engine.stats().drafted > 0);
        }
    }
}

#[test]
fn a_repeating_text_takes_fewer_steps_and_is_the_same() {
    let request = [text(REPEATING, 60, greedy())];
    let (plain, engine) = run(&DEMO, Speculation::Off, &request, |_| {});
    let stats = engine.stats();
    assert_eq!((stats.drafted, stats.accepted), (0, 0));
    let steps = stats.steps;
    for most in [1, 4, 15] {
        let (events, engine) = run(&DEMO, Speculation::Always(most), &request, |_| {});
        assert_eq!(events, plain, "{most}");
        let stats = engine.stats();
        assert!(
            stats.accepted > 0 && stats.accepted <= stats.drafted,
            "{stats:?}"
        );
        // Each token that was drafted rightly saved a step; no other step is missing or new.
        assert_eq!(stats.steps + stats.accepted, steps, "{most}");
        assert_eq!(stats.tokens_generated, 60);
    }
    let (events, _) = run(&DEMO, Speculation::Adaptive, &request, |_| {});
    assert_eq!(events, plain);
}

#[test]
fn a_draw_is_the_same_draw() {
    for seed in 0..6 {
        let request = [text(REPEATING, 40, sampled(seed))];
        let (plain, _) = run(&DEMO, Speculation::Off, &request, |_| {});
        let (events, engine) = run(&DEMO, Speculation::Always(5), &request, |_| {});
        assert_eq!(events, plain, "seed {seed}");
        assert!(engine.stats().drafted > 0);
    }
}

#[test]
fn every_limit_ends_at_the_same_token() {
    for max_tokens in 1..20 {
        let request = [text(REPEATING, max_tokens, greedy())];
        let (plain, _) = run(&DEMO, Speculation::Off, &request, |_| {});
        let (events, engine) = run(&DEMO, Speculation::Always(15), &request, |_| {});
        assert_eq!(events, plain, "{max_tokens}");
        assert_eq!(engine.stats().kv_bytes, 0);
    }
    // The context is full before the limit is reached; the last drafts would stand beyond it.
    let request = [text(REPEATING, 1000, greedy())];
    let change = |options: &mut EngineOptions| options.max_context = Some(50);
    let (plain, _) = run(&DEMO, Speculation::Off, &request, change);
    let (events, _) = run(&DEMO, Speculation::Always(15), &request, change);
    assert_eq!(events, plain);
    let finish = events[0].last().unwrap().finish.unwrap();
    assert_eq!(finish.reason, FinishReason::Length);
}

#[test]
fn a_stop_text_within_a_draft_ends_there() {
    let stopping = |stop: &str| Request {
        stop: vec![stop.into()],
        ..text(REPEATING, 60, greedy())
    };
    for stop in ["ball", "a red ball. Tom", " Tom had", "."] {
        let (plain, _) = run(&DEMO, Speculation::Off, &[stopping(stop)], |_| {});
        let (events, engine) = run(&DEMO, Speculation::Always(15), &[stopping(stop)], |_| {});
        assert_eq!(events, plain, "{stop}");
        assert_eq!((engine.stats().running, engine.stats().kv_bytes), (0, 0));
    }
}

fn tokens() -> impl Strategy<Value = Vec<u32>> {
    // A few different tokens, so that pairs and triples come again.
    (prop::collection::vec(3u32..6, 1..60), 3u32..500).prop_map(|(mut tokens, one)| {
        tokens.push(one);
        tokens.extend_from_within(..);
        tokens
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sequences_side_by_side_are_the_same(
        prompts in prop::collection::vec((tokens(), 1u32..24, 0u64..1000), 1..6),
        max_sequences in 1usize..5,
        prefill_chunk in prop_oneof![Just(1usize), Just(7), Just(64)],
        most in 0usize..17,
        temperature in prop_oneof![Just(0.0f32), Just(0.3), Just(1.0)],
        kv_blocks in prop::option::of(3u64..8),
    ) {
        let requests: Vec<Request> = prompts.into_iter().map(|(prompt, max_tokens, seed)| Request {
            max_tokens: Some(max_tokens),
            sampling: Sampling { temperature: Some(temperature), seed: Some(seed), ..Sampling::default() },
            ..Request::new(Prompt::Tokens(prompt))
        }).collect();
        let block_bytes = sterna_engine::kv::KvShape::of(&TINY.config, Default::default()).block_bytes();
        let change = |options: &mut EngineOptions| {
            options.max_sequences = max_sequences;
            options.prefill_chunk = prefill_chunk;
            options.max_kv_bytes = kv_blocks.map(|blocks| blocks * block_bytes);
        };
        let (plain, _) = run(&TINY, Speculation::Off, &requests, change);
        for speculation in [Speculation::Always(most), Speculation::Adaptive] {
            let (events, engine) = run(&TINY, speculation, &requests, change);
            prop_assert_eq!(&events, &plain);
            let stats = engine.stats();
            prop_assert_eq!((stats.running, stats.kv_bytes, stats.failed), (0, 0, 0));
            prop_assert!(stats.accepted <= stats.drafted);
        }
    }
}
