//! The attributes of `loop`.

use super::args::Arguments;
use super::error::{Result, fail, shown};
use super::limits::{Budget, MAX_HELD_DEPTH};
use super::value::{Loop, Value};

fn count(n: usize) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

/// `loop.name`, save for the methods; `None` where there is no such attribute.
pub(super) fn attribute(state: &Loop, name: &str) -> Option<Value> {
    let (at, len) = (state.index.get(), state.items.len());
    let item = |at: Option<usize>| {
        let item = at.and_then(|at| state.items.get(at));
        item.cloned().unwrap_or(Value::Undefined)
    };
    Some(match name {
        "index" => count(at + 1),
        "index0" => count(at),
        "revindex" => count(len - at),
        "revindex0" => count(len - at - 1),
        "first" => Value::Bool(at == 0),
        "last" => Value::Bool(at + 1 == len),
        "length" => count(len),
        "depth" => count(state.depth + 1),
        "depth0" => count(state.depth),
        "previtem" => item(at.checked_sub(1)),
        "nextitem" => item(at.checked_add(1)),
        _ => return None,
    })
}

/// `loop.cycle(...)` and `loop.changed(...)`.
pub(super) fn method(state: &Loop, name: &str, args: Arguments, budget: &Budget) -> Result<Value> {
    match name {
        "cycle" => match args.positional.len() {
            0 => fail("loop.cycle wants arguments"),
            n => Ok(args.positional[state.index.get() % n].clone()),
        },
        "changed" => {
            let asked = Value::tuple(args.positional, budget)?;
            if asked.depth() > MAX_HELD_DEPTH {
                return fail("loop.changed compares texts, numbers and shallow lists");
            }
            let last = state.changed.replace(Some(asked.clone()));
            Ok(Value::Bool(match last {
                Some(last) => !last.equals(&asked, budget)?,
                None => true,
            }))
        }
        _ => fail(format!("loop has no method `{}`", shown(name))),
    }
}
