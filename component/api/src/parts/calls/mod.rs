//! Calls of functions in what a model writes, in the form that its template has
//! (`wit/engine.wit`).

mod bare;
mod builtin;
mod object;
mod prose;
mod tagged;

use super::Part;
use crate::engine::CallForm;
use bare::Bare;
use tagged::Tagged;

/// Tells calls from text.
#[derive(Debug)]
pub(super) enum Calls {
    Tagged(Tagged),
    Bare(Bare),
}

impl Calls {
    /// Of functions of these `names`; those between tags are any.
    pub(super) fn new(form: CallForm, names: Vec<String>) -> Self {
        match form {
            CallForm::Tagged(tags) => Calls::Tagged(Tagged::new(tags)),
            CallForm::Bare => Calls::Bare(Bare::new(names)),
        }
    }

    /// True if some of what came is not told yet, or the call to which it belongs is not complete.
    pub(super) fn holds(&self) -> bool {
        match self {
            Calls::Tagged(calls) => calls.holds(),
            Calls::Bare(calls) => calls.holds(),
        }
    }

    /// Append what is certain to `parts`.
    pub(super) fn push(&mut self, text: &str, last: bool, parts: &mut Vec<Part>) {
        match self {
            Calls::Tagged(calls) => calls.push(text, last, parts),
            Calls::Bare(calls) => calls.push(text, last, parts),
        }
    }
}
