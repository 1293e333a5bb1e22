//! Shared code of the targets: a model that came out of damaged bytes has to work, or to have been
//! refused.

pub mod jinja;
pub mod spans;

use std::sync::Arc;

use sterna_engine::engine::Engine;

use sterna_engine::model::Model;
use sterna_engine::options::EngineOptions;
use sterna_engine::request::{Prompt, Request};
use sterna_kernels::Isa;

/// Tables and a layer larger than this take a target's time and find nothing that smaller ones do
/// not.
const MOST_PARAMETERS: u64 = 4 << 20;

/// Tokenises, renders and generates with a model that was accepted.
pub fn exercise(model: Model) {
    if model.parameters() > MOST_PARAMETERS {
        return;
    }
    let text = "Once 12 <s>\u{1F600}";
    if let Ok(ids) = model.tokenize(text, true) {
        model.detokenize(&ids);
    }
    let message = sterna_engine::request::Message::new("user", text);
    let _ = model.encode_messages(&vec![message.clone()].into());
    let mut options = EngineOptions::new(Isa::detect());
    options.threads = 1;
    options.max_kv_bytes = Some(16 << 20);
    let Ok(mut engine) = Engine::new(Arc::new(model), options) else {
        return;
    };
    for prompt in [
        Prompt::Text(text.into()),
        Prompt::Messages(vec![message].into()),
        Prompt::Tokens(vec![0, 1, u32::MAX]),
        Prompt::Tokens(vec![0, 1]),
    ] {
        let mut request = Request::new(prompt);
        request.max_tokens = Some(3);
        let _ = engine.submit(request);
    }
    // Two prompts in chunks and three tokens: far fewer steps than this.
    for _ in 0..64 {
        if !engine.step(&mut |_| ()) {
            return;
        }
    }
    panic!("the engine does not end");
}

/// Embeds a text with a model that was accepted: the vector has length 1, or nothing in it.
pub fn embed(model: Model) {
    if model.parameters() > MOST_PARAMETERS {
        return;
    }
    let mut options = EngineOptions::new(Isa::detect());
    options.threads = 1;
    options.max_kv_bytes = Some(16 << 20);
    let Ok(mut engine) = Engine::new(Arc::new(model), options) else {
        return;
    };
    if engine
        .submit(Request::to_embed(Prompt::Text("the dog 12".into())))
        .is_err()
    {
        return;
    }
    let mut ended = false;
    // One short prompt: far fewer steps than this.
    for _ in 0..64 {
        engine.step(&mut |(_, event)| {
            ended = true;
            if let Some(vector) = event.ok().and_then(|event| event.embedding) {
                let squares: f64 = vector.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
                assert!(squares == 0.0 || (squares - 1.0).abs() < 1e-3, "{squares}");
            }
        });
    }
    assert!(ended, "the engine does not end");
}

/// Splits an input at the separator, which no JSON text and no template needs.
pub fn parts<const N: usize>(input: &[u8]) -> [&[u8]; N] {
    let mut rest = input.splitn(N, |&byte| byte == SEPARATOR);
    std::array::from_fn(|_| rest.next().unwrap_or_default())
}

/// Between the parts of an input that has several.
pub const SEPARATOR: u8 = 0xFF;
