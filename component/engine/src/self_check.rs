//! A model's self-test: the same greedy tokens from the reference kernels and from those that would
//! serve it.

use std::sync::Arc;

use sterna_kernels::Isa;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::model::Model;
use crate::options::{EngineOptions, Speculation};
use crate::request::{Prompt, Request, Sampling};

/// Greedy tokens of both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfCheck {
    /// Of the scalar kernels.
    pub reference: Vec<u32>,
    /// Of the chosen instruction set, with all its optimisations.
    pub chosen: Vec<u32>,
}

impl SelfCheck {
    /// True if they are the same.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.reference == self.chosen
    }
}

/// Continue a text of a few tokens by `n` greedy ones on both.
///
/// # Errors
/// As [`Engine::new`] and a generation.
pub fn self_check(
    model: &Arc<Model>,
    isa: Isa,
    threads: usize,
    n: u32,
) -> Result<SelfCheck, EngineError> {
    let tokens = |isa, speculation| {
        let options = EngineOptions {
            max_sequences: 1,
            threads,
            speculation,
            ..EngineOptions::new(isa)
        };
        greedy(model, options, n)
    };
    Ok(SelfCheck {
        reference: tokens(Isa::SCALAR, Speculation::Off)?,
        chosen: tokens(isa, Speculation::Adaptive)?,
    })
}

/// A beginning that every model can go on from.
const TEXT: &str = "The quick brown fox";

fn greedy(model: &Arc<Model>, options: EngineOptions, n: u32) -> Result<Vec<u32>, EngineError> {
    let mut engine = Engine::new(model.clone(), options)?;
    engine.submit(Request {
        max_tokens: Some(n),
        sampling: Sampling {
            temperature: Some(0.0),
            ..Sampling::default()
        },
        ..Request::new(Prompt::Text(TEXT.into()))
    })?;
    let (mut tokens, mut fault) = (Vec::new(), None);
    while engine.step(&mut |(_, event)| match event {
        Ok(event) => tokens.extend(event.tokens),
        Err(error) => fault = Some(error),
    }) {}
    fault.map_or(Ok(tokens), Err)
}
