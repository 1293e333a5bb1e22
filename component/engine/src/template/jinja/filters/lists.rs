//! Filters that go through a list.

use super::super::args::{Arguments, wanted};
use super::super::checks;
use super::super::error::{Result, fail};
use super::super::limits::Budget;
use super::super::methods;
use super::super::slices;
use super::super::value::{Seq, Value};
use super::key;

pub(super) fn apply(name: &str, value: &Value, args: Arguments, budget: &Budget) -> Result<Value> {
    match name {
        "map" => return map(value, args, budget),
        "select" | "reject" | "selectattr" | "rejectattr" => {
            return select(name, value, args, budget);
        }
        "join" => {
            let [with, attribute] = args.bind(name, ["d", "attribute"])?;
            let with = with.unwrap_or_else(|| "".into()).to_text(budget)?;
            let items = value.items(budget)?;
            let Some(attribute) = attribute else {
                return methods::join(&items, with.as_str()?, budget, false);
            };
            budget.slots(items.len())?;
            let keys = items.iter().map(|item| key(item, Some(&attribute), budget));
            let keys = keys.collect::<Result<Vec<_>>>()?;
            return methods::join(&keys, with.as_str()?, budget, false);
        }
        "batch" | "slice" => {
            let [n, fill] = args.bind(name, ["linecount", "fill_with"])?;
            let n = wanted(n, name, "linecount")?.as_count()?;
            if n == 0 {
                return fail(format!("{name} wants a number above 0"));
            }
            let items = value.items(budget)?;
            return match name {
                "batch" => batch(&items, n, fill, budget),
                _ => columns(&items, n, fill, budget),
            };
        }
        _ => args.bind::<0>(name, [])?,
    };
    match (name, value) {
        ("reverse", Value::Str(_)) => {
            let backwards = [Value::None, Value::None, Value::Int(-1)];
            slices::slice(value, &backwards, budget)
        }
        ("reverse", value) => {
            let items = value.items(budget)?;
            budget.slots(items.len())?;
            Value::list(items.iter().rev().cloned().collect(), budget)
        }
        ("list", Value::List(_)) => Ok(value.clone()),
        ("list", value) => {
            let items = value.items(budget)?;
            budget.slots(items.len())?;
            Value::list(items.to_vec(), budget)
        }
        ("first", Value::Str(text)) => {
            let first = text.chars().next();
            Ok(first.map_or(Value::Undefined, |c| c.to_string().into()))
        }
        ("last", Value::Str(text)) => {
            let last = text.chars().next_back();
            Ok(last.map_or(Value::Undefined, |c| c.to_string().into()))
        }
        ("first", value) => Ok(value
            .items(budget)?
            .first()
            .cloned()
            .unwrap_or(Value::Undefined)),
        (_, value) => Ok(value
            .items(budget)?
            .last()
            .cloned()
            .unwrap_or(Value::Undefined)),
    }
}

/// `map('filter', ...)` or `map(attribute='a.b', default=...)`
fn map(value: &Value, mut args: Arguments, budget: &Budget) -> Result<Value> {
    let items = value.items(budget)?;
    budget.slots(items.len())?;
    let mut mapped = Vec::with_capacity(items.len());
    if args.positional.is_empty() {
        let [attribute, default] = args.bind("map", ["attribute", "default"])?;
        let attribute = wanted(attribute, "map", "attribute")?;
        for item in items.iter() {
            let value = match (key(item, Some(&attribute), budget)?, &default) {
                (Value::Undefined, Some(default)) => default.clone(),
                (value, _) => value,
            };
            mapped.push(value);
        }
    } else {
        let filter = args.first("map")?;
        let filter = filter.as_str()?;
        for item in items.iter() {
            budget.work(args.positional.len() + args.keyword.len())?;
            mapped.push(super::apply(filter, item, args.clone(), budget)?);
        }
    }
    Value::list(mapped, budget)
}

/// `select('test', ...)`, `selectattr('attribute', 'test', ...)` and what they leave out.
fn select(name: &str, value: &Value, mut args: Arguments, budget: &Budget) -> Result<Value> {
    let attribute = match name {
        "selectattr" | "rejectattr" => Some(args.first(name)?),
        _ => None,
    };
    let test = match args.positional.is_empty() {
        true => None,
        false => Some(args.first(name)?),
    };
    let wanted = name.starts_with("select");
    let mut kept = Vec::new();
    for item in value.items(budget)?.iter() {
        budget.work(1 + args.positional.len() + args.keyword.len())?;
        let key = key(item, attribute.as_ref(), budget)?;
        let holds = match &test {
            None => key.is_true(),
            Some(test) => checks::holds(test.as_str()?, &key, args.clone(), budget)?,
        };
        if holds == wanted {
            kept.push(item.clone());
        }
    }
    Value::list(kept, budget)
}

/// Lists of `n` items, the last one filled up.
fn batch(items: &Seq, n: usize, fill: Option<Value>, budget: &Budget) -> Result<Value> {
    let mut batches = Vec::new();
    for chunk in items.chunks(n) {
        let mut batch = chunk.to_vec();
        if let Some(fill) = &fill {
            budget.slots(n)?;
            batch.resize(n, fill.clone());
        }
        batches.push(Value::list(batch, budget)?);
    }
    Value::list(batches, budget)
}

/// `n` lists of about the same length.
fn columns(items: &Seq, n: usize, fill: Option<Value>, budget: &Budget) -> Result<Value> {
    budget.slots(n)?;
    let (each, longer) = (items.len() / n, items.len() % n);
    let mut columns = Vec::new();
    let mut rest = &items[..];
    for at in 0..n {
        let (column, after) = rest.split_at(each + usize::from(at < longer));
        rest = after;
        let mut column = column.to_vec();
        if let Some(fill) = fill.as_ref().filter(|_| longer > 0 && at >= longer) {
            column.push(fill.clone());
        }
        columns.push(Value::list(column, budget)?);
    }
    Value::list(columns, budget)
}
