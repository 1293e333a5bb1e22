//! Arguments of a call.

use std::sync::Arc;

use super::error::{Result, fail, shown};
use super::value::Value;

/// The arguments of one call, evaluated.
#[derive(Clone, Debug, Default)]
pub(super) struct Arguments {
    pub(super) positional: Vec<Value>,
    pub(super) keyword: Vec<(Arc<str>, Value)>,
}

/// Arguments by the places of the parameters; `None` where there is none.
pub(super) type Bound<const N: usize> = [Option<Value>; N];

impl Arguments {
    /// The arguments of a builtin with these parameters.
    ///
    /// # Errors
    /// More arguments than parameters, or a name that none of them has.
    pub(super) fn bind<const N: usize>(self, of: &str, names: [&str; N]) -> Result<Bound<N>> {
        let mut bound: Bound<N> = std::array::from_fn(|_| None);
        if self.positional.len() > N {
            return fail(format!(
                "{of} takes at most {N} arguments, not {}",
                self.positional.len()
            ));
        }
        for (place, value) in bound.iter_mut().zip(self.positional) {
            *place = Some(value);
        }
        for (name, value) in self.keyword {
            match names.iter().position(|own| **own == *name) {
                Some(at) if bound[at].is_none() => bound[at] = Some(value),
                Some(_) => return fail(format!("{of} has two values for `{name}`")),
                None => {
                    return fail(format!("{of} has no argument `{}`", shown(&name)));
                }
            }
        }
        Ok(bound)
    }

    /// An argument that must be there, taken from the front.
    pub(super) fn first(&mut self, of: &str) -> Result<Value> {
        if self.positional.is_empty() {
            return fail(format!("{of} wants an argument"));
        }
        Ok(self.positional.remove(0))
    }
}

/// The argument of this name, which must be there.
pub(super) fn wanted(value: Option<Value>, of: &str, name: &str) -> Result<Value> {
    match value {
        Some(value) => Ok(value),
        None => fail(format!("{of} wants the argument `{name}`")),
    }
}
