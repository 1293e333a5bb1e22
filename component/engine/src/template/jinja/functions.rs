//! The functions that every template finds.

use std::rc::Rc;

use super::super::clock;
use super::args::{Arguments, wanted};
use super::error::{Fault, Result, fail};
use super::limits::{Budget, MAX_RANGE};
use super::value::{Callable, DictBuilder, Function, Namespace, Value};

/// Most characters of a template's own message that an error repeats.
const MAX_MESSAGE: usize = 1000;

/// Their names.
pub(super) const FUNCTIONS: [(&str, Function); 5] = [
    ("range", Function::Range),
    ("dict", Function::Dict),
    ("namespace", Function::Namespace),
    ("raise_exception", Function::RaiseException),
    ("strftime_now", Function::StrftimeNow),
];

/// The function of this name.
pub(super) fn find(name: &str) -> Option<Value> {
    let (_, function) = FUNCTIONS.iter().find(|(own, _)| *own == name)?;
    Some(Value::Callable(Rc::new(Callable::Function(*function))))
}

pub(super) fn call(function: Function, args: Arguments, budget: &Budget) -> Result<Value> {
    match function {
        Function::Range => range(args, budget),
        Function::Dict => entries(args, budget)?.finish(),
        Function::Namespace => {
            let Value::Dict(given) = entries(args, budget)?.finish()? else {
                return fail("namespace takes names");
            };
            let namespace = Namespace::default();
            for (name, value) in given.iter() {
                match name {
                    Value::Str(name) => namespace.set(name, value.clone(), budget)?,
                    other => {
                        return fail(format!("namespace takes names, not {}", other.type_name()));
                    }
                }
            }
            Ok(Value::Namespace(Rc::new(namespace)))
        }
        Function::RaiseException => {
            let [message] = args.bind("raise_exception", ["message"])?;
            let message = message.unwrap_or(Value::None).to_text(budget)?;
            let message: String = message.as_str()?.chars().take(MAX_MESSAGE).collect();
            Err(Fault::Raised(message).into())
        }
        Function::StrftimeNow => {
            let [format] = args.bind("strftime_now", ["format"])?;
            let format = wanted(format, "strftime_now", "format")?;
            let format = format.as_str()?;
            // No directive writes more than its two bytes' share of this.
            budget.make(format.len().saturating_mul(16))?;
            Ok(clock::strftime(format, clock::now()).into())
        }
    }
}

/// `range(stop)`, `range(start, stop)`, `range(start, stop, step)`
fn range(args: Arguments, budget: &Budget) -> Result<Value> {
    let [first, second, step] = args.bind("range", ["start", "stop", "step"])?;
    let first = wanted(first, "range", "stop")?.as_int()?;
    let (start, stop) = match second {
        Some(stop) => (first, stop.as_int()?),
        None => (0, first),
    };
    let step = step.map_or(Ok(1), |step| step.as_int())?;
    if step == 0 {
        return fail("range() with a step of zero");
    }
    let span = (i128::from(stop) - i128::from(start)) * i128::from(step.signum());
    let step_size = i128::from(step).abs();
    let n = (span.max(0) + step_size - 1) / step_size;
    if n > i128::from(MAX_RANGE) {
        return fail(format!("a range has at most {MAX_RANGE} items, not {n}"));
    }
    let items = (0..n as i64).map(|at| Value::Int(start + at * step));
    budget.slots(n as usize)?;
    Value::list(items.collect(), budget)
}

/// The entries of a dict or a namespace: of a mapping or a list of pairs, and by name.
fn entries(args: Arguments, budget: &Budget) -> Result<DictBuilder<'_>> {
    let mut entries = DictBuilder::new(budget);
    match &args.positional[..] {
        [] => {}
        [Value::Dict(dict)] => entries.extend(dict)?,
        [pairs] => {
            for pair in pairs.items(budget)?.iter() {
                match &pair.items(budget)?[..] {
                    [key, value] => entries.insert(key.clone(), value.clone())?,
                    _ => return fail("dict wants pairs of a key and a value"),
                }
            }
        }
        _ => return fail("dict takes one argument without a name"),
    }
    for (name, value) in args.keyword {
        entries.insert(Value::Str(name), value)?;
    }
    Ok(entries)
}
