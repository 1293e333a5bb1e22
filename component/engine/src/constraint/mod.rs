//! Structured output: a generation whose text follows a grammar.
//!
//! A grammar (`grammar`, `gbnf`) is compiled by llguidance against the model's vocabulary
//! (`vocabulary`), once for each text of it (`compiler`). Each sequence has a guard of its own
//! (`guard`), which says before each token which ones may be chosen, and is told which one was.
//! So a drafted token is judged as any other: by the logits after the tokens before it, within
//! the mask that those tokens leave.
//!
//! Nothing of it is made before the first request with a constraint: loading and baking a model do
//! not know of it.

mod chain;
mod compiler;
mod gbnf;
mod grammar;
mod guard;
mod schema;
#[cfg(test)]
mod tests;
mod vocabulary;

pub use compiler::Constraints;
pub use guard::Guard;
use guard::Start;

use crate::error::EngineError;
use crate::model::Model;
use crate::request::Constraint;

/// The field at fault where a grammar is, as WIT names it.
const FIELD: &str = "constraint";

/// Compile a request's constraint for a completion of `prompt`.
///
/// # Errors
/// `InvalidRequest` for the field `constraint`, where the grammar is damaged, too large or asks for
/// what cannot be enforced.
pub fn compile(
    model: &Model,
    constraint: &Constraint,
    prompt: &[u32],
) -> Result<Guard, EngineError> {
    let matcher = model
        .constraints
        .matcher(&model.tokenizer, &constraint.grammar)?;
    let start = match &constraint.trigger {
        Some(trigger) => {
            grammar::check_trigger(trigger)?;
            Start::Trigger(trigger.clone())
        }
        None if constraint.after_reasoning => Start::of_reasoning(model, prompt),
        None => Start::AtOnce,
    };
    Ok(Guard::new(matcher, start, &model.tokenizer))
}

fn invalid(message: impl Into<String>) -> EngineError {
    EngineError::InvalidRequest {
        field: FIELD.into(),
        message: message.into(),
    }
}
