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
mod deep_stack;
mod gbnf;
mod grammar;
mod guard;
mod keywords;
mod lark;
mod schema;
#[cfg(test)]
mod tests;
mod vocabulary;

pub use compiler::Constraints;
use guard::Start;
pub use guard::{Guard, Reasoning};

use crate::error::EngineError;
use crate::request::Constraint;
use crate::tokenizer::Tokenizer;

/// The field at fault where a grammar is, as WIT names it.
const FIELD: &str = "constraint";

/// Compile a request's constraint, for an answer that may begin with `reasoning`.
///
/// # Errors
/// `InvalidRequest` for the field `constraint`, where the grammar is damaged, too large or asks for
/// what cannot be enforced.
pub fn compile(
    constraints: &Constraints,
    tokenizer: &Tokenizer,
    constraint: &Constraint,
    reasoning: Option<Reasoning>,
) -> Result<Guard, EngineError> {
    let matcher = constraints.matcher(tokenizer, &constraint.grammar)?;
    let start = match &constraint.trigger {
        Some(trigger) => {
            grammar::check_trigger(trigger)?;
            Start::Trigger(trigger.clone())
        }
        None if constraint.after_reasoning => Start::behind(reasoning, tokenizer),
        None => Start::AtOnce,
    };
    Ok(Guard::new(matcher, start, tokenizer))
}

fn invalid(message: impl Into<String>) -> EngineError {
    EngineError::InvalidRequest {
        field: FIELD.into(),
        message: message.into(),
    }
}
