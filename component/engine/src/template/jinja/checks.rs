//! Jinja's tests: what may follow `is`.

use std::cmp::Ordering;

use super::args::{Arguments, wanted};
use super::arithmetic;
use super::ast::Arithmetic;
use super::error::{Result, fail, shown};
use super::filters;
use super::limits::Budget;
use super::value::Value;

/// Returns true if `value is name(args)`.
pub(super) fn holds(
    name: &str,
    value: &Value,
    mut args: Arguments,
    budget: &Budget,
) -> Result<bool> {
    budget.work(1)?;
    let compared = |args: Arguments, orders: &[Ordering]| {
        let [other] = args.bind(name, ["other"])?;
        let order = value.compare(&wanted(other, name, "other")?, budget)?;
        Ok(order.is_some_and(|order| orders.contains(&order)))
    };
    match name {
        "==" | "eq" | "equalto" | "ne" | "!=" => {
            let other = args.first(name)?;
            args.bind::<0>(name, [])?;
            let is_equal = value.equals(&other, budget)?;
            return Ok(is_equal != matches!(name, "ne" | "!="));
        }
        "<" | "lt" | "lessthan" => return compared(args, &[Ordering::Less]),
        "<=" | "le" => return compared(args, &[Ordering::Less, Ordering::Equal]),
        ">" | "gt" | "greaterthan" => return compared(args, &[Ordering::Greater]),
        ">=" | "ge" => return compared(args, &[Ordering::Greater, Ordering::Equal]),
        "in" => return value.is_in(&args.first(name)?, budget),
        "sameas" => {
            let other = args.first(name)?;
            let same = value.type_name() == other.type_name();
            return Ok(same && value.equals(&other, budget)?);
        }
        "divisibleby" => {
            let rest = arithmetic::apply(Arithmetic::Rem, value, &args.first(name)?, budget)?;
            return Ok(!rest.is_true());
        }
        "filter" => return Ok(filters::NAMES.contains(&value.as_str()?)),
        "test" => return Ok(NAMES.contains(&value.as_str()?)),
        _ => args.bind::<0>(name, [])?,
    };
    Ok(match name {
        "defined" => !matches!(value, Value::Undefined),
        "undefined" => matches!(value, Value::Undefined),
        "none" => matches!(value, Value::None),
        "true" => matches!(value, Value::Bool(true)),
        "false" => matches!(value, Value::Bool(false)),
        "boolean" => matches!(value, Value::Bool(_)),
        "integer" => matches!(value, Value::Int(_)),
        "float" => matches!(value, Value::Float(_)),
        "number" => value.number().is_some(),
        "string" => matches!(value, Value::Str(_)),
        "mapping" => matches!(value, Value::Dict(_)),
        "iterable" | "sequence" => matches!(
            value,
            Value::Str(_) | Value::List(_) | Value::Tuple(_) | Value::Dict(_) | Value::Undefined
        ),
        "callable" => matches!(value, Value::Callable(_) | Value::Loop(_)),
        // Nothing is marked as safe: chat templates do not escape.
        "escaped" => false,
        "odd" => value.as_int()? % 2 != 0,
        "even" => value.as_int()? % 2 == 0,
        "lower" | "upper" => {
            let text = value.to_text(budget)?;
            let text = text.as_str()?;
            budget.read(text.len())?;
            type Case = fn(char) -> bool;
            let (right, wrong): (Case, Case) = match name {
                "lower" => (char::is_lowercase, char::is_uppercase),
                _ => (char::is_uppercase, char::is_lowercase),
            };
            text.chars().any(right) && !text.chars().any(wrong)
        }
        _ => return fail(format!("there is no test `{}`", shown(name))),
    })
}

/// The tests there are.
const NAMES: [&str; 39] = [
    "==",
    "eq",
    "equalto",
    "ne",
    "!=",
    "<",
    "lt",
    "lessthan",
    "<=",
    "le",
    ">",
    "gt",
    "greaterthan",
    ">=",
    "ge",
    "in",
    "sameas",
    "divisibleby",
    "filter",
    "test",
    "defined",
    "undefined",
    "none",
    "true",
    "false",
    "boolean",
    "integer",
    "float",
    "number",
    "string",
    "mapping",
    "iterable",
    "sequence",
    "callable",
    "escaped",
    "odd",
    "even",
    "lower",
    "upper",
];
