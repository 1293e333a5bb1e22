//! Log probabilities of generated and of prompt tokens: equal to the reference's, and the same bits
//! however they are computed.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::support::{argmax, batch, demo, engine, forward, greedy, ids, json, load, reference};
use sterna_engine::model::Model;
use sterna_engine::options::{EngineOptions, Speculation};
use sterna_engine::request::{Event, FinishReason, Prompt, Request, Sampling, TokenDetail};
use sterna_kernels::{Isa, KvType};

/// What is told of a request's prompt and of its generated tokens, and its last event.
#[derive(Clone, Debug, Default, PartialEq)]
struct Told {
    prompt: Vec<TokenDetail>,
    generated: Vec<TokenDetail>,
    tokens: Vec<u32>,
    text: String,
    last: Option<Event>,
}

/// Run requests side by side.
fn run_all(
    model: &Arc<Model>,
    requests: &[Request],
    change: impl FnOnce(&mut EngineOptions),
) -> Vec<Told> {
    let mut engine = engine(model, change);
    let mut told = BTreeMap::new();
    for request in requests {
        told.insert(engine.submit(request.clone()).unwrap().id, Told::default());
    }
    while engine.step(&mut |(id, event)| {
        let told: &mut Told = told.get_mut(&id).unwrap();
        let event = event.unwrap();
        assert!(
            event.prompt.is_empty() || told.tokens.is_empty(),
            "the prompt comes first"
        );
        told.prompt.extend(event.prompt.clone());
        told.generated.extend(event.details.clone());
        told.tokens.extend(&event.tokens);
        told.text += &event.text;
        told.last = event.finish.is_some().then_some(event);
    }) {}
    told.into_values().collect()
}

fn run(model: &Arc<Model>, request: &Request) -> Told {
    run_all(model, std::slice::from_ref(request), |_| {}).remove(0)
}

fn scored(prompt: &[u32], generated: u32, top: u32) -> Request {
    Request {
        max_tokens: Some(generated),
        logprobs: Some(top),
        prompt_logprobs: Some(top),
        sampling: greedy(),
        ..Request::new(Prompt::Tokens(prompt.into()))
    }
}

fn log_softmax(logits: &[f32], token: u32) -> f64 {
    let max = f64::from(logits[argmax(logits) as usize]);
    let sum: f64 = logits
        .iter()
        .map(|&logit| (f64::from(logit) - max).exp())
        .sum();
    f64::from(logits[token as usize]) - max - sum.ln()
}

#[test]
fn a_prompts_probabilities_are_the_references() {
    let prompt = ids(&json("expected.json")["ids"]);
    let model = load("packed-autobitlinear");
    let vocab_size = model.config.vocab_size;
    let request = [scored(&prompt, 1, 5)];
    // As the reference's.
    let told = run_all(&model, &request, |options| options.kv_type = KvType::F32).remove(0);
    assert_eq!(told.prompt.len(), prompt.len());
    assert_eq!((told.prompt[0].logprob, told.prompt[0].rank), (None, 0));
    assert!(told.prompt[0].top.is_empty());
    let (mut forward, mut kv) = forward(&model, Isa::detect(), 1, prompt.len(), 1);
    let own = forward.forward(&batch(0, &prompt), &mut kv).unwrap();
    let transformers = reference("packed_autobitlinear__float32");
    let rows = own
        .chunks_exact(vocab_size)
        .zip(transformers.chunks_exact(vocab_size));
    let mut differences = Vec::new();
    for (place, (own, theirs)) in told.prompt[1..].iter().chain(&told.generated).zip(rows) {
        let exact = |token, got: f32| {
            let expected = log_softmax(own, token);
            assert!((f64::from(got) - expected).abs() < 1e-4, "{got} {expected}");
        };
        exact(place.token, place.logprob.unwrap());
        place
            .top
            .iter()
            .for_each(|one| exact(one.token, one.logprob));
        assert_eq!(place.top.len(), 5);
        assert!(place.top.is_sorted_by(|a, b| a.logprob >= b.logprob));
        assert_eq!(place.top[0].token, argmax(theirs));
        let in_top = place.top.iter().position(|one| one.token == place.token);
        assert_eq!(
            in_top.map(|at| at + 1),
            Some(place.rank as usize).filter(|&rank| rank <= 5)
        );
        let likely = &place.top[0];
        differences.push((f64::from(likely.logprob) - log_softmax(theirs, likely.token)).abs());
    }
    assert_eq!(differences.len(), prompt.len());
    // Rounding flips, as for logits (fixtures.rs).
    let mean = differences.iter().sum::<f64>() / differences.len() as f64;
    println!("log probabilities of the likeliest tokens differ by {mean:.5} in the mean");
    assert!(mean < 0.1, "{differences:?}");
}

/// What was generated has the bits it gets as a prompt.
#[test]
fn generated_tokens_and_prompts_have_the_same_bits_on_every_way() {
    let model = demo();
    let prompt: Vec<u32> = (0..90).map(|i| (i * 37) % 400 + 5).collect();
    let alone = run(&model, &scored(&prompt, 24, 3));
    assert_eq!(alone.tokens.len(), alone.generated.len());
    let all = [prompt.as_slice(), &alone.tokens].concat();
    let again = run(&model, &scored(&all, 0, 3));
    assert_eq!(again.prompt[..prompt.len()], alone.prompt);
    assert_eq!(again.prompt[prompt.len()..], alone.generated);
    let others: Vec<Request> = (0..6)
        .map(|i| scored(&prompt[i * 9..], 10 + i as u32, 20))
        .collect();
    let apart: Vec<Told> = others.iter().map(|request| run(&model, request)).collect();
    for chunk in [1, 3, 64] {
        let together = run_all(&model, &others, |options| {
            options.prefill_chunk = chunk;
            options.max_sequences = 4;
            options.speculation = Speculation::Always(15);
        });
        assert_eq!(together, apart, "{chunk}");
    }
    for isa in Isa::supported() {
        let with = |options: &mut EngineOptions| {
            (options.isa, options.threads) = (isa, 2);
        };
        let told = run_all(&model, &[scored(&prompt, 24, 3)], with).remove(0);
        assert_eq!(told, alone, "{}", isa.name());
    }
}

#[test]
fn a_prompt_is_told_without_an_answer_and_without_probabilities() {
    let model = demo();
    for prompt in [vec![5], vec![5, 6, 7]] {
        let request = scored(&prompt, 0, 2);
        let told = run(&model, &request);
        let tokens: Vec<u32> = told.prompt.iter().map(|one| one.token).collect();
        assert_eq!(
            (tokens, told.tokens.len(), told.text.as_str()),
            (prompt.clone(), 0, "")
        );
        let finish = told.last.unwrap().finish.unwrap();
        assert_eq!(finish.reason, FinishReason::Length);
        let usage = finish.usage;
        assert_eq!(
            (usage.prompt_tokens as usize, usage.completion_tokens),
            (prompt.len(), 0)
        );
        let echo = Request {
            echo: true,
            prompt_logprobs: None,
            logprobs: None,
            ..request
        };
        let echoed = run(&model, &echo).prompt;
        assert_eq!(echoed.len(), prompt.len());
        for (one, token) in echoed.iter().zip(&prompt) {
            assert_eq!((one.token, one.logprob, one.rank), (*token, None, 0));
            assert_eq!(one.bytes, model.tokenizer.token_bytes(*token).unwrap());
        }
    }
    let whole = Request {
        echo: true,
        ..Request::new(Prompt::Tokens(vec![5; model.config.context_length]))
    };
    // A prompt may fill the context if nothing is generated.
    let filling = Request {
        max_tokens: Some(0),
        ..whole.clone()
    };
    assert_eq!(
        run(&model, &filling).prompt.len(),
        model.config.context_length
    );
    assert!(engine(&model, |_| {}).submit(whole).is_err());
}

#[test]
fn probabilities_are_the_models_own_whatever_is_sampled() {
    let model = demo();
    let prompt = [5, 6, 7];
    let plain = run(&model, &scored(&prompt, 1, 20));
    let other = plain.generated[0].top[9].clone();
    let forced = run(
        &model,
        &Request {
            logit_bias: vec![(other.token, 100.0)],
            sampling: Sampling {
                temperature: Some(0.3),
                repetition_penalty: Some(1.7),
                ..Sampling::default()
            },
            ..scored(&prompt, 1, 20)
        },
    );
    assert_eq!(forced.tokens, [other.token]);
    let detail = &forced.generated[0];
    assert_eq!((detail.logprob, detail.rank), (Some(other.logprob), 10));
    assert_eq!(detail.top, plain.generated[0].top);
    assert_eq!(detail.bytes, other.bytes);
}

/// The logits of a chunk are all that is held, whatever the prompts' length and number.
#[test]
fn prompts_are_scored_in_chunks_that_all_of_them_share() {
    let model = demo();
    let prompt: Vec<u32> = (0..90).map(|i| (i * 37) % 400 + 5).collect();
    for (others, steps) in [(0, 3), (1, 6), (3, 12)] {
        let mut engine = engine(&model, |options| options.max_sequences = 8);
        for i in 0..=others {
            // Other tokens each, so that nothing is shared.
            let prompt: Vec<u32> = prompt.iter().map(|token| token + i).collect();
            engine.submit(scored(&prompt, 0, 1)).unwrap();
        }
        while engine.step(&mut |(_, event)| drop(event.unwrap())) {}
        let stats = engine.stats();
        assert!(stats.steps >= steps, "{} steps", stats.steps);
        assert_eq!(stats.finished, u64::from(others) + 1);
    }
}
