//! Filters that give numbers.

use super::super::args::{Arguments, Bound};
use super::super::arithmetic;
use super::super::ast::Arithmetic;
use super::super::error::{Result, fail};
use super::super::limits::Budget;
use super::super::value::Value;
use super::key;

pub(super) fn apply(name: &str, value: &Value, args: Arguments, budget: &Budget) -> Result<Value> {
    match name {
        "abs" => {
            args.bind::<0>(name, [])?;
            match value {
                Value::Float(number) => Ok(Value::Float(number.abs())),
                value => match value.as_int()?.checked_abs() {
                    Some(number) => Ok(Value::Int(number)),
                    None => fail("abs has more than 64 bits"),
                },
            }
        }
        "int" => {
            let [default, base] = args.bind(name, ["default", "base"])?;
            let base = base.map_or(Ok(10), |base| base.as_int())?;
            let parsed = integer(value, base, budget)?.map(Value::Int);
            Ok(parsed.or(default).unwrap_or(Value::Int(0)))
        }
        "float" => {
            let [default] = args.bind(name, ["default"])?;
            let parsed = match value {
                Value::Str(text) => {
                    budget.read(text.len())?;
                    text.trim().parse().ok()
                }
                value => value.number(),
            };
            let parsed = parsed.map(Value::Float);
            Ok(parsed.or(default).unwrap_or(Value::Float(0.0)))
        }
        "round" => round(value, args.bind(name, ["precision", "method"])?),
        _ => {
            let [attribute, start] = args.bind(name, ["attribute", "start"])?;
            let mut sum = start.unwrap_or(Value::Int(0));
            for item in value.items(budget)?.iter() {
                let item = key(item, attribute.as_ref(), budget)?;
                sum = arithmetic::apply(Arithmetic::Add, &sum, &item, budget)?;
            }
            Ok(sum)
        }
    }
}

fn integer(value: &Value, base: i64, budget: &Budget) -> Result<Option<i64>> {
    Ok(match value {
        Value::Str(text) => {
            budget.read(text.len())?;
            let text = text.trim();
            let prefix = match base {
                16 => ["0x", "0X"],
                8 => ["0o", "0O"],
                2 => ["0b", "0B"],
                _ => ["", ""],
            };
            let digits = prefix.iter().find_map(|prefix| text.strip_prefix(*prefix));
            let radix = match u32::try_from(base) {
                Ok(base @ 2..=36) => base,
                _ => return fail("the base of int is from 2 to 36"),
            };
            let whole = i64::from_str_radix(digits.unwrap_or(text), radix).ok();
            // As Jinja: a text with a fraction is cut.
            whole.or_else(|| {
                text.parse::<f64>()
                    .ok()
                    .filter(|n| n.is_finite())
                    .map(|n| n as i64)
            })
        }
        Value::Float(number) if number.is_finite() => Some(*number as i64),
        Value::Int(_) | Value::Bool(_) => Some(value.as_int()?),
        _ => None,
    })
}

fn round(value: &Value, [precision, method]: Bound<2>) -> Result<Value> {
    let precision = precision.map_or(Ok(0), |places| places.as_int())?;
    let Some(number) = value.number() else {
        return fail(format!("round wants a number, not {}", value.type_name()));
    };
    let Ok(places) = i32::try_from(precision.clamp(-300, 300)) else {
        return fail("round: no such precision");
    };
    let scale = libm::pow(10.0, f64::from(places));
    let scaled = number * scale;
    let method = method.unwrap_or_else(|| "common".into());
    if let (Value::Int(number), "common") = (value, method.as_str()?) {
        return Ok(Value::Int(round_integer(*number, precision)));
    }
    let rounded = match method.as_str()? {
        "common" => libm::rint(scaled),
        "ceil" => scaled.ceil(),
        "floor" => scaled.floor(),
        _ => return fail("the method of round is common, ceil or floor"),
    };
    let rounded = rounded / scale;
    Ok(Value::Float(if rounded.is_finite() {
        rounded
    } else {
        number
    }))
}

/// To a multiple of a power of ten, halves to the even one; an integer stays one.
fn round_integer(number: i64, precision: i64) -> i64 {
    let places = u32::try_from(precision.saturating_neg()).unwrap_or(0);
    let Some(unit) = 10_i64.checked_pow(places) else {
        return 0;
    };
    let (below, rest) = (number.div_euclid(unit), number.rem_euclid(unit));
    let up = match (i128::from(rest) * 2).cmp(&i128::from(unit)) {
        std::cmp::Ordering::Equal => below % 2 != 0,
        order => order.is_gt(),
    };
    (below + i64::from(up)).saturating_mul(unit)
}
