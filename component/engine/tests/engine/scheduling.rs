//! Whatever is submitted, stepped and cancelled in whatever order: each request gets the tokens it
//! gets alone, and nothing is left behind.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::support::{Completion, but_for_cache, complete, engine, greedy, load};
use proptest::prelude::*;
use sterna_engine::engine::Engine;
use sterna_engine::error::EngineError;
use sterna_engine::model::Model;
use sterna_engine::options::{EngineOptions, MaxStep};
use sterna_engine::request::{FinishReason, GenerationId, Prompt, Request, Sampling};
use sterna_kernels::Isa;

static TINY: LazyLock<Arc<Model>> = LazyLock::new(|| load("tiny-I2_S.gguf"));

/// A request whose result is fixed: everything that is drawn has a seed.
fn request(prompt: Vec<u32>, max_tokens: u32, seed: u64) -> Request {
    let sampling = Sampling {
        temperature: Some(1.0),
        top_k: Some(20),
        seed: Some(seed),
        ..Sampling::default()
    };
    Request {
        max_tokens: Some(max_tokens),
        sampling,
        client: seed % 3,
        ..Request::new(Prompt::Tokens(prompt))
    }
}

#[derive(Clone, Debug)]
enum Action {
    Submit {
        prompt: Vec<u32>,
        max_tokens: u32,
        seed: u64,
    },
    Step,
    Cancel {
        which: usize,
    },
}

/// Prompts of their own, and such that begin alike.
fn prompts() -> impl Strategy<Value = Vec<u32>> {
    let alike = (0usize..100, 3u32..7).prop_map(|(same, last)| {
        let mut prompt: Vec<u32> = (0..same as u32).map(|i| 3 + i * i % 500).collect();
        prompt.push(last);
        prompt
    });
    prop_oneof![prop::collection::vec(3u32..512, 1..90), alike]
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let submit =
        (prompts(), 1u32..12, 0u64..1000).prop_map(|(prompt, max_tokens, seed)| Action::Submit {
            prompt,
            max_tokens,
            seed,
        });
    let action = prop_oneof![
        2 => submit,
        5 => Just(Action::Step),
        1 => (0usize..20).prop_map(|which| Action::Cancel { which }),
    ];
    prop::collection::vec(action, 1..40)
}

/// A request and its result.
struct Run {
    request: Request,
    completion: Completion,
    cancelled: bool,
}

fn step(engine: &mut Engine, runs: &mut HashMap<GenerationId, Run>) -> bool {
    engine.step(&mut |(id, event)| {
        let run = runs.get_mut(&id).unwrap();
        assert!(!run.cancelled, "an event after the cancellation");
        run.completion.add(event.unwrap());
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn interleaving_changes_no_token_and_leaves_nothing_behind(
        actions in actions(),
        max_sequences in 1usize..5,
        prefill_chunk in prop_oneof![Just(1usize), Just(7), Just(64)],
        kv_blocks in prop::option::of(2u64..6),
        prefix_cache in any::<bool>(),
    ) {
        let block_bytes = sterna_engine::kv::KvShape::of(&TINY.config, Default::default()).block_bytes();
        let mut engine = engine(&TINY, |options| {
            options.max_sequences = max_sequences;
            options.prefill_chunk = prefill_chunk;
            options.threads = 1;
            options.prefix_cache = prefix_cache;
            options.max_kv_bytes = kv_blocks.map(|blocks| blocks * block_bytes);
        });
        let mut runs: HashMap<GenerationId, Run> = HashMap::new();
        let mut ids = Vec::new();
        for action in actions {
            match action {
                Action::Submit { prompt, max_tokens, seed } => {
                    let request = request(prompt, max_tokens, seed);
                    let id = engine.submit(request.clone()).unwrap().id;
                    ids.push(id);
                    runs.insert(id, Run { request, completion: Completion::default(), cancelled: false });
                }
                Action::Step => {
                    step(&mut engine, &mut runs);
                }
                Action::Cancel { which } if which < ids.len() => {
                    let run = runs.get_mut(&ids[which]).unwrap();
                    let alive = !run.cancelled && run.completion.last.is_none();
                    prop_assert_eq!(engine.cancel(ids[which]), alive);
                    run.cancelled |= alive;
                }
                Action::Cancel { .. } => {}
            }
            if let Some(blocks) = kv_blocks {
                prop_assert!(engine.stats().kv_allocated_bytes <= blocks * block_bytes);
            }
        }
        while step(&mut engine, &mut runs) {}
        let stats = engine.stats();
        prop_assert_eq!((stats.queued, stats.running, stats.kv_bytes, stats.failed), (0, 0, 0, 0));
        prop_assert!(prefix_cache || (stats.kv_idle_bytes, stats.cached_tokens) == (0, 0));
        prop_assert_eq!(stats.finished + stats.cancelled, runs.len() as u64);
        let mut alone = self::engine(&TINY, |options| {
            options.max_sequences = 1;
            options.prefix_cache = false;
        });
        for run in runs.into_values() {
            let expected = complete(&mut alone, run.request).unwrap();
            if run.cancelled {
                prop_assert!(expected.tokens.starts_with(&run.completion.tokens));
            } else {
                prop_assert_eq!(but_for_cache(run.completion), expected);
            }
        }
    }
}

fn engine_with(change: impl FnOnce(&mut EngineOptions)) -> Engine {
    engine(&TINY, change)
}

#[test]
fn a_full_queue_says_when_to_come_back() {
    let mut engine = engine_with(|options| {
        options.max_sequences = 1;
        options.max_queue = 1;
    });
    // One will begin at once, one will wait.
    let first = engine.submit(request(vec![5; 10], 4, 1)).unwrap().id;
    engine.submit(request(vec![5; 10], 4, 1)).unwrap();
    let refused = engine.submit(request(vec![5; 10], 4, 1)).unwrap_err();
    assert!(
        matches!(
            refused,
            EngineError::Overloaded {
                retry_after_ms: 100..
            }
        ),
        "{refused:?}"
    );
    engine.step(&mut |_| {});
    assert_eq!((engine.stats().running, engine.stats().queued), (1, 1));
    assert!(matches!(
        engine.submit(request(vec![5], 1, 1)),
        Err(EngineError::Overloaded { .. })
    ));
    assert!(engine.cancel(first));
    engine.submit(request(vec![5], 1, 1)).unwrap();
}

#[test]
fn cancelling_frees_the_place_in_queue_prefill_and_decode() {
    let mut engine = engine_with(|options| {
        options.max_sequences = 2;
        options.prefill_chunk = 8;
    });
    let decoding = engine.submit(request(vec![5; 4], 100, 1)).unwrap().id;
    let prefilling = engine.submit(request(vec![5; 200], 5, 1)).unwrap().id;
    let queued = engine.submit(request(vec![5; 4], 5, 1)).unwrap().id;
    let mut heard = Vec::new();
    for _ in 0..4 {
        engine.step(&mut |(id, _)| heard.push(id));
    }
    assert!(heard.iter().all(|id| *id == decoding) && !heard.is_empty());
    assert_eq!((engine.stats().running, engine.stats().queued), (2, 1));
    assert!(engine.stats().kv_bytes > 0);
    for (id, left) in [(queued, (2, 0)), (prefilling, (1, 0)), (decoding, (0, 0))] {
        assert!(engine.cancel(id));
        assert!(!engine.cancel(id));
        assert_eq!((engine.stats().running, engine.stats().queued), left);
    }
    assert_eq!(engine.stats().kv_bytes, 0);
    assert_eq!(engine.stats().cancelled, 3);
    assert!(!engine.step(&mut |_| {}));
}

#[test]
fn a_long_prompt_never_stops_a_running_stream() {
    let mut engine = engine_with(|options| {
        options.prefill_chunk = 8;
        options.max_step = MaxStep::Off;
    });
    let stream = engine.submit(request(vec![5; 4], 60, 1)).unwrap().id;
    engine.step(&mut |_| {});
    let long = engine.submit(request(vec![7; 150], 5, 1)).unwrap().id;
    let short = engine.submit(request(vec![9; 8], 50, 1)).unwrap().id;
    let mut order = Vec::new();
    for _ in 0..10 {
        let mut now = Vec::new();
        engine.step(&mut |(id, _)| now.push(id));
        assert!(
            now.contains(&stream),
            "the running stream has a token every step"
        );
        order.extend(now);
    }
    // Half of each step's budget is the short prompt's: in after two steps, long before the long
    // one.
    assert!(order.contains(&short) && !order.contains(&long));
}

#[test]
fn a_full_context_ends_with_length() {
    let mut engine = engine_with(|options| options.max_context = Some(40));
    let unlimited = Request {
        sampling: greedy(),
        ..Request::new(Prompt::Tokens(vec![3; 30]))
    };
    let completion = complete(&mut engine, unlimited).unwrap();
    let finish = completion.last.unwrap().finish.unwrap();
    assert_eq!(finish.reason, FinishReason::Length);
    assert_eq!(
        (finish.usage.prompt_tokens, finish.usage.completion_tokens),
        (30, 10)
    );
    assert_eq!(completion.tokens.len(), 10);
    let fits = Request {
        sampling: greedy(),
        ..Request::new(Prompt::Tokens(vec![3; 39]))
    };
    assert_eq!(complete(&mut engine, fits).unwrap().tokens.len(), 1);
}

#[test]
fn threads_and_instruction_sets_draw_the_same_tokens() {
    let tokens = |isa, threads| {
        let mut engine = engine_with(|options| {
            options.isa = isa;
            options.threads = threads;
        });
        complete(&mut engine, request((3..80).collect(), 30, 42)).unwrap()
    };
    let oracle = tokens(Isa::SCALAR, 1);
    assert_eq!(oracle.tokens.len(), 30);
    for isa in Isa::supported() {
        for threads in [1, 2] {
            assert_eq!(
                tokens(isa, threads),
                oracle,
                "{} on {threads} threads",
                isa.name()
            );
        }
    }
}

#[test]
fn lower_numbers_come_first() {
    let mut engine = engine_with(|options| options.max_sequences = 1);
    let mut submit = |priority| {
        let request = Request {
            priority,
            ..request(vec![5; 4], 2, 1)
        };
        engine.submit(request).unwrap().id
    };
    let ids = [0, 1, 0, -1].map(&mut submit);
    let mut ended = Vec::new();
    while engine.step(&mut |(id, event)| {
        if event.unwrap().finish.is_some() {
            ended.push(id);
        }
    }) {}
    assert_eq!(ended, [ids[3], ids[0], ids[2], ids[1]]);
}

#[test]
fn the_first_of_two_long_prompts_is_in_long_before_the_other() {
    let mut engine = engine_with(|options| {
        options.prefill_chunk = 16;
        options.max_step = MaxStep::Off;
    });
    let ids = [3, 8].map(|token| engine.submit(request(vec![token; 160], 1, 1)).unwrap().id);
    let mut steps = Vec::new();
    let mut step = 0;
    loop {
        step += 1;
        if !engine.step(&mut |(id, _)| steps.push((id, step))) {
            break;
        }
    }
    // As soon as it would be alone; equal shares would have both wait for 20 steps.
    assert_eq!(steps, [(ids[0], 10), (ids[1], 20)]);
}

/// With the feature `native`, where there are threads. So many sequences that choosing their tokens
/// is worth sharing.
#[test]
fn tokens_are_the_same_whatever_the_number_of_threads() {
    let run = |threads| {
        let mut engine = engine(&TINY, |options| {
            options.max_sequences = 40;
            options.threads = threads;
        });
        let ids: Vec<GenerationId> = (0..40)
            .map(|seed| {
                let mut request = request(vec![3 + seed; 4], 12, seed.into());
                request.sampling.top_k = None;
                request.sampling.top_p = Some(0.9);
                request.sampling.repetition_penalty = Some(1.1);
                // Of some, what else is made of logits.
                request.logprobs = seed.is_multiple_of(3).then_some(4);
                request.prompt_logprobs = seed.is_multiple_of(5).then_some(2);
                engine.submit(request).unwrap().id
            })
            .collect();
        let mut completions: HashMap<GenerationId, Completion> = HashMap::new();
        while engine.step(&mut |(id, event)| {
            completions.entry(id).or_default().add(event.unwrap());
        }) {}
        let completions = ids.iter().map(|id| completions.remove(id).unwrap());
        completions.collect::<Vec<_>>()
    };
    let alone = run(1);
    assert!(alone.iter().all(|completion| completion.last.is_some()));
    for threads in [2, 3] {
        assert!(run(threads) == alone, "{threads} threads");
    }
}

#[test]
fn one_clients_requests_keep_no_others_first_waiting() {
    let mut engine = engine_with(|options| options.max_sequences = 1);
    let mut submit = |client| {
        let request = Request {
            client,
            ..request(vec![5; 4], 2, 1)
        };
        engine.submit(request).unwrap().id
    };
    let mut ids = [1; 6].map(&mut submit).to_vec();
    ids.push(submit(2));
    let mut ended = Vec::new();
    while engine.step(&mut |(id, event)| {
        if event.unwrap().finish.is_some() {
            ended.push(id);
        }
    }) {}
    let other = ids.remove(6);
    ids.insert(1, other);
    assert_eq!(ended, ids);
}

#[test]
fn who_is_late_ends_wherever_it_is_and_leaves_nothing_behind() {
    const TIME: Duration = Duration::from_secs(2);
    let mut engine = engine_with(|options| options.max_sequences = 1);
    let timed = |time: Duration| Request {
        timeout_ms: Some(time.as_millis() as u32),
        ..request(vec![5; 4], 300, 1)
    };
    let running = engine.submit(timed(TIME)).unwrap().id;
    let waiting = engine.submit(timed(Duration::ZERO)).unwrap().id;
    let patient = engine.submit(request(vec![5; 4], 3, 2)).unwrap().id;
    let mut step = || {
        let mut delivered = Vec::new();
        engine.step(&mut |delivery| delivered.push(delivery));
        (delivered, engine.stats())
    };
    let (delivered, stats) = step();
    assert_eq!(delivered[0], (waiting, Err(EngineError::TimedOut)));
    assert_eq!((delivered[1].0, delivered.len()), (running, 2));
    assert_eq!((stats.running, stats.queued, stats.cancelled), (1, 1, 1));
    std::thread::sleep(TIME);
    let (delivered, stats) = step();
    assert_eq!(delivered[0], (running, Err(EngineError::TimedOut)));
    // Its place is free at once.
    assert_eq!((delivered[1].0, delivered.len()), (patient, 2));
    assert_eq!((stats.running, stats.queued, stats.cancelled), (1, 0, 2));
    while !step().0.is_empty() {}
    let stats = engine.stats();
    assert_eq!((stats.running, stats.finished), (0, 1));
    assert_eq!(stats.kv_bytes, 0);
}
