//! `+ - * / // % **` on numbers, texts and lists.

use super::ast::Arithmetic;
use super::error::{Error, Result, fail, failed};
use super::format;
use super::limits::{Budget, Text};
use super::value::Value;

pub(super) fn apply(op: Arithmetic, a: &Value, b: &Value, budget: &Budget) -> Result<Value> {
    match (op, a, b) {
        (Arithmetic::Add, Value::Str(x), Value::Str(y)) => concat(x, y, budget),
        (Arithmetic::Add, Value::List(x), Value::List(y)) => {
            budget.slots(x.len() + y.len())?;
            Value::list(x.iter().chain(y.iter()).cloned().collect(), budget)
        }
        (Arithmetic::Add, Value::Tuple(x), Value::Tuple(y)) => {
            budget.slots(x.len() + y.len())?;
            Value::tuple(x.iter().chain(y.iter()).cloned().collect(), budget)
        }
        (Arithmetic::Mul, Value::Str(_) | Value::List(_) | Value::Tuple(_), Value::Int(_)) => {
            repeat(a, b.as_count()?, budget)
        }
        (Arithmetic::Mul, Value::Int(_), Value::Str(_) | Value::List(_) | Value::Tuple(_)) => {
            repeat(b, a.as_count()?, budget)
        }
        (Arithmetic::Rem, Value::Str(pattern), args) => format::percent(pattern, args, budget),
        _ => match (integer(a), integer(b)) {
            (Some(x), Some(y)) => integers(op, x, y),
            _ => match (a.number(), b.number()) {
                (Some(x), Some(y)) => floats(op, x, y).map(Value::Float),
                _ => fail(format!(
                    "`{}` does not take {} and {}",
                    op.sign(),
                    a.type_name(),
                    b.type_name()
                )),
            },
        },
    }
}

/// Two texts as one.
pub(super) fn concat(a: &str, b: &str, budget: &Budget) -> Result<Value> {
    let mut out = Text::new(budget);
    out.push(a)?;
    out.push(b)?;
    out.finish()
}

fn repeat(value: &Value, n: usize, budget: &Budget) -> Result<Value> {
    match value {
        Value::Str(text) => {
            budget.make(text.len().saturating_mul(n))?;
            Ok(text.repeat(n).into())
        }
        Value::List(items) => {
            budget.slots(items.len().saturating_mul(n))?;
            Value::list(repeated(items, n), budget)
        }
        Value::Tuple(items) => {
            budget.slots(items.len().saturating_mul(n))?;
            Value::tuple(repeated(items, n), budget)
        }
        other => fail(format!("{} cannot be repeated", other.type_name())),
    }
}

fn repeated(items: &[Value], n: usize) -> Vec<Value> {
    // Nothing is repeated no time, however often that is asked for.
    let n = if items.is_empty() { 0 } else { n };
    std::iter::repeat_n(items, n).flatten().cloned().collect()
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::Bool(is) => Some(i64::from(*is)),
        _ => None,
    }
}

fn by_zero() -> Error {
    failed("division by zero")
}

fn integers(op: Arithmetic, a: i64, b: i64) -> Result<Value> {
    let result = match op {
        Arithmetic::Add => a.checked_add(b),
        Arithmetic::Sub => a.checked_sub(b),
        Arithmetic::Mul => a.checked_mul(b),
        Arithmetic::Div if b == 0 => return Err(by_zero()),
        Arithmetic::Div => return Ok(Value::Float(a as f64 / b as f64)),
        Arithmetic::FloorDiv | Arithmetic::Rem if b == 0 => return Err(by_zero()),
        Arithmetic::FloorDiv => a.checked_div(b).map(|quotient| {
            // Python rounds down where Rust rounds towards zero.
            quotient - i64::from(a % b != 0 && (a < 0) != (b < 0))
        }),
        Arithmetic::Rem => a.checked_rem(b).map(|rest| {
            if rest != 0 && (rest < 0) != (b < 0) {
                rest + b
            } else {
                rest
            }
        }),
        Arithmetic::Pow if b < 0 && a == 0 => return Err(by_zero()),
        Arithmetic::Pow if b < 0 => return Ok(Value::Float(libm::pow(a as f64, b as f64))),
        Arithmetic::Pow => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
    };
    match result {
        Some(number) => Ok(Value::Int(number)),
        None => fail(format!("{a} {} {b} has more than 64 bits", op.sign())),
    }
}

fn floats(op: Arithmetic, a: f64, b: f64) -> Result<f64> {
    let rest = || {
        let rest = a % b;
        if rest != 0.0 && (rest < 0.0) != (b < 0.0) {
            rest + b
        } else {
            rest
        }
    };
    Ok(match op {
        Arithmetic::Add => a + b,
        Arithmetic::Sub => a - b,
        Arithmetic::Mul => a * b,
        Arithmetic::Div | Arithmetic::FloorDiv | Arithmetic::Rem if b == 0.0 => {
            return Err(by_zero());
        }
        Arithmetic::Div => a / b,
        Arithmetic::FloorDiv => ((a - rest()) / b).round(),
        Arithmetic::Rem => rest(),
        Arithmetic::Pow => libm::pow(a, b),
    })
}
