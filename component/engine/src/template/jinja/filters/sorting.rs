//! Filters that compare items.

use std::cmp::Ordering;

use super::super::args::Arguments;
use super::super::error::{Result, fail};
use super::super::limits::Budget;
use super::super::order::sort;
use super::super::value::Value;
use super::{dict, folded, key};

/// Items with what they are compared by, in order.
fn sorted(
    keyed: Vec<(Value, Value)>,
    reverse: bool,
    budget: &Budget,
) -> Result<Vec<(Value, Value)>> {
    sort(keyed, budget, &mut |(a, _), (b, _)| {
        let order = a.compare(b, budget)?.unwrap_or(Ordering::Equal);
        Ok(if reverse { order.reverse() } else { order })
    })
}

pub(super) fn apply(name: &str, value: &Value, args: Arguments, budget: &Budget) -> Result<Value> {
    if name == "dictsort" {
        let [case, by, reverse] = args.bind(name, ["case_sensitive", "by", "reverse"])?;
        let case = case.is_some_and(|is| is.is_true());
        let by_value = match by.unwrap_or_else(|| "key".into()).as_str()? {
            "key" => false,
            "value" => true,
            _ => return fail("dictsort is by `key` or by `value`"),
        };
        let mut keyed = Vec::new();
        for (own, value) in dict(value, name)?.iter() {
            let by = if by_value { value } else { own };
            let pair = Value::tuple(vec![own.clone(), value.clone()], budget)?;
            keyed.push((folded(by, None, case, budget)?, pair));
        }
        return values(
            sorted(keyed, reverse.is_some_and(|is| is.is_true()), budget)?,
            budget,
        );
    }
    if name == "groupby" {
        let [attribute, default, case] =
            args.bind(name, ["attribute", "default", "case_sensitive"])?;
        let case = case.is_some_and(|is| is.is_true());
        return groups(value, attribute, default, case, budget);
    }
    let (reverse, case, attribute) = match name {
        "sort" => {
            let names = ["reverse", "case_sensitive", "attribute"];
            let [reverse, case, attribute] = args.bind(name, names)?;
            (reverse.is_some_and(|is| is.is_true()), case, attribute)
        }
        _ => {
            let [case, attribute] = args.bind(name, ["case_sensitive", "attribute"])?;
            (false, case, attribute)
        }
    };
    let case = case.is_some_and(|is| is.is_true());
    let items = value.items(budget)?;
    budget.slots(2 * items.len())?;
    let mut keyed = Vec::with_capacity(items.len());
    for item in items.iter() {
        keyed.push((
            folded(item, attribute.as_ref(), case, budget)?,
            item.clone(),
        ));
    }
    match name {
        "sort" => values(sorted(keyed, reverse, budget)?, budget),
        "unique" => {
            let mut seen: Vec<(Value, Value)> = Vec::new();
            'items: for (key, item) in keyed {
                for (other, _) in &seen {
                    if key.equals(other, budget)? {
                        continue 'items;
                    }
                }
                seen.push((key, item));
            }
            values(seen, budget)
        }
        _ => {
            let wanted = if name == "min" {
                Ordering::Less
            } else {
                Ordering::Greater
            };
            let mut best: Option<(Value, Value)> = None;
            for (key, item) in keyed {
                let better = match &best {
                    None => true,
                    Some((other, _)) => key.compare(other, budget)? == Some(wanted),
                };
                if better {
                    best = Some((key, item));
                }
            }
            Ok(best.map_or(Value::Undefined, |(_, item)| item))
        }
    }
}

fn values(keyed: Vec<(Value, Value)>, budget: &Budget) -> Result<Value> {
    Value::list(keyed.into_iter().map(|(_, value)| value).collect(), budget)
}

/// Pairs of a key and the items that have it, in the order of the keys.
fn groups(
    value: &Value,
    attribute: Option<Value>,
    default: Option<Value>,
    case: bool,
    budget: &Budget,
) -> Result<Value> {
    let mut keyed = Vec::new();
    let items = value.items(budget)?;
    budget.slots(2 * items.len())?;
    for item in items.iter() {
        let mut by = folded(item, attribute.as_ref(), case, budget)?;
        if let (Value::Undefined, Some(default)) = (&by, &default) {
            by = default.clone();
        }
        keyed.push((by, item.clone()));
    }
    let keyed = sorted(keyed, false, budget)?;
    let mut groups = Vec::new();
    let mut rest = &keyed[..];
    while let Some((by, first)) = rest.first() {
        let mut n = 1;
        while n < rest.len() && rest[n].0.equals(by, budget)? {
            n += 1;
        }
        let members = rest[..n].iter().map(|(_, item)| item.clone()).collect();
        let shown = match key(first, attribute.as_ref(), budget)? {
            Value::Undefined => by.clone(),
            shown => shown,
        };
        groups.push(Value::tuple(
            vec![shown, Value::list(members, budget)?],
            budget,
        )?);
        rest = &rest[n..];
    }
    Value::list(groups, budget)
}
