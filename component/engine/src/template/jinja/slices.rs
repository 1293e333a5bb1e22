//! `value[start:stop:step]`, as Python has it.

use super::error::{Result, fail};
use super::limits::Budget;
use super::value::Value;

/// The indices of a slice, from its bounds.
fn indices(len: usize, bounds: &[Value; 3]) -> Result<(i64, i64, i64)> {
    let len = len as i64;
    let bound = |value: &Value| match value {
        Value::None => Ok(None),
        value => value.as_int().map(Some),
    };
    let step = bound(&bounds[2])?.unwrap_or(1);
    if step == 0 {
        return fail("a slice with a step of zero");
    }
    // What a walk backwards ends before is one place before the first.
    let (low, high) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let clamp = |at: i64| {
        let at = if at < 0 { at.saturating_add(len) } else { at };
        at.clamp(low, high)
    };
    let (first, last) = if step > 0 { (low, high) } else { (high, low) };
    let start = bound(&bounds[0])?.map_or(first, clamp);
    let stop = bound(&bounds[1])?.map_or(last, clamp);
    Ok((start, stop, step))
}

/// A slice of a text, a list or a tuple.
pub(super) fn slice(value: &Value, bounds: &[Value; 3], budget: &Budget) -> Result<Value> {
    if let Value::Undefined = value {
        return fail("what is sliced is undefined");
    }
    let len = value.len(budget)?;
    let (start, stop, step) = indices(len, bounds)?;
    if let (Value::Str(text), 1) = (value, step) {
        let offset = |at: i64| {
            let at = usize::try_from(at).unwrap_or(0);
            text.char_indices().nth(at).map_or(text.len(), |(at, _)| at)
        };
        let (from, to) = (offset(start), offset(stop));
        return Value::text(text.get(from..to).unwrap_or_default(), budget);
    }
    let picked = std::iter::successors(Some(start), |at| at.checked_add(step))
        .take_while(|at| if step > 0 { *at < stop } else { *at > stop })
        .filter_map(|at| usize::try_from(at).ok());
    match value {
        Value::Str(text) => {
            budget.make(4 * len + text.len())?;
            let chars: Vec<char> = text.chars().collect();
            let picked: String = picked.filter_map(|at| chars.get(at)).collect();
            Ok(picked.into())
        }
        Value::List(items) | Value::Tuple(items) => {
            budget.slots(len)?;
            let picked = picked.filter_map(|at| items.get(at).cloned()).collect();
            match value {
                Value::List(_) => Value::list(picked, budget),
                _ => Value::tuple(picked, budget),
            }
        }
        other => fail(format!("'{}' object cannot be sliced", other.type_name())),
    }
}
