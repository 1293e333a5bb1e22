//! Embeddings: which states they are made of, and that inputs share the engine with generations.

use std::sync::{Arc, LazyLock};

use crate::support::{batch, complete, embed, engine, fixture, forward, greedy, load, open};
use sterna_engine::config::Pooling;
use sterna_engine::error::EngineError;
use sterna_engine::model::Model;
use sterna_engine::request::{Prompt, Request};
use sterna_kernels::{Isa, KvType};

static TINY: LazyLock<Arc<Model>> = LazyLock::new(|| load("packed-autobitlinear"));

fn prompt() -> Prompt {
    Prompt::Tokens(vec![1, 17, 300, 42])
}

/// A long input is taken in by parts, with a token of each running generation beside every part,
/// and neither changes the other.
#[test]
fn an_embedding_in_parts_is_the_same_and_lets_others_go_on() {
    let mut engine = engine(&TINY, |options| options.prefill_chunk = 4);
    let input: Vec<u32> = (0..30).map(|at| at * 7 % 500 + 3).collect();
    let alone = embed(&mut engine, Prompt::Tokens(input.clone())).unwrap().0;
    let request = Request {
        max_tokens: Some(40),
        sampling: greedy(),
        ..Request::new(prompt())
    };
    let expected = complete(&mut engine, request.clone()).unwrap().tokens;

    let generation = engine.submit(request).unwrap().id;
    let mut tokens = Vec::new();
    engine.step(&mut |(_, event)| tokens.extend(event.unwrap().tokens));
    engine
        .submit(Request::to_embed(Prompt::Tokens(input)))
        .unwrap();
    // The prompt is in: each step has a token of the generation and four of the input.
    let (mut steps, mut vector) = (0, None);
    while engine.step(&mut |(id, event)| {
        let event = event.unwrap();
        assert_eq!(event.embedding.is_some(), id != generation);
        tokens.extend(event.tokens);
        vector = vector.take().or(event.embedding);
    }) {
        steps += usize::from(vector.is_none());
    }
    assert_eq!((vector.unwrap(), steps), (alone, 30_usize.div_ceil(4) - 1));
    assert_eq!(tokens, expected);
    assert_eq!(engine.stats().kv_bytes, 0);
}

/// Short inputs share a batch, and each gets what it gets alone.
#[test]
fn inputs_share_a_batch() {
    let mut engine = engine(&TINY, |options| options.max_sequences = 4);
    let inputs: Vec<Vec<u32>> = (1..=6)
        .map(|n| (0..n).map(|at| at * 5 + n).collect())
        .collect();
    let mut alone = Vec::new();
    for input in &inputs {
        alone.push(embed(&mut engine, Prompt::Tokens(input.clone())).unwrap().0);
    }
    let before = engine.stats();
    let submit = |input| {
        engine
            .submit(Request::to_embed(Prompt::Tokens(input)))
            .unwrap()
            .id
    };
    let ids: Vec<_> = inputs.into_iter().map(submit).collect();
    let mut together = vec![Vec::new(); ids.len()];
    while engine.step(&mut |(id, event)| {
        let at = ids.iter().position(|of| *of == id).unwrap();
        together[at] = event.unwrap().embedding.unwrap();
    }) {}
    assert_eq!(together, alone);
    let stats = engine.stats();
    assert_eq!(stats.steps - before.steps, 2, "four, then the other two");
    assert_eq!(stats.finished - before.finished, 6);
}

/// The mean and the first token's state, against states that are taken one by one.
#[test]
fn each_pooling_equals_the_states_taken_alone() {
    let tokens = [7, 300, 41, 5, 9, 12, 100];
    let states: Vec<Vec<f32>> = (0..tokens.len())
        .map(|last| {
            let (mut forward, mut kv) = forward(&TINY, Isa::SCALAR, 1, 16, 1);
            forward
                .run_layers(&batch(0, &tokens[..=last]), &mut kv)
                .unwrap();
            forward.final_state(last).unwrap()
        })
        .collect();
    let width = states[0].len();
    let mean = (0..width).map(|at| states.iter().map(|state| f64::from(state[at])).sum::<f64>());
    let numbers = |state: &[f32]| state.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    for (pooling, state) in [
        (Pooling::Last, numbers(&states[tokens.len() - 1])),
        (Pooling::First, numbers(&states[0])),
        (Pooling::Mean, mean.collect()),
    ] {
        let mut model = open(&fixture("packed-autobitlinear"));
        model.config.embedding.pooling = Some(pooling);
        // Chunks that cut the input.
        let mut engine = engine(&Arc::new(model), |options| {
            options.prefill_chunk = 3;
            // As `forward` has it.
            options.kv_type = KvType::F32;
        });
        let (vector, length) = embed(&mut engine, Prompt::Tokens(tokens.to_vec())).unwrap();
        assert_eq!(length as usize, tokens.len());
        let norm = state.iter().map(|v| v * v).sum::<f64>().sqrt();
        for (got, want) in vector.iter().zip(&state) {
            assert!((f64::from(*got) - want / norm).abs() < 1e-6, "{pooling:?}");
        }
    }
}

#[test]
fn a_model_for_embeddings_ends_texts_and_does_not_generate() {
    let mut model = open(&fixture("packed-autobitlinear"));
    model.config.embedding.end_token = Some(3);
    model.config.embedding.pooling = Some(Pooling::Last);
    let model = Arc::new(model);
    let mut engine = engine(&model, |_| {});
    let text = || Prompt::Text("Hello".into());
    let mut tokens = model.tokenize("Hello", true).unwrap();
    tokens.push(3);
    let (ended, length) = embed(&mut engine, text()).unwrap();
    assert_eq!(length as usize, tokens.len());
    assert_eq!(embed(&mut engine, Prompt::Tokens(tokens)).unwrap().0, ended);
    let plain = Prompt::Tokens(model.tokenize("Hello", true).unwrap());
    assert_ne!(
        embed(&mut engine, plain).unwrap().0,
        ended,
        "token ids are used as they are"
    );
    for prompt in [text(), prompt()] {
        let refused = engine.submit(Request::new(prompt)).unwrap_err();
        assert!(
            matches!(&refused, EngineError::InvalidRequest { field, message }
                if field == "model" && message.contains("/v1/embeddings")),
            "{refused:?}"
        );
    }
    // An input may fill the context, its end included.
    let full = vec![5; model.config.context_length];
    assert!(embed(&mut engine, Prompt::Tokens(full.clone())).is_ok());
    let long = Prompt::Tokens([full, vec![5]].concat());
    assert!(matches!(
        embed(&mut engine, long),
        Err(EngineError::ContextOverflow { .. })
    ));
}

#[test]
fn an_embedding_that_is_given_up_frees_its_cache() {
    let mut engine = engine(&TINY, |options| options.prefill_chunk = 4);
    let request = Request::to_embed(Prompt::Tokens(vec![5; 20]));
    let id = engine.submit(request).unwrap().id;
    assert!(engine.step(&mut |_| panic!("four of twenty tokens")));
    let stats = engine.stats();
    assert!(stats.kv_bytes > 0 && stats.kv_reserved_bytes > 0);
    assert!(engine.cancel(id));
    let stats = engine.stats();
    assert_eq!((stats.kv_bytes, stats.kv_reserved_bytes), (0, 0));
}
